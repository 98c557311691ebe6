"""A PBX that does not register at us: where it is, how we stand with it, and the way on which it is rung.

Two kinds of them: one at which we register (RFC 3261 10.2), and one that is known by its address, which is asked by
OPTIONS now and then whether it is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import random
import re
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import structlog
from teletrunk import causes
from teletrunk.causes import Cause
from teletrunk.v1 import trunk_pb2 as pb
from teletrunk.v1.call_pb2 import REFUSAL_CAUSE_UNSPECIFIED

from teletrunk_worker.sip.answers import readable_entries
from teletrunk_worker.sip.digest_client import Account
from teletrunk_worker.sip.message import Request, Response
from teletrunk_worker.sip.proxy import bracketed, transport_parameter
from teletrunk_worker.sip.registrar import Binding
from teletrunk_worker.sip.scanner import Malformed
from teletrunk_worker.sip.transaction.client import ClientTransactions, NoAnswer
from teletrunk_worker.sip.transport.flow import Address, Flow
from teletrunk_worker.sip.transport.locate import PORTS, NotFound, Place, Resolver
from teletrunk_worker.sip.uac import Client
from teletrunk_worker.sip.uri import Uri, parse_name_addr, parse_uri
from teletrunk_worker.trunks.book import Trunk

log = structlog.get_logger()

_FOREVER_S = 10 * 365 * 86_400.0
_LOOK_AGAIN_S = 30.0  # OPTIONS to a PBX that is there
_KEEP_ALIVE_S = 25.0  # RFC 5626 4.4: less than what a router remembers a UDP peer for
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _LONGEST_ASKED_S = 2.0, 300.0, 3_600.0
_SOON_S = 10.0  # a connection that ends so early is no success
_MOST_DOUBLINGS = 10
_LONGEST_EXPIRES_S = 86_400
_MOST_CONTACTS = 256  # a registrar lists whoever is registered
_REFUSED_PAUSE_S = 60.0  # a wrong password is not right a moment later, and a PBX bans who insists
_EXPIRES_S = 600
_AHEAD = 0.85  # of its time, when a registration is renewed
_MOST_PLACES = 4
_NUMBER = re.compile(r"\s*([0-9]{1,9})\s*(?:[;(]|$)")  # of a header that may have a comment (RFC 3261 20.33)
Answer = TypeVar("Answer")


class Network(Protocol):
    """What a PBX is reached by."""

    @property
    def requests(self) -> ClientTransactions: ...

    @property
    def resolver(self) -> Resolver: ...

    def face(self, flow: Flow) -> Address: ...

    async def flow_to(self, place: Place, *, any_certificate: bool) -> Flow: ...


class Refused(Exception):
    """The PBX has said no; the text says what."""

    def __init__(self, response: Response) -> None:
        self.response = response
        super().__init__(f"{response.code} {response.phrase}")


class Unavailable(NoAnswer):
    """A server that cannot now: another of the PBX's addresses may do. It may say for how long (RFC 3261 21.5.4)."""

    def __init__(self, response: Response) -> None:
        self.response = response
        super().__init__(f"{response.code} {response.phrase}")


class Moved(Refused):
    """The registrar is elsewhere; `to` is where it says, the likeliest first (RFC 3261 8.1.3.4)."""

    def __init__(self, response: Response) -> None:
        super().__init__(response)
        self.to = _places_named(response)


@dataclass(frozen=True)
class News:
    """Who is told what of a PBX."""

    bound: Callable[[Trunk, list[Binding]], None]  # its bindings; none while it is not to be rung
    moved: Callable[[Trunk], None]  # its state is another one, or the addresses that it may come from are
    reached: Callable[[Trunk, str], None]  # it is there, at this address


