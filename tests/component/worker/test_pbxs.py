"""PBXs that do not register: what a Worker asks them on the wire, and whose calls it takes theirs for."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable

import pytest
import structlog
from sipmessage import AuthChallenge, Message, Request, Response
from teletrunk import causes
from teletrunk.v1 import manager_pb2, trunk_pb2
from teletrunk_worker.trunks import pbx as pbx_of_ours

from tests import sip_wire
from tests.pbx_wire import said

from .port_world import PATIENCE_S, PortWorld, port_world

NONCE = "abc123"
PASSWORD = "s3cret"


class Registrar(asyncio.DatagramProtocol):
    """A PBX of our own: answers REGISTER and OPTIONS as the test says, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[Request] = asyncio.Queue()
        self.answer: Callable[[Request], Response | None] = self.accept
        self.kept_alive = asyncio.Event()
        self.on_wire: Callable[[bytes], bytes] = lambda data: data  # what is sent in place of an answer's bytes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    @property
    def port(self) -> int:
        return int(self.transport.get_extra_info("sockname")[1])

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if not data.strip():
            self.kept_alive.set()
            return
        message = Message.parse(data)
        if isinstance(message, Request):
            self.asked.put_nowait(message)
            if (answer := self.answer(message)) is not None:
                self.transport.sendto(self.on_wire(bytes(answer)), addr)  # type: ignore[attr-defined]

    def accept(self, request: Request) -> Response:
        return said(request, 200, "OK", Contact=f"{request.headers.get('Contact') or '<sip:x@y>'};expires=120")

    async def next(self, method: str = "REGISTER") -> Request:
        async with asyncio.timeout(PATIENCE_S):
            while (request := await self.asked.get()).method != method:
                pass
        return request


def taken(pbx: Registrar) -> list[Request]:
    """What it was asked until now."""
    return [pbx.asked.get_nowait() for _ in range(pbx.asked.qsize())]


@contextlib.asynccontextmanager
async def registrar(host: str = "127.0.0.1") -> AsyncIterator[Registrar]:
    _, found = await asyncio.get_running_loop().create_datagram_endpoint(Registrar, local_addr=(host, 0))
    try:
        yield found
    finally:
        found.transport.close()


def outbound(port: int, host: str = "127.0.0.1", **fields: object) -> manager_pb2.TrunkSettings:
    pbx = trunk_pb2.PbxAddress(address=f"{host}:{port}", username="gw", **fields)  # type: ignore[arg-type]
    options = trunk_pb2.TrunkOptions(kind=trunk_pb2.TRUNK_KIND_OUTBOUND, pbx=pbx)
    return manager_pb2.TrunkSettings(
        trunk_id="t1", login="office", options=options, registers=True, pbx_password=PASSWORD
    )


def peer(port: int, trunk_id: str = "t1", **fields: object) -> manager_pb2.TrunkSettings:
    pbx = trunk_pb2.PbxAddress(address=f"127.0.0.1:{port}", **fields)  # type: ignore[arg-type]
    options = trunk_pb2.TrunkOptions(kind=trunk_pb2.TRUNK_KIND_PEER, pbx=pbx)
    return manager_pb2.TrunkSettings(trunk_id=trunk_id, login=f"login-{trunk_id}", options=options)


def follow(world: PortWorld, *trunks: manager_pb2.TrunkSettings) -> None:
    gone = world.port.trunks.keep_only({trunk.trunk_id for trunk in trunks})
    changed = [*gone, *world.port.trunks.put(trunks)]
    world.port.registrar.keep(world.port.is_just, changed)
    world.port.pbxs.follow(changed)


def told(state: trunk_pb2.TrunkState) -> tuple[str, int]:
    return state.why, state.cause


