"""Who may register and call: challenges, bans, resting logins, and how many questions the Manager is asked at once.

It decides; what is decided is said by the SIP layers. Who is right in the end is asked of the `Gatekeeper`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import structlog
from teletrunk import causes
from teletrunk.errors import Refusal
from teletrunk.metrics import REFUSALS
from teletrunk.places import Places

from teletrunk_worker.policy.bans import Bans
from teletrunk_worker.policy.known_peers import KnownPeers
from teletrunk_worker.policy.login_lockout import LoginLockout
from teletrunk_worker.policy.refusals import refuse
from teletrunk_worker.policy.strangers import Strangers
from teletrunk_worker.sip import auth, uas
from teletrunk_worker.sip.auth import Credentials, Freshness, Nonces
from teletrunk_worker.sip.message import Request, Response
from teletrunk_worker.sip.transport.flow import Flow, address_of

log = structlog.get_logger()

_MOST_QUESTIONS = 400  # that are under way at the Manager: at 200 a second, two seconds' worth
_MOST_OF_A_LOGIN = 100  # of these: a trunk that asks without end leaves room for others
_BUSY_S: Final = 5
_PACE_S = 0.1  # a wrong login and a wrong password take equally long, whatever was looked up
_MOST_SHOWN = 16
_MOST_DETAIL = 24  # of a refusal in the log, where the row says the rest
# Rows that say: this login is not to be used from there.
NOT_THEIRS: Final = frozenset({"wrong-password", "ip-not-allowed", "session-access-revoked", "login-not-found"})
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Invite:
    """What the gatekeeper learns of a call that wants in."""

    credentials: Credentials
    source_address: str
    called: str
    offered: tuple[str, ...] | None = None  # codecs; None when the offer is left to us
    transport: str = "UDP"
    srtp: frozenset[bool] = frozenset({False})  # whether sound is offered with it, without it, or both
    trunk_id: str = ""  # in place of credentials: the PBX is known by where it is
    sip_call_id: str = ""
    peer: str = ""  # host:port


@dataclass(frozen=True)
class Transfer:
    """What a PBX asks for by REFER: that the call of this leg goes on with a number of that PBX."""

    call_id: str
    leg: str
    trunk_id: str  # of the PBX that asks
    number: str
    peer_address: str  # where it asks from
    referred_by: str = ""  # RFC 3892, as it was written
    replaces: str = ""  # RFC 3891: the PBX's call that the new one takes the place of (attended transfer)
    subscription: str = "refer"  # the Event of its NOTIFYs; empty: none are wanted


@dataclass(frozen=True)
class Registered:
    """The trunk that a PBX has shown the password of."""

    trunk_id: str
    login: str
    password_revision: int = 0


@dataclass(frozen=True)
class Admitted:
    """A call that was let in, and the host that waits for it."""

    call_id: str
    host_port: int


class Gatekeeper(Protocol):
    """Decides. `register`, `identify` and `admit` may raise `Refusal`."""

    async def register(self, credentials: Credentials, source_address: str) -> Registered: ...

    async def identify(self, credentials: Credentials, source_address: str) -> Registered:
        """Whose they are, also while no registration is taken: a call that is up must be able to end."""
        ...

    async def admit(self, invite: Invite) -> Admitted: ...

    def transfer(self, transfer: Transfer) -> None:
        """Raises `Refusal` when it will not be tried."""
        ...

    def turned_away(self, invite: Invite, refusal: Refusal) -> None:
        """A call was refused without the gatekeeper's being asked."""
        ...

    def registration_refused(self, credentials: Credentials, source_address: str, refusal: Refusal) -> None:
        """A registration was refused without the gatekeeper's doing."""
        ...

    def told(self, call_id: str, leg: str, text: str, answer: str = "") -> None:
        """What the leg's peer has asked for within its dialog, and what it was answered by us."""
        ...

    def heard(self, call_id: str, leg: str) -> None:
        """The leg's peer has answered something, if only 100."""
        ...

    def refused(self, call_id: str, leg: str, status: int, phrase: str) -> None:
        """A leg's INVITE was refused on its way, which its host may not know of."""
        ...