class Pbx(ABC):
    """One trunk's."""

    def __init__(self, trunk: Trunk, network: Network, news: News) -> None:
        self.trunk = trunk
        self.state = pb.TrunkState(trunk_id=trunk.trunk_id, up=False, why="not tried yet", since=time.time())
        self.addresses: frozenset[str] = frozenset()  # that it may come from
        self._network = network
        self._news = news
        self._flow: Flow | None = None
        self._known_places: list[Place] = []
        self._moved_to: list[Place] = []  # where it has sent us last
        self._tries = 0
        self._up_since = 0.0

    @property
    def options(self) -> pb.PbxAddress:
        return self.trunk.options.pbx

    async def keep(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                pause = await self._once()
                self._up_since = time.monotonic()
            except (OSError, Refused, Malformed) as error:
                self._lost(str(error), _cause_of(error))
                pause = self._pause(error)
            except Exception as error:  # of ours: the trunk is tried again, and the others with it
                log.exception("a PBX could not be asked", login=self.trunk.login)
                self._lost(f"the gateway failed: {type(error).__name__}")
                pause = self._pause(error)
            await self._rest(pause)
            if self._flow is not None and not self._flow.closed:
                self._tries = 0
            elif self._flow is not None and time.monotonic() - self._up_since < _SOON_S:
                self._lost("the PBX has closed the connection", causes.PBX_SILENT)
                await self._rest(self._pause(NoAnswer("closed")))

    @abstractmethod
    async def _once(self) -> float:
        """Seconds until it is due again. Raises OSError, `Refused`."""

    @abstractmethod
    async def close(self) -> None:
        """Says good-bye."""

    # Its state.

    def _is_up(self, why: str, flow: Flow) -> None:
        self._ring_at(flow)
        self._say(up=True, why=why)

    def _ring_at(self, flow: Flow) -> None:
        """Calls go there from now on. A binding that is the same stays: a call may be on its way to it."""
        self._news.reached(self.trunk, flow.peer[0])
        if self._flow != flow:
            self._flow = flow
            self._news.bound(self.trunk, [self._binding(flow)])

    def _lost(self, why: str, cause: Cause | None = None) -> None:
        """A connection is left as it is: calls may be up on it. One that nobody uses ends after an hour."""
        self._flow = None
        self._news.bound(self.trunk, [])
        self._say(up=False, why=why, cause=cause)

    def _say(self, *, up: bool, why: str, cause: Cause | None = None) -> None:
        if (self.state.up, self.state.why) != (up, why):
            code = cause.code if cause else REFUSAL_CAUSE_UNSPECIFIED
            self.state = pb.TrunkState(
                trunk_id=self.trunk.trunk_id, up=up, why=why[:200], since=time.time(), cause=code
            )
            log.info("trunk is up" if up else "trunk is down", login=self.trunk.login, why=why[:200])
            self._news.moved(self.trunk)

    def _binding(self, flow: Flow) -> Binding:
        host, port = self._domain()
        contact = f"<sip:{self._user()}@{bracketed(host)}:{port or flow.peer[1]}{transport_parameter(flow.transport)}>"
        return Binding(
            binding_id=f"k{secrets.token_hex(8)}",
            trunk_id=self.trunk.trunk_id,
            login=self.trunk.login,
            contact=parse_name_addr(contact),
            flow=flow,
            expires_at=time.monotonic() + _FOREVER_S,
            call_id="",
            sequence=0,
            of_ours=True,
        )

    def _user(self) -> str:
        """Who is rung there."""
        return self.options.username or self.trunk.login

    def _pause(self, error: Exception) -> float:
        """Longer with every try, and never for all PBXs at the same moment."""
        self._tries += 1
        shortest = _REFUSED_PAUSE_S if isinstance(error, Refused) else _FIRST_PAUSE_S
        if isinstance(error, (Refused, Unavailable)):
            asked = number_in(error.response.headers.get("Retry-After"))
            shortest = shortest if asked is None else min(float(asked), _LONGEST_ASKED_S)
        grown = min(max(shortest, _doubled(self._tries - 1)), max(shortest, _LONGEST_PAUSE_S))
        return grown * random.uniform(0.8, 1.2)

    async def _rest(self, seconds: float) -> None:
        """Not longer than the connection lives; it is kept open, through whatever translates addresses on its way."""
        until, pinged_at = time.monotonic() + seconds, time.monotonic()
        while (left := until - time.monotonic()) > 0:
            if self._flow is not None and self._flow.closed:
                return
            if self._flow is not None and time.monotonic() - pinged_at >= _KEEP_ALIVE_S:
                self._flow.ping()
                pinged_at = time.monotonic()
            await asyncio.sleep(min(left, 1.0))

    # Where it is.

    def _domain(self) -> tuple[str, int | None]:
        return host_and_port(self.options.address)

    def _note_addresses(self) -> None:
        fresh = frozenset(place.address[0] for place in (*self._known_places, *self._moved_to))
        if fresh != self.addresses:
            self.addresses = fresh
            self._news.moved(self.trunk)

    async def _places(self, where: str) -> list[Place]:
        """Where it is now, the one that is spoken to first. A name server that is away makes nobody unknown."""
        host, port = host_and_port(where)
        try:
            found = await self._network.resolver.places(host, port, self.options.transport.upper())
            self._known_places = [place for place in found if self._may_be_at(place.address[0])]
        except OSError:
            if not self._known_places:
                raise
        self._note_addresses()
        flow = self._flow
        spoken_to = None if flow is None else (flow.transport, flow.peer)
        places = sorted(self._known_places, key=lambda place: (place.transport, place.address) != spoken_to)
        return places[:_MOST_PLACES]

    def _may_be_at(self, address: str) -> bool:
        """An administrator's PBX is not this machine, nor what only this link knows: services there trust who asks."""
        at = ipaddress.ip_address(address.partition("%")[0])
        at = (at.ipv4_mapped if at.version == 6 else None) or at
        elsewhere = not (at.is_loopback or at.is_link_local or at.is_unspecified or at.is_multicast)
        return elsewhere or not self.trunk.administrator

    async def _flow_to(self, place: Place) -> Flow:
        """The connection that there is already, if it leads there."""
        flow, wanted = self._flow, (place.transport, place.address)
        if flow is not None and not flow.closed and (flow.transport, flow.peer) == wanted:
            return flow
        return await self._network.flow_to(place, any_certificate=self.options.any_certificate)

    async def _first_that_answers(
        self, places: list[Place], ask: Callable[[Flow], Awaitable[Answer]]
    ) -> tuple[Place, Flow, Answer]:
        """Asks one place after the other. Raises OSError of the last when none answers, and what `ask` raises else."""
        failure: OSError = NotFound("the PBX has no address")
        for place in places:
            try:
                flow = await self._flow_to(place)
                return place, flow, await self._closing(flow, ask)
            except OSError as error:
                failure = error
        raise failure

    async def _closing(self, flow: Flow, ask: Callable[[Flow], Awaitable[Answer]]) -> Answer:
        """A connection that was made to ask is closed again when nothing comes of it."""
        try:
            return await ask(flow)
        except BaseException:
            if flow is not self._flow:
                flow.close()
            raise


class OutboundPbx(Pbx):
    """We register there."""

    def __init__(self, trunk: Trunk, network: Network, news: News) -> None:
        super().__init__(trunk, network, news)
        name = self.options.auth_username or self.options.username
        self._client = Client(network.requests, network.face, Account(name, trunk.pbx_password))
        self.token = f"tt{secrets.token_hex(8)}"  # the user of our contact: who calls it means this trunk
        self._expires = self.options.expires or _EXPIRES_S
        self._registrar = ""  # the URI that is asked

    async def _once(self) -> float:
        host, _ = self._domain()
        self._registrar = f"sip:{bracketed(host)}"
        places = await self._places(self.options.proxy or self.options.address)
        try:
            place, flow, granted = await self._registered_at(places)
            self._moved_to = []
        except Moved as moved:
            place, flow, granted = await self._registered_elsewhere(moved)
        self._is_up(f"registered at {place.address[0]} by {place.transport} for {granted} s", flow)
        return max(granted * _AHEAD, 5.0)

    async def _registered_at(self, places: list[Place]) -> tuple[Place, Flow, int]:
        return await self._first_that_answers(places, lambda flow: self._register(flow, self._expires))

    async def _registered_elsewhere(self, moved: Moved) -> tuple[Place, Flow, int]:
        """At the first that can be reached. Raises OSError, `Refused`."""
        failure: OSError | Moved = moved
        for to in moved.to[:_MOST_PLACES]:
            try:
                return await self._registered_at(await self._followed(to))
            except OSError as error:
                failure = error
        raise failure

    async def _followed(self, to: Uri) -> list[Place]:
        """Once, and never to another transport than the trunk's: what was secret stays so."""
        self._registrar = f"sip:{bracketed(to.host)}" + (f":{to.port}" if to.port else "")
        said = "TLS" if to.scheme == "sips" else (to.parameters.get("transport") or "").upper()
        transport = self.options.transport.upper() or (said if said in PORTS else "")
        places = await self._network.resolver.places(to.host, to.port, transport)
        self._moved_to = [place for place in places if self._may_be_at(place.address[0])][:_MOST_PLACES]
        self._note_addresses()
        return self._moved_to

    async def _register(self, flow: Flow, expires: int) -> int:
        """Seconds that are granted. Raises `NoAnswer`, `Refused`."""
        host, _ = self._domain()
        registrar, identity = self._registrar, f"sip:{self.options.username}@{bracketed(host)}"
        headers = [("Contact", f"<{self._contact(flow)}>"), ("Expires", str(expires)), ("Supported", "path, outbound")]
        response = await self._client.ask("REGISTER", registrar, identity, flow, headers)
        asked = number_in(response.headers.get("Min-Expires"))
        if response.code == 423 and asked is not None and asked > expires:
            self._expires = min(asked, _LONGEST_EXPIRES_S)
            headers[1] = ("Expires", str(self._expires))
            response = await self._client.ask("REGISTER", registrar, identity, flow, headers)
        if response.code in (408, 500, 502, 503, 504):
            raise Unavailable(response)
        if response.code // 100 == 3:
            raise Moved(response)
        if response.code // 100 != 2:
            raise Refused(response)
        granted = self._granted(response)
        if expires and not granted:
            raise NoAnswer(f"{response.code} {response.phrase}, for 0 s: it has not registered us")
        return granted

    def _granted(self, response: Response) -> int:
        """RFC 3261 10.2.4: what stands at our own contact, else what is said for all. When all that is named is others,
        the shortest of theirs: one of them may be ours, which a gateway on the way has named anew."""
        ours: list[int] = []
        others: list[int] = []
        for entry in readable_entries(response, "Contact", _MOST_CONTACTS):
            said = number_in(parse_name_addr(entry).parameters.get("expires"))
            if said is not None:
                (ours if self.token in entry else others).append(said)
        granted = max(ours) if ours else number_in(response.headers.get("Expires"))
        if granted is None:
            granted = min(filter(None, others), default=self._expires)
        return min(granted, _LONGEST_EXPIRES_S)

    def _contact(self, flow: Flow) -> str:
        host, port = self._network.face(flow)
        return f"sip:{self.token}@{bracketed(host)}:{port}{transport_parameter(flow.transport)}"

    async def close(self) -> None:
        """Takes the registration back; who does not hear it will notice."""
        if self._flow is not None and not self._flow.closed:
            with contextlib.suppress(OSError, Refused, TimeoutError, Malformed):
                async with asyncio.timeout(1.0):
                    await self._register(self._flow, 0)

    def called(self, invite: Request) -> str:
        """Whom the PBX wants: it may ring our contact as it is, and say the number in To."""
        uri = invite.uri
        return (invite.to.uri if uri.user == self.token else uri).number


class PeerPbx(Pbx):
    """It is known by its address."""

    def __init__(self, trunk: Trunk, network: Network, news: News) -> None:
        super().__init__(trunk, network, news)
        self._client = Client(network.requests, network.face)
        self._has_answered = False
        self._asked = 0  # times without an answer

    async def _once(self) -> float:
        try:
            place, flow, response = await self._first_that_answers(
                await self._places(self.options.address), self._options
            )
        except NoAnswer as failure:
            if self._has_answered:
                raise
            return await self._without_options(failure)
        self._has_answered = True
        self._is_up(f"{place.address[0]} answers OPTIONS by {place.transport} with {response.code}", flow)
        return _LOOK_AGAIN_S

    async def _options(self, flow: Flow) -> Response:
        """Any answer is one, but that of a proxy which does not reach it. Raises `NoAnswer`."""
        host, port = self._domain()
        own, at = self._network.face(flow)
        target = f"sip:{bracketed(host)}:{port or flow.peer[1]}"
        response = await self._client.ask("OPTIONS", target, f"sip:teletrunk@{bracketed(own)}:{at}", flow)
        if response.code in (408, 502, 503, 504):
            raise NoAnswer(f"{response.code} {response.phrase}")
        return response

    async def _without_options(self, failure: NoAnswer) -> float:
        """One that has never answered may not know OPTIONS: it is rung all the same."""
        places = await self._places(self.options.address)
        if not places:
            raise failure
        self._ring_at(await self._flow_to(places[0]))
        self._say(up=False, why="it does not answer OPTIONS, and is rung all the same", cause=causes.PBX_SILENT)
        self._asked += 1
        return min(_LOOK_AGAIN_S, _doubled(self._asked))  # it may only be starting

    async def close(self) -> None:
        """Nothing was agreed on."""


def _cause_of(error: Exception) -> Cause | None:
    match error:
        case NotFound():
            return causes.PBX_NAME_UNKNOWN
        case OSError():
            return causes.PBX_SILENT
        case Refused():
            return causes.PBX_DENIES
    return None  # it has said something that cannot be read


def _places_named(response: Response) -> list[Uri]:
    """Of a redirection's contacts, those that SIP can reach."""
    found: list[tuple[float, Uri]] = []
    for entry in readable_entries(response, "Contact", _MOST_CONTACTS):
        with contextlib.suppress(ValueError):
            contact = parse_name_addr(entry)
            if contact.uri.host:
                found.append((float(contact.parameters.get("q") or 1), contact.uri))
    return [uri for _, uri in sorted(found, key=lambda one: -one[0])]


def number_in(text: str | None) -> int | None:
    """A header's number, whatever is said of it behind; None for what is none, or too large to be meant."""
    found = _NUMBER.match(text or "")
    return int(found[1]) if found else None


def _doubled(times: int) -> float:
    return float(_FIRST_PAUSE_S * 2 ** min(times, _MOST_DOUBLINGS))


def host_and_port(text: str) -> tuple[str, int | None]:
    uri = parse_uri(f"sip:{text}")
    return uri.host, uri.port
