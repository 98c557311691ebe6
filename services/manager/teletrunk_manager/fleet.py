"""Who belongs to the system: inviting, enrolling, renewing and revoking services; which Worker may use what."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
import time
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa
import structlog
from teletrunk.errors import Refusal
from teletrunk.identity import MANAGER, Identity
from teletrunk.v1 import fleet_pb2 as pb
from teletrunk.v1 import manager_pb2

from teletrunk_manager.accounts import find_account, require_owner
from teletrunk_manager.authority import Authority
from teletrunk_manager.configurations import Configurations
from teletrunk_manager.db.database import Database, delete_others
from teletrunk_manager.db.tables import Assignment, Drain, Invitation, Member, Service
from teletrunk_manager.live import Live
from teletrunk_manager.mistakes import Mistake, NotNow, Unknown

log = structlog.get_logger()

_INVITATION_S = 3_600.0
_REFRESH_S = 1.0
_KINDS = ("worker", "storage")
_NO_INVITATION = "the invitation was used already, or is too old: ask for a new one"


@dataclass
class Gatehouse:
    """What enrolment needs: the authority, and where services that come for the first time knock."""

    authority: Authority
    enrolment_address: str


class Fleet:
    """Without a gatehouse (one machine, plain text) nobody is invited, and only assignments mean anything."""

    def __init__(
        self, database: Database, live: Live, configurations: Configurations, gatehouse: Gatehouse | None
    ) -> None:
        self._database = database
        self._live = live
        self._configurations = configurations
        self._gatehouse = gatehouse
        self._members: frozenset[Identity] = frozenset()

    def is_current(self, identity: Identity) -> bool:
        return identity == MANAGER or identity in self._members

    async def refresh(self) -> None:
        """Reads who belongs to us; those who do not any more lose their streams."""
        async with self._database.transaction(reading=True) as session:
            rows = (await session.scalars(sa.select(Member).where(sa.not_(Member.revoked)))).all()
        members = frozenset(Identity(_kind(row.kind), row.service_id) for row in rows)
        gone, self._members = self._members - members, members
        for identity in gone:
            self._live.drop(identity.id)
        if gone:
            self._configurations.changed()

    async def keep_current(self) -> None:
        """Other Managers invite and revoke too. Runs until cancelled."""
        while True:
            await asyncio.sleep(_REFRESH_S)
            try:
                await self.refresh()
            except Refusal:
                continue  # the database is away: who was a member stays one

    # For people.

    async def invite(self, kind: str, comment: str) -> pb.InviteResponse:
        if self._gatehouse is None:
            raise NotNow("this Manager works without certificates: start it with TELETRUNK_TLS=on")
        if kind not in _KINDS:
            raise Mistake("a worker or a storage can be invited")
        secret = secrets.token_urlsafe(32)
        expires_at = time.time() + _INVITATION_S
        row = Invitation(secret_hash=_hash(secret), kind=kind, comment=comment[:200], expires_at=expires_at)
        async with self._database.transaction() as session:
            await session.execute(sa.delete(Invitation).where(Invitation.expires_at < time.time()))
            session.add(row)
        text = json.dumps(
            {
                "kind": kind,
                "address": self._gatehouse.enrolment_address,
                "secret": secret,
                "authority": self._gatehouse.authority.pem.decode(),
            }
        )
        invitation = base64.urlsafe_b64encode(text.encode()).decode()
        return pb.InviteResponse(invitation=invitation, expires_at=expires_at)

    async def revoke(self, service_id: str) -> None:
        async with self._database.transaction() as session:
            member = await session.get(Member, service_id)
            if member is None or member.revoked:
                raise Unknown(f"there is no member {service_id}: teletrunk worker list shows them")
            member.revoked = True
        log.warning("service revoked", id=service_id)
        await self.refresh()

    async def assign(self, account: str, worker_ids: list[str]) -> None:
        async with self._database.transaction() as session:
            found = await find_account(session, account)
            require_owner(found)
            await session.refresh(found, with_for_update=True)  # two lists at once must not become one
            account_id = found.account_id
            assigned = sa.select(Assignment).where(Assignment.account_id == account_id)
            missing = await delete_others(session, assigned, "worker_id", set(worker_ids))
            session.add_all(Assignment(account_id=account_id, worker_id=worker) for worker in sorted(missing))
        self._configurations.changed()

    async def drain(self, worker_id: str, on: bool) -> None:
        async with self._database.transaction() as session:
            if await session.scalar(sa.select(Service.kind).where(Service.service_id == worker_id)) != "worker":
                raise Unknown(f"there is no Worker {worker_id}: teletrunk worker list shows them")
            drain = await session.get(Drain, worker_id)
            if on and drain is None:
                session.add(Drain(worker_id=worker_id))
            elif not on and drain is not None:
                await session.delete(drain)
        self._configurations.changed()

    # For services.

    async def enrol(self, request: pb.EnrolRequest) -> pb.EnrolResponse:
        """Turns an invitation into a certificate, once. Raises `Mistake`."""
        assert self._gatehouse is not None
        if not request.service_id.isalnum() or not 8 <= len(request.service_id) <= 64:
            raise Mistake("a service's id is 8 to 64 letters and digits")
        await self._require_invitation(request.secret)
        async with self._database.transaction() as session:
            taken = sa.delete(Invitation).where(Invitation.secret_hash == _hash(request.secret))
            found = (
                await session.execute(taken.returning(Invitation.kind, Invitation.comment, Invitation.expires_at))
            ).first()
            if found is None or found.expires_at < time.time():
                raise Mistake(_NO_INVITATION)
            if await session.get(Member, request.service_id):
                raise Mistake(f"{request.service_id} is a member already, or was revoked: use another data directory")
            identity = Identity(_kind(found.kind), request.service_id)
            certificate = self._sign(request.signing_request, identity)
            session.add(
                Member(
                    service_id=identity.id,
                    kind=found.kind,
                    comment=found.comment,
                    enrolled_at=time.time(),
                    revoked=False,
                )
            )
        await self.refresh()
        log.info("service enrolled", kind=identity.kind, id=identity.id)
        return pb.EnrolResponse(certificate=certificate, authority=self._gatehouse.authority.pem)

    async def _require_invitation(self, secret: str) -> None:
        """Raises `Mistake`. Only looks: strangers who guess keep nobody from writing."""
        async with self._database.transaction(reading=True) as session:
            query = sa.select(Invitation.expires_at).where(Invitation.secret_hash == _hash(secret))
            expires_at = await session.scalar(query)
        if expires_at is None or expires_at < time.time():
            raise Mistake(_NO_INVITATION)

    def renew(self, identity: Identity | None, signing_request: bytes) -> manager_pb2.RenewResponse:
        if identity is None or self._gatehouse is None:
            raise NotNow("certificates are renewed by services that have one")
        certificate = self._sign(signing_request, identity)
        return manager_pb2.RenewResponse(certificate=certificate, authority=self._gatehouse.authority.pem)

    def _sign(self, signing_request: bytes, identity: Identity) -> bytes:
        assert self._gatehouse is not None
        try:
            return self._gatehouse.authority.sign(signing_request, identity)
        except ValueError as error:
            raise Mistake(f"the signing request cannot be used: {error}") from None

    async def require_assigned(self, account_id: str, worker_id: str) -> None:
        """Raises `Refusal` when the account is for other Workers."""
        async with self._database.transaction(reading=True) as session:
            found = sa.select(Assignment.worker_id).where(Assignment.account_id == account_id)
            workers = set((await session.scalars(found)).all())
        if workers and worker_id not in workers:
            raise Refusal("session-access-revoked", "the account is assigned to another Worker")

    def require_own(self, identity: Identity | None, claimed: str) -> None:
        """A service speaks for itself only. Raises `Mistake`."""
        if identity is not None and identity.id != claimed:
            raise Mistake(f"the certificate is of {identity.id}, not of {claimed}")


def _kind(text: str) -> Literal["worker", "storage"]:
    assert text in _KINDS  # the database says so too
    return "worker" if text == "worker" else "storage"


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