async def until(world: PortWorld, up: bool) -> trunk_pb2.TrunkState:
    async with asyncio.timeout(PATIENCE_S):
        while not (states := world.port.pbxs.states()) or states[0].up is not up or "not tried" in states[0].why:
            await asyncio.sleep(0.02)
    return states[0]


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
async def test_a_challenge_is_answered_and_the_registration_rung(algorithm: str) -> None:
    async with port_world() as world, registrar() as pbx:
        challenge = f'Digest realm="pbx", nonce="{NONCE}", qop="auth", opaque="o\\"q", algorithm={algorithm}'

        def answer(request: Request) -> Response:
            if request.headers.get("Authorization") is None:
                return said(request, 401, "Unauthorized", WWW_Authenticate=challenge)
            return pbx.accept(request)

        pbx.answer = answer
        follow(world, outbound(pbx.port))
        state = await until(world, up=True)
        assert "registered at 127.0.0.1 by UDP for 120 s" in state.why
        first, second = await pbx.next(), await pbx.next()
        assert first.call_id == second.call_id and second.cseq.sequence == first.cseq.sequence + 1
        given = AuthChallenge.parse(second.headers["Authorization"]).parameters
        h = sip_wire.HASHES[algorithm]
        one, two = (h(text.encode()).hexdigest() for text in (f"gw:pbx:{PASSWORD}", f"REGISTER:{given['uri']}"))
        whole = f"{one}:{NONCE}:{given['nc']}:{given['cnonce']}:auth:{two}"
        assert given["response"] == h(whole.encode()).hexdigest() and given["opaque"] == 'o"q'
        [binding] = world.port.registrar.bindings("t1")
        assert binding.contact.uri.text == f"sip:gw@127.0.0.1:{pbx.port}"
        assert world.port.registrar.reachable_trunks() == ["t1"]


async def test_what_the_pbx_thinks_too_brief_is_asked_for_longer() -> None:
    async with port_world() as world, registrar() as pbx:

        def answer(request: Request) -> Response:
            if int(request.headers["Expires"]) < 900:
                return said(request, 423, "Interval Too Brief", Min_Expires="900")
            return said(request, 200, "OK", Expires="900")

        pbx.answer = answer
        follow(world, outbound(pbx.port, expires=60))
        assert "for 900 s" in (await until(world, up=True)).why


@pytest.mark.parametrize("fields", [{"Expires": "0"}, {"Expires": "60", "Contact": "{};expires=0"}])
async def test_a_pbx_that_grants_no_time_has_not_registered_us(fields: dict[str, str]) -> None:
    async with port_world() as world, registrar() as pbx:

        def answer(request: Request) -> Response:
            response = said(request, 200, "OK")
            for name, value in fields.items():
                response.headers.set(name, value.format(request.headers["Contact"]))
            return response

        pbx.answer = answer
        follow(world, outbound(pbx.port))
        assert (await until(world, up=False)).why == "200 OK, for 0 s: it has not registered us"
        assert world.port.registrar.bindings("t1") == []


async def test_a_refusal_is_told_and_not_insisted_on() -> None:
    async with port_world() as world, registrar() as pbx:
        pbx.answer = lambda request: said(request, 403, "Forbidden")
        follow(world, outbound(pbx.port))
        assert told(await until(world, up=False)) == ("403 Forbidden", causes.PBX_DENIES.code)
        assert world.port.registrar.bindings("t1") == []
        await pbx.next()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await pbx.next()


@pytest.mark.parametrize(("code", "phrase"), [(301, "Moved Permanently"), (302, "Moved Temporarily")])
async def test_a_registrar_that_has_moved_is_followed(code: int, phrase: str) -> None:
    """RFC 3261 8.1.3.4, the likelier place first; and calls may come from there."""
    async with port_world() as world, registrar() as pbx, registrar() as other, registrar() as better:
        contacts = f"<tel:+1>, <sip:127.0.0.1:{other.port}>;q=0.3, <sip:node@127.0.0.1:{better.port}>;q=0.8"
        pbx.answer = lambda request: said(request, code, phrase, Contact=contacts)
        follow(world, outbound(pbx.port))
        assert "registered at 127.0.0.1 by UDP for 120 s" in (await until(world, up=True)).why
        asked, moved = await pbx.next(), await better.next()
        assert str(moved.uri) == f"sip:127.0.0.1:{better.port}" and other.asked.empty()
        assert (moved.headers["To"], moved.call_id) == (asked.headers["To"], asked.call_id)
        [binding] = world.port.registrar.bindings("t1")
        assert binding.flow.peer == ("127.0.0.1", better.port)


