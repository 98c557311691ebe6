"""How a Worker or Storage comes to its certificate, keeps it valid, and comes to another when it is refused.

An invitation serves once. A join token, or the token of the service's account in a cluster, serves again: with it a
service waits for a Manager that is not there yet, and comes back by itself.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

import grpc
import structlog
from cryptography import x509

from teletrunk import rpc
from teletrunk.config import ConfigurationError, ServiceSettings
from teletrunk.identity import Identity
from teletrunk.manager_way import ManagerWay
from teletrunk.papers import Papers
from teletrunk.security import Security
from teletrunk.ticket import NotYet, Ticket, ticket_of
from teletrunk.v1 import fleet_pb2, fleet_pb2_grpc

log = structlog.get_logger()

_DEADLINE_S = 10.0
_INVITED_S = 15.0  # whoever has typed an invitation wants to know
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 10.0
_AGAIN_S = 4.0  # between attempts that nobody answered
_AFRESH_S = 15.0  # between attempts of a service that was refused: the front door counts guesses
# What the secret or the id is at fault for; everything else may be another minute.
_FINAL = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.ALREADY_EXISTS, grpc.StatusCode.PERMISSION_DENIED)


class Enrolled:
    """A service's papers, and its way to them."""

    def __init__(self, settings: ServiceSettings, identity: Identity) -> None:
        self._settings = settings
        self._identity = identity
        self.papers = Papers(settings.data / "identity" / identity.kind, identity)
        self._next_attempt = 0.0
        self._said = ""

    async def security(self) -> Security:
        """What the service proves itself with. Enrols first when it has no valid certificate, and may.

        Raises `ConfigurationError` for what no waiting cures.
        """
        may_enrol = self._settings.invitation is not None or self._settings.join_token_file is not None
        if may_enrol and not self.papers.valid:
            await self._enrol_patiently()
        if self.papers.exist and not self.papers.valid:
            raise ConfigurationError(
                f"the certificate of {self._identity.kind} {self._identity.id} has ended: set TELETRUNK_INVITATION to "
                f"what `teletrunk {self._identity.kind} invite` prints"
            )
        return Security(self._settings.token(), self.papers if self.papers.exist else None)

    @property
    def managers(self) -> str:
        """Where the Managers are: as the settings say, else as the Manager has said at enrolment."""
        if "manager_address" in self._settings.model_fields_set:
            return self._settings.manager_address
        return self.papers.managers or self._settings.manager_address

    async def keep(self, way: ManagerWay, renewed: Callable[[], None]) -> None:
        """Keeps the papers valid until cancelled; `renewed` when they are others."""

        async def mend(status: grpc.StatusCode) -> None:
            if await self._afresh(status):
                renewed()

        way.on_break = mend
        await self.papers.keep_fresh(way.renew, renewed)

    async def _enrol_patiently(self) -> None:
        began, wait = time.monotonic(), _FIRST_WAIT_S
        while True:
            reusable = True
            try:
                ticket = ticket_of(self._settings, self._identity.kind)
                assert ticket is not None
                reusable = ticket.reusable
                return await self._enrol(ticket)
            except NotYet as reason:
                if not reusable and time.monotonic() - began > _INVITED_S:
                    raise ConfigurationError(f"TELETRUNK_INVITATION: {reason}") from None
                if self._said != (said := str(reason)):
                    log.warning("waits to enrol", reason=said)
                    self._said = said
            await asyncio.sleep(random.uniform(wait / 2, wait))
            wait = min(wait * 2, _LONGEST_WAIT_S if reusable else 2 * _FIRST_WAIT_S)

    async def _afresh(self, status: grpc.StatusCode) -> bool:
        """After the link broke: enrols again when the papers are why, and may be others. Returns whether they are.

        Raises `ConfigurationError` when the service was revoked: it begins again as another one.
        """
        if time.monotonic() < self._next_attempt:
            return False
        try:
            ticket = ticket_of(self._settings, self._identity.kind)
            if ticket is None or not ticket.reusable or not (why := self._why_refused(status, ticket)):
                return False
            self._next_attempt = time.monotonic() + random.uniform(_AFRESH_S, 2 * _AFRESH_S)
            log.warning("enrols afresh", reason=why)
            await self._enrol(ticket)
        except _Revoked:
            raise
        except NotYet as error:  # nobody was there to count a guess
            self._next_attempt = time.monotonic() + random.uniform(_AGAIN_S / 2, _AGAIN_S)
            log.error("could not enrol afresh", reason=str(error))
            return False
        except ConfigurationError as error:  # who has calls does not end for a file that may change
            log.error("could not enrol afresh", reason=str(error))
            return False
        return True

    def _why_refused(self, status: grpc.StatusCode, ticket: Ticket) -> str:
        if status is grpc.StatusCode.UNAUTHENTICATED:
            return "the Manager does not accept the certificate any more"
        if not self.papers.valid:
            return "the certificate has ended"
        if self.papers.authority not in x509.load_pem_x509_certificates(ticket.authority):
            return "the authority is another one"
        return ""

    def _forget(self) -> None:
        self.papers.discard()
        (self._settings.data / "secrets" / f"{self._identity.kind}.id").unlink(missing_ok=True)

    async def _enrol(self, ticket: Ticket) -> None:
        """At the first door that opens. Raises `NotYet`, `ConfigurationError` and `_Revoked`."""
        reason = NotYet("")
        for address in ticket.addresses:
            try:
                return await self._knock(ticket, address)
            except NotYet as error:
                reason = error
        raise reason

    async def _knock(self, ticket: Ticket, address: str) -> None:
        async def sign(signing_request: bytes) -> tuple[bytes, bytes]:
            request = fleet_pb2.EnrolRequest(
                secret=ticket.secret,
                service_id=self._identity.id,
                signing_request=signing_request,
                kind=self._identity.kind,
            )
            async with rpc.knock(address, ticket.authority) as channel:
                answer = await fleet_pb2_grpc.EnrolmentServiceStub(channel).Enrol(request, timeout=_DEADLINE_S)
            self.papers.managers = ",".join(answer.managers)
            return answer.certificate, answer.authority

        try:
            await self.papers.enrol(sign, afresh=False)
        except grpc.aio.AioRpcError as error:
            details = error.details() or ""
            if error.code() is grpc.StatusCode.PERMISSION_DENIED and ticket.reusable:
                self._forget()
                name = f"{self._identity.kind} {self._identity.id}"
                raise _Revoked(f"{name} was revoked; started again, it joins as another one") from None
            if error.code() in _FINAL:
                raise ConfigurationError(f"{ticket.source}: {details}") from None
            raise NotYet(_reason(details, address, ticket.source)) from None
        log.info("enrolled", id=self._identity.id)


class _Revoked(ConfigurationError):
    """The id will be accepted no more, and we have forgotten it."""


def _reason(details: str, address: str, source: str) -> str:
    """In our words what gRPC says in many."""
    if "handshake failed" in details:
        where = "TELETRUNK_AUTHORITY_FILE" if source == "TELETRUNK_JOIN_TOKEN_FILE" else "the invitation"
        return f"the Manager at {address} does not prove itself by the authority that {where} holds"
    if not details or "failed to connect" in details or "Deadline" in details or "DNS" in details:
        return f"the Manager at {address} cannot be reached to enrol"
    return details
