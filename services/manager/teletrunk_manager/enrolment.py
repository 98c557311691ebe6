"""How services come to their certificates: by an invitation, a join token, or their account in a cluster.

Whose an id is: docs/adr/0014-who-may-come-back-under-an-id.md.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc
import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncSession
from teletrunk.identity import MANAGER, Identity
from teletrunk.rpc import is_wildcard
from teletrunk.v1 import fleet_pb2 as pb
from teletrunk.v1 import manager_pb2

from teletrunk_manager.db.audit import acting
from teletrunk_manager.db.database import Database
from teletrunk_manager.db.tables import Invitation, JoinToken, Member
from teletrunk_manager.domain.admission import Admission
from teletrunk_manager.fleet import Fleet, kind_of
from teletrunk_manager.managers import Managers
from teletrunk_manager.mistakes import Mistake, NotNow
from teletrunk_manager.service_accounts import ServiceAccounts

if TYPE_CHECKING:
    from teletrunk_manager.authority import Authority, Certified

log = structlog.get_logger()

_INVITATION_S = 3_600.0
_KINDS = ("worker", "storage")
_UNKNOWN = (
    "the invitation was used already, or is too old: ask for a new one; a join token has ended, was revoked, or is none"
)


@dataclass
class Gatehouse:
    """What enrolment needs: the authority, where services that come for the first time knock, and where they go on."""

    authority: Authority
    enrolment_address: str
    managers: Managers
    accounts: ServiceAccounts = field(default_factory=ServiceAccounts)

    async def sign_own(self, signing_request: bytes) -> tuple[bytes, bytes]:
        """The Manager's own certificate, and the authority's."""
        return self.authority.sign(signing_request, MANAGER), self.authority.pem


class Enrolment:
    """Without a gatehouse (one machine, plain text) nobody is invited and nobody joins."""

    def __init__(self, database: Database, fleet: Fleet, gatehouse: Gatehouse | None) -> None:
        self._database = database
        self._fleet = fleet
        self._gatehouse = gatehouse

    # For people.

    async def invite(self, kind: str, comment: str) -> pb.InviteResponse:
        gatehouse = self._open(kind)
        secret = secrets.token_urlsafe(32)
        expires_at = time.time() + _INVITATION_S
        row = Invitation(secret_hash=digest(secret), kind=kind, comment=comment[:200], expires_at=expires_at)
        async with self._database.transaction() as session:
            await session.execute(sa.delete(Invitation).where(Invitation.expires_at < time.time()))
            session.add(row)
        return pb.InviteResponse(invitation=_text(gatehouse, kind, secret), expires_at=expires_at)

    def join_text(self, kind: str, secret: str) -> str:
        """A join token as a service is given it. Raises `NotNow` and `Mistake`."""
        return _text(self._open(kind), kind, secret, reusable=True)

    def _open(self, kind: str) -> Gatehouse:
        if self._gatehouse is None:
            raise NotNow("this Manager works without certificates: start it with TELETRUNK_TLS=on")
        if kind not in _KINDS:
            raise Mistake("a worker or a storage can be invited")
        if is_wildcard(self._gatehouse.enrolment_address):
            raise NotNow("nobody would know where to come: set TELETRUNK_PUBLIC_MANAGER_ADDRESS for this Manager")
        return self._gatehouse

    # For services.

    async def enrol(self, request: pb.EnrolRequest) -> pb.EnrolResponse:
        """Turns a secret into a certificate. Raises `Mistake`, whose code tells whether to come again:

        RESOURCE_EXHAUSTED and UNAVAILABLE pass; INVALID_ARGUMENT is the secret's fault, PERMISSION_DENIED means that
        the id was revoked, and ALREADY_EXISTS that it belongs to another key.
        """
        assert self._gatehouse is not None
        if not request.service_id.isalnum() or not 8 <= len(request.service_id) <= 64:
            raise Mistake("a service's id is 8 to 64 letters and digits")
        vouched = await self._look(request.secret)
        with acting("enrolment"):
            admission, certified = await self._accept(request, vouched)
        await self._fleet.refresh()
        log.info("service enrolled", kind=admission.kind, id=request.service_id, came_by=admission.came_by)
        managers = await self._gatehouse.managers.addresses()
        return pb.EnrolResponse(certificate=certified.pem, authority=self._gatehouse.authority.pem, managers=managers)

    async def _accept(self, request: pb.EnrolRequest, vouched: Admission | None) -> tuple[Admission, Certified]:
        async with self._database.transaction() as session:
            admission = vouched or await _admitted(session, request)
            if request.kind not in ("", admission.kind):
                raise Mistake(f"it is for a {admission.kind}")
            certified = self._sign(request.signing_request, Identity(kind_of(admission.kind), request.service_id))
            await _enter(session, request.service_id, admission, certified)
        return admission, certified

    async def _look(self, secret: str) -> Admission | None:
        """Only looks: strangers who guess keep nobody from writing. None: the database knows the secret.

        Raises `Mistake`.
        """
        assert self._gatehouse is not None
        async with self._database.transaction(reading=True) as session:
            invited = sa.select(Invitation.expires_at).where(Invitation.secret_hash == digest(secret))
            joins = sa.select(JoinToken.join_id).where(JoinToken.secret_hash == digest(secret))
            expires_at = await session.scalar(invited)
            known = (expires_at is not None and expires_at > time.time()) or await session.scalar(joins)
        if known:
            return None
        if (admission := await self._gatehouse.accounts.admission(secret)) is not None:
            return admission
        raise Mistake(_UNKNOWN)

    async def renew(self, identity: Identity | None, signing_request: bytes) -> manager_pb2.RenewResponse:
        if identity is None or self._gatehouse is None:
            raise NotNow("certificates are renewed by services that have one")
        certified = self._sign(signing_request, identity)
        async with self._database.transaction() as session:
            member = await session.get(Member, identity.id, with_for_update=True)
            if member is not None:
                _note(member, certified)
        return manager_pb2.RenewResponse(certificate=certified.pem, authority=self._gatehouse.authority.pem)

    def _sign(self, signing_request: bytes, identity: Identity) -> Certified:
        assert self._gatehouse is not None
        try:
            return self._gatehouse.authority.certify(signing_request, identity)
        except ValueError as error:
            raise Mistake(f"the signing request cannot be used: {error}") from None


async def _admitted(session: AsyncSession, request: pb.EnrolRequest) -> Admission:
    """What the secret is worth now: an invitation is spent, a join token has a place. Raises `Mistake`."""
    now = time.time()
    taken = sa.delete(Invitation).where(Invitation.secret_hash == digest(request.secret))
    returned = taken.returning(Invitation.kind, Invitation.comment, Invitation.expires_at)
    if (found := (await session.execute(returned)).first()) is not None:
        if found.expires_at < now:
            raise Mistake(_UNKNOWN)
        return Admission(found.kind, found.comment)
    secret = sa.select(JoinToken).where(JoinToken.secret_hash == digest(request.secret))
    token = await session.scalar(secret.with_for_update())  # two at once must not take the one place that is left
    if token is None or (token.expires_at is not None and token.expires_at < now):
        raise Mistake(_UNKNOWN)
    others = sa.select(sa.func.count()).where(*living(token.join_id), Member.service_id != request.service_id)
    if (await session.scalar(others) or 0) >= token.places:
        raise Mistake(f"all {token.places} places of the join token are taken", code=grpc.StatusCode.RESOURCE_EXHAUSTED)
    return Admission(token.kind, token.comment, token.join_id)


async def _enter(session: AsyncSession, service_id: str, admission: Admission, certified: Certified) -> None:
    """Raises `Mistake` when the id is somebody else's."""
    member = await session.get(Member, service_id, with_for_update=True)
    if member is None:
        member = Member(service_id=service_id, kind=admission.kind, comment=admission.comment, enrolled_at=time.time())
        member.revoked = False
        session.add(member)
    elif member.revoked:
        raise Mistake(f"{service_id} was revoked", code=grpc.StatusCode.PERMISSION_DENIED)
    elif (member.kind, member.key_fingerprint) != (admission.kind, certified.key_fingerprint):
        text = f"{service_id} is a member already, with another key: use another data directory"
        raise Mistake(text, code=grpc.StatusCode.ALREADY_EXISTS)
    member.came_by = admission.came_by
    _note(member, certified)
    member.retired_at = None


def _note(member: Member, certified: Certified) -> None:
    """Which key is the id's, and when the certificate ends that ends last: lives may have become shorter since."""
    member.key_fingerprint = certified.key_fingerprint
    member.certified_until = max(member.certified_until or 0.0, certified.until)


def living(join_id: str) -> tuple[sa.ColumnElement[bool], ...]:
    """The members who have a place of this join token."""
    return Member.came_by == join_id, sa.not_(Member.revoked), Member.retired_at.is_(None)


def digest(secret: str) -> bytes:
    """As which a secret is kept: it is looked up by it, which takes no telling time."""
    return hashlib.sha256(secret.encode()).digest()


def _text(gatehouse: Gatehouse, kind: str, secret: str, *, reusable: bool = False) -> str:
    given = {
        "kind": kind,
        "address": gatehouse.enrolment_address,
        "secret": secret,
        "authority": gatehouse.authority.pem.decode(),
        "reusable": reusable,
    }
    return base64.urlsafe_b64encode(json.dumps(given).encode()).decode()