async def test_of_the_places_that_a_registrar_names_the_next_is_tried() -> None:
    async with port_world() as world, registrar() as pbx, registrar() as other:
        contacts = f"<sip:pbx..example.com:5060>;q=0.9, <sip:127.0.0.1:{other.port}>;q=0.3"
        pbx.answer = lambda request: said(request, 302, "Moved Temporarily", Contact=contacts)
        follow(world, outbound(pbx.port))
        await until(world, up=True)
        assert str((await other.next()).uri) == f"sip:127.0.0.1:{other.port}"


@pytest.mark.parametrize("code", [500, 503])
async def test_who_cannot_now_is_left_alone_for_as_long_as_it_says(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pbx_of_ours, "_FIRST_PAUSE_S", 0.1)
    async with port_world() as world, registrar() as pbx:
        pbx.answer = lambda request: said(request, code, "Not now", Retry_After="120 (maintenance);duration=60")
        follow(world, outbound(pbx.port))
        assert told(await until(world, up=False)) == (f"{code} Not now", causes.PBX_SILENT.code)
        await asyncio.sleep(1.2)  # who does not listen has asked again by then: it waits a second at a time
        assert len(taken(pbx)) == 1


async def test_each_realm_of_a_refusal_is_answered() -> None:
    """A proxy gathers those of all whom it has asked (RFC 3261 22.3)."""
    async with port_world() as world, registrar() as pbx:

        def answer(request: Request) -> Response:
            given = request.headers.getlist("Authorization")
            if {"one", "two"} <= {realm for line in given for realm in re.findall(r'realm="(\w+)"', line)}:
                return pbx.accept(request)
            response = said(request, 401, "Unauthorized")
            nonce = request.cseq.sequence  # others at each time, as of servers that keep none
            response.headers.add("WWW-Authenticate", f'Digest realm="one", nonce="a{nonce}", algorithm=MD5')
            response.headers.add("WWW-Authenticate", f'Digest realm="one", nonce="b{nonce}", algorithm=SHA-256')
            response.headers.add("WWW-Authenticate", f'Digest realm="two", nonce="c{nonce}"')
            return response

        pbx.answer = answer
        follow(world, outbound(pbx.port))
        await until(world, up=True)
        lines = taken(pbx)[-1].headers.getlist("Authorization")
        assert len(lines) == 2 and "algorithm=SHA-256" in lines[0], "of each realm one, by its best algorithm"


async def test_who_leads_in_circles_or_nowhere_is_told_and_not_insisted_on() -> None:
    async with port_world() as world, registrar() as pbx:
        for contact in (f"<sip:127.0.0.1:{pbx.port}>", "<tel:+15550100>", "no address"):
            pbx.answer = lambda request: said(request, 302, "Moved Temporarily", Contact=contact)  # noqa: B023
            follow(world)
            follow(world, outbound(pbx.port))
            assert (await until(world, up=False)).why == "302 Moved Temporarily"
            await asyncio.sleep(0.3)  # who insists has asked again by then
            asked = [request.headers["Expires"] for request in taken(pbx)]
            assert len(asked) == (2 if "127.0.0.1" in contact else 1), (contact, asked)


async def test_nobody_is_led_to_another_transport_than_the_trunks() -> None:
    async with port_world() as world, registrar() as pbx, registrar() as other:
        contact = f"<sip:127.0.0.1:{other.port};transport=tcp>"
        pbx.answer = lambda request: said(request, 302, "Moved Temporarily", Contact=contact)
        follow(world, outbound(pbx.port, transport="udp"))
        assert "by UDP" in (await until(world, up=True)).why
        assert (await other.next()).via[0].transport == "UDP"


async def test_a_transport_that_nobody_knows_leads_by_the_usual_one() -> None:
    async with port_world() as world, registrar() as pbx, registrar() as other:
        contact = f"<sip:127.0.0.1:{other.port};transport=carrier-pigeon>"
        pbx.answer = lambda request: said(request, 302, "Moved Temporarily", Contact=contact)
        follow(world, outbound(pbx.port))
        assert "by UDP" in (await until(world, up=True)).why