def too_many_at_once() -> Refusal:
    """Of what there is no room for: it may come again soon."""
    return causes.TOO_MANY_AT_ONCE.refusal(retry_after=_BUSY_S)


class Admission:
    """The policy of the public port, for requests that want something."""

    def __init__(self, gatekeeper: Gatekeeper, algorithms: tuple[str, ...], bans: Bans) -> None:
        self._gatekeeper = gatekeeper
        self._asking: Places[str] = Places()  # questions that are under way, by login
        self.bans = bans
        self.nonces = Nonces(algorithms)
        self.known = KnownPeers(bans.is_trusted)
        self.lockout = LoginLockout(self.known)
        self.strangers = Strangers(self.known)
        self.on_ban: Callable[[], None] = lambda: None

    def is_worth_reading(self, data: bytes, flow: Flow) -> bool:
        """Whether a message is read at all, when an address sends more than a stranger may.

        Who was given a nonce at that address is no forger, whatever others send in its name.
        """
        address = flow.peer[0]
        if self.strangers.may_speak(address, flow.transport):
            return True
        return self.nonces.has_one_of_ours(data, address) and self.strangers.may_insist(address)

    def credentials(self, request: Request, flow: Flow) -> Credentials | Response:
        """The request's fresh credentials, or what is answered at once without asking anybody."""
        address = flow.peer[0]
        given = auth.credentials_of(request)
        if (left := self.bans.seconds_left(address)) and not self._is_spared(given, address):
            # Told, not dropped: a PBX behind the same address shows its administrator what is wrong.
            banned = causes.ADDRESS_BANNED.refusal(str(left), retry_after=left)
            return self._refuse_unasked(request, given, address, banned)
        freshness = Freshness.FOREIGN
        if given is not None:
            freshness = self.nonces.check(given, address, known=self.known.knows(address))
        if given is None or freshness is not Freshness.FRESH:
            only = "MD5" if self.known.answers_md5(address) else ""
            stale = freshness is Freshness.STALE
            return _challenge(request, self.nonces.challenges(address, request, stale=stale, only=only))
        if why := auth.objection(given, request):
            return refuse(request, Refusal("bad-request", why))
        if refusal := self._resting(given.username, address):
            return self._refuse_unasked(request, given, address, refusal)
        self.nonces.remember(given, address)  # not before: what is worth nothing shall not fill this
        if refusal := self._too_many(given.username):
            return refuse(request, refusal)
        return given

    def _refuse_unasked(self, request: Request, given: Credentials | None, address: str, refusal: Refusal) -> Response:
        """Whose login it is learns of it: the password may be right."""
        if given is not None and request.method == "REGISTER":
            self._gatekeeper.registration_refused(given, address, refusal)
        return refuse(request, refusal)

    def _is_spared(self, given: Credentials | None, address: str) -> bool:
        """A ban does not hit the trunks that are at home behind the same address, but for those guessed at."""
        if given is None:
            return self.known.knows(address)
        return self.known.is_home(given.username, address) and not self.bans.was_tried(address, given.username)

    def _resting(self, login: str, address: str) -> Refusal | None:
        """Why nobody is asked about this login from there. The password may be right: it counts to no ban."""
        left = self.lockout.seconds_left(login, address)
        if not left or self.bans.is_trusted(address):
            return None
        refusal = causes.LOGIN_RESTS.refusal(str(left), retry_after=left)
        REFUSALS.labels(refusal.row.id).inc()
        return refusal

    def objection_to_known(self, login: str, flow: Flow) -> Refusal | None:
        """Why nobody is asked about a call that needs no password: its sender may be anybody who says so."""
        if left := self.bans.seconds_left(flow.peer[0]):
            return causes.ADDRESS_BANNED.refusal(str(left), retry_after=left)
        return self._too_many(login)

    def _too_many(self, login: str) -> Refusal | None:
        if self._asking.total() >= _MOST_QUESTIONS or self._asking[login] >= _MOST_OF_A_LOGIN:
            return too_many_at_once()
        return None

    async def register(self, credentials: Credentials, flow: Flow) -> Registered:
        """The trunk that these are the credentials of. Raises `Refusal`."""
        return await self._asked(self._gatekeeper.register(credentials, flow.peer[0]), credentials, flow)

    async def identify(self, credentials: Credentials, flow: Flow) -> Registered:
        """The same of who speaks in a call. Raises `Refusal`."""
        return await self._asked(self._gatekeeper.identify(credentials, flow.peer[0]), credentials, flow)

    async def admit(
        self,
        credentials: Credentials,
        called: str,
        flow: Flow,
        offered: tuple[str, ...] | None,
        srtp: frozenset[bool],
        trunk_id: str = "",
        sip_call_id: str = "",
    ) -> Admitted:
        """Raises `Refusal`. With a `trunk_id` the credentials bear its login, and prove nothing."""
        invite = Invite(
            credentials, flow.peer[0], called, offered, flow.transport, srtp, trunk_id, sip_call_id, address_of(flow)
        )
        return await self._asked(self._gatekeeper.admit(invite), credentials, flow)

    def turned_away(
        self, credentials: Credentials, called: str, flow: Flow, refusal: Refusal, sip_call_id: str
    ) -> None:
        """An INVITE with a digest was refused for what it is, whoever sends it."""
        REFUSALS.labels(refusal.row.id).inc()
        invite = Invite(credentials, flow.peer[0], called, sip_call_id=sip_call_id, peer=address_of(flow))
        self._gatekeeper.turned_away(invite, refusal)

    def registration_refused(self, credentials: Credentials, flow: Flow, refusal: Refusal) -> None:
        """Of a PBX whose password is right."""
        REFUSALS.labels(refusal.row.id).inc()
        self._gatekeeper.registration_refused(credentials, flow.peer[0], refusal)

    async def _asked(self, question: Coroutine[Any, Any, Answer], credentials: Credentials, flow: Flow) -> Answer:
        began = time.monotonic()
        login = credentials.username
        self._asking[login] += 1
        try:
            answer = await question
        except Refusal as refusal:
            asked = refusal
        else:
            self._welcome(credentials, flow)
            return answer
        finally:
            self._asking.give_back([login])
        await self._refused(asked, credentials, flow, began)
        raise asked

    def _welcome(self, credentials: Credentials, flow: Flow) -> None:
        """The password was right."""
        flow.prove(credentials.username)
        self.bans.succeeded(flow.peer[0], credentials.username)
        self.known.note(credentials.username, flow.peer[0])
        self.known.note_algorithm(flow.peer[0], credentials.algorithm)

    async def _refused(self, refusal: Refusal, credentials: Credentials, flow: Flow, began: float) -> None:
        """Counts what looks like guessing, at one pace for all."""
        address = flow.peer[0]
        REFUSALS.labels(refusal.row.id).inc()
        if self.strangers.may_log(address):
            why = {"why": refusal.detail[:_MOST_DETAIL]} if refusal.detail else {}
            event = f"{credentials.method.lower()} refused"
            log.info(event, login=shown(credentials.username), peer=address, row=refusal.row.id, **why)
        if refusal.row.counts_to_ban:
            self.lockout.failed(credentials.username)
            if self.bans.failed(address, credentials.username):
                log.warning("address banned", peer=address, seconds=self.bans.seconds_left(address))
                self.on_ban()
            await asyncio.sleep(began + _PACE_S - time.monotonic())

    def answer(self, request: Request, refusal: Refusal, flow: Flow) -> Response:
        """What the peer hears of a refusal."""
        if refusal.row.id == "unauthorized":  # the trunk wants no MD5: the client is asked for the better digest
            return _challenge(request, self.nonces.challenges(flow.peer[0], only="SHA-256"), refusal)
        return refuse(request, refusal)


def _challenge(request: Request, challenges: list[tuple[str, str]], refusal: Refusal | None = None) -> Response:
    refusal = refusal or Refusal("unauthorized")
    return uas.respond(request, 401, refusal.phrase, [*challenges, *refusal.sip_headers()])


def shown(text: str) -> str:
    """Something that a stranger wrote, for the log: short, and nothing that a terminal or a parser would act on."""
    return "".join(c if " " < c < "\x7f" and c not in '"\\' else "?" for c in text[:_MOST_SHOWN])