async def test_where_a_registrar_has_led_stays_known_while_it_is_asked_again() -> None:
    """A call that comes from there meanwhile is the trunk's."""
    async with port_world() as world, registrar() as pbx, registrar("127.0.0.72") as node:
        pbx.answer = lambda request: said(request, 302, "Moved Temporarily", Contact=f"<sip:127.0.0.72:{node.port}>")
        node.answer = lambda request: said(request, 200, "OK", Expires="1")
        follow(world, outbound(pbx.port))
        await until(world, up=True)
        assert world.port.pbxs.is_at("office", "127.0.0.72")
        again = asyncio.Event()
        pbx.answer = lambda request: again.set()  # it thinks
        async with asyncio.timeout(2 * PATIENCE_S):
            await again.wait()
        assert world.port.pbxs.is_at("office", "127.0.0.72")


async def test_the_way_to_a_registrar_is_kept_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through routers that forget who is silent, long before the registration ends (RFC 5626 3.5.1)."""
    monkeypatch.setattr(pbx_of_ours, "_KEEP_ALIVE_S", 0.1)
    async with port_world() as world, registrar() as pbx:
        follow(world, outbound(pbx.port))
        await pbx.next()
        async with asyncio.timeout(PATIENCE_S):
            await pbx.kept_alive.wait()
        assert not taken(pbx), "it is not asked again for that"


async def test_a_trunk_that_is_removed_is_taken_back_at_the_pbx() -> None:
    async with port_world() as world, registrar() as pbx:
        follow(world, outbound(pbx.port))
        await until(world, up=True)
        follow(world)
        async with asyncio.timeout(PATIENCE_S):
            while (await pbx.next()).headers["Expires"] != "0":
                pass
        assert world.port.registrar.bindings("t1") == [] and world.port.pbxs.states() == []


async def test_another_password_asks_the_pbx_anew() -> None:
    async with port_world() as world, registrar() as pbx:
        pbx.answer = lambda request: said(request, 403, "Forbidden")
        follow(world, outbound(pbx.port))
        await until(world, up=False)
        pbx.answer = pbx.accept
        changed = outbound(pbx.port)
        changed.pbx_password = "another"
        follow(world, changed)
        await until(world, up=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_an_administrators_trunk_asks_nobody_on_this_machine(host: str) -> None:
    """What listens here trusts who comes from here; and a name may lead here."""
    async with port_world() as world, registrar() as pbx:
        settings = outbound(pbx.port, host=host)
        settings.administrator = "thief"
        follow(world, settings)
        assert told(await until(world, up=False)) == ("the PBX has no address", causes.PBX_NAME_UNKNOWN.code)
        assert pbx.asked.empty()
        settings.administrator = ""  # the installation's own PBX may be here
        follow(world)
        follow(world, settings)
        await until(world, up=True)


async def test_a_name_that_leads_nowhere_is_said() -> None:
    async with port_world() as world:
        follow(world, outbound(5060, host="nowhere.invalid"))
        assert told(await until(world, up=False)) == ("nowhere.invalid has no address", causes.PBX_NAME_UNKNOWN.code)


async def test_the_pbxs_call_is_known_by_our_contact_or_its_address() -> None:
    async with port_world() as world, registrar() as pbx, sip_wire.udp(world.address) as wire:
        follow(world, outbound(pbx.port))
        await until(world, up=True)
        contact = re.search(r"sip:(tt[0-9a-f]+)@", (await pbx.next()).headers["Contact"])
        assert contact is not None
        for user, called in ((contact[1], "+79990000002"), ("friend", "friend")):
            invite = wire.request("INVITE", user, "gw", To=f"<sip:{called}@127.0.0.1>")
            wire.send(bytes(invite))
            await world.host.next(lambda message: isinstance(message, Request) and message.method == "INVITE")
            asked = world.door.admitted[-1]
            assert (asked.trunk_id, asked.called, asked.credentials.username) == ("t1", called, "office")


async def test_a_peer_is_asked_whether_it_is_there_and_known_by_its_header() -> None:
    async with port_world() as world, registrar() as pbx, sip_wire.udp(world.address) as wire:
        follow(world, peer(pbx.port, header="X-Trunk: one"), peer(pbx.port, "t2", header="X-Trunk: two"))
        assert (await pbx.next("OPTIONS")).headers["To"] == f"<sip:127.0.0.1:{pbx.port}>"
        await until(world, up=True)
        for value, trunk_id in (("two", "t2"), ("one", "t1")):
            wire.send(bytes(wire.request("INVITE", "100", "gw", X_Trunk=value)))
            await world.host.next(lambda message: isinstance(message, Request) and message.method == "INVITE")
            assert world.door.admitted[-1].trunk_id == trunk_id
        stranger = await wire.ask(wire.request("INVITE", "100", "gw", X_Trunk="three"))
        assert stranger.final.code == 401, "whom nobody knows is asked for a password"


async def test_of_trunks_that_nothing_tells_apart_the_first_has_the_calls_and_the_log_says_so() -> None:
    async with port_world() as world, registrar() as pbx, sip_wire.udp(world.address) as wire:
        follow(world, peer(pbx.port, "t2"), peer(pbx.port, "t1"), peer(pbx.port, "t3", header="X-Trunk: three"))
        await until(world, up=True)
        with structlog.testing.capture_logs() as lines:
            for headers, trunk_id in (({}, "t1"), ({}, "t1"), ({"X_Trunk": "three"}, "t3")):
                wire.send(bytes(wire.request("INVITE", "100", "gw", **headers)))
                await world.host.next(lambda message: isinstance(message, Request) and message.method == "INVITE")
                assert world.door.admitted[-1].trunk_id == trunk_id
        assert [line["logins"] for line in lines if "logins" in line] == [("login-t1", "login-t2")]


def thief(header: str) -> manager_pb2.TrunkSettings:
    """Another administrator's trunk, which is known by the address that the tests' PBXs have."""
    settings = peer(5060, "t0", header=header)
    settings.options.pbx.address = "192.0.2.1:5060"
    settings.administrator = "thief"
    settings.networks.append("127.0.0.1/32")
    return settings


async def test_of_two_administrators_at_one_address_neither_gets_the_others_calls() -> None:
    """A header may be one that all calls have."""
    async with port_world() as world, registrar() as pbx, sip_wire.udp(world.address) as wire:
        victim = peer(pbx.port, header="X-Trunk: one")
        follow(world, victim, thief("Max-Forwards: 70"))
        await until(world, up=True)
        invite = wire.request("INVITE", "100", "gw", X_Trunk="one")
        assert invite.headers["Max-Forwards"] == "70"
        assert (await wire.ask(invite)).final.code == 401
        assert world.door.admitted == []
        follow(world, victim, thief("X-Trunk: two"))
        for value, trunk_id in (("one", "t1"), ("two", "t0")):
            wire.send(bytes(wire.request("INVITE", "100", "gw", X_Trunk=value)))
            await world.host.next(lambda message: isinstance(message, Request) and message.method == "INVITE")
            assert world.door.admitted[-1].trunk_id == trunk_id


async def test_a_peer_that_knows_no_options_is_rung_and_one_that_fell_silent_is_not() -> None:
    async with port_world() as world, sip_wire.udp(world.address) as silent:
        follow(world, peer(silent.local[1]))
        async with asyncio.timeout(2 * PATIENCE_S):
            while not world.port.registrar.bindings("t1"):
                await asyncio.sleep(0.05)
        [state] = world.port.pbxs.states()
        assert not state.up and told(state) == (
            "it does not answer OPTIONS, and is rung all the same",
            causes.PBX_SILENT.code,
        )


async def test_a_connection_that_is_lost_is_made_and_registered_again() -> None:
    registrations: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                message = Message.parse(await reader.readuntil(b"\r\n\r\n"))
                assert isinstance(message, Request)
                writer.write(bytes(said(message, 200, "OK", Expires="3600")))
                registrations.put_nowait(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, port_world() as world, asyncio.timeout(20):
        follow(world, outbound(server.sockets[0].getsockname()[1], transport="tcp"))
        first = await registrations.get()
        await until(world, up=True)
        first.transport.abort()
        second = await registrations.get()
        assert second is not first
        while [binding.flow.closed for binding in world.port.registrar.bindings("t1")] != [False]:
            await asyncio.sleep(0.02)
