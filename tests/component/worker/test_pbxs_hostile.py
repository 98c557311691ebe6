"""Answers and names of any shape: a trunk whose PBX does not register is asked again, whatever it has said."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from sipmessage import Request, Response
from teletrunk.v1 import manager_pb2
from teletrunk_worker.sip.transaction.client import NoAnswer
from teletrunk_worker.sip.transport.locate import NotFound, Place
from teletrunk_worker.trunks.pbx import PeerPbx

from tests import sip_wire
from tests.pbx_wire import said

from .port_world import PATIENCE_S, PortWorld, is_invite, port_world
from .test_pbxs import Registrar, follow, outbound, peer, registrar, until


async def recovers(world: PortWorld, pbx: Registrar) -> None:
    """It is asked again, and believed."""
    pbx.answer = pbx.accept
    changed = outbound(pbx.port)
    changed.pbx_password = "another"
    follow(world, changed)
    await until(world, up=True)
    assert all(not task.done() for _, task in world.port.pbxs._all.values())


@pytest.mark.parametrize(
    ("code", "phrase", "headers"),
    [
        (423, "Interval Too Brief", {"Min-Expires": "soon"}),
        (423, "Interval Too Brief", {"Min-Expires": "9" * 5000}),
        (403, "Forbidden", {"Retry-After": "\u00b2"}),
        (503, "Unavailable", {"Retry-After": "99999999999"}),
        (302, "Moved", {"Contact": "<sip:elsewhere>"}),
        (401, "Unauthorized", {"WWW-Authenticate": 'Digest realm="caf\xe9", nonce="n", qop="auth"'}),
        (401, "Unauthorized", {"WWW-Authenticate": "NTLM"}),
    ],
)
async def test_no_answer_ends_the_asking(code: int, phrase: str, headers: dict[str, str]) -> None:
    async with port_world() as world, registrar() as pbx:
        lines = {name.replace("-", "_"): value for name, value in headers.items()}
        pbx.answer = lambda request: said(request, code, phrase, b"", **lines)
        follow(world, outbound(pbx.port))
        await until(world, up=False)
        await recovers(world, pbx)


@pytest.mark.parametrize("contact", ["<sip:a@b>, *", "<sip:a@b>;expires=\u00b2", "<<<", ""])
async def test_a_registration_counts_whatever_else_is_listed(contact: str) -> None:
    async with port_world() as world, registrar() as pbx:
        pbx.answer = lambda request: said(request, 200, "OK", Contact=contact, Expires="300")
        follow(world, outbound(pbx.port))
        assert "for 300 s" in (await until(world, up=True)).why


@pytest.mark.parametrize(
    ("contacts", "expires", "granted"),
    [
        ("<sip:a@b>;expires=40, <sip:c@d>;expires=30, <sip:e@f>;expires=0", "", 30),  # one of them may be ours
        ("<sip:a@b>;expires=40", "300", 300),
        ("<sip:a@b>;expires=40, {};expires=50", "300", 50),
        ("{};expires=1, {};expires=70", "300", 70),  # the old one, too, until it ends
        ("*, no address, {};expires=50", "", 50),
        (", ".join(["<sip:a@b>;expires=9"] * 60) + ", {};expires=55", "", 55),
        ("{};expires=99999999999", "", 600),
        ("{};expires=999999999", "", 86_400),
        ("{}", "", 600),
        ("", "", 600),
    ],
)
async def test_for_how_long_we_are_registered(contacts: str, expires: str, granted: int) -> None:
    """RFC 3261 10.2.4. Who takes it for longer than it is rings no PBX until the next time."""
    async with port_world() as world, registrar() as pbx:

        def answer(request: Request) -> Response:
            response = said(request, 200, "OK", Contact=contacts.replace("{}", request.headers["Contact"]))
            if expires:
                response.headers.set("Expires", expires)
            return response

        pbx.answer = answer
        follow(world, outbound(pbx.port))
        assert f" for {granted} s" in (await until(world, up=True)).why


BAD_HEADERS = {"Path": "<<<", "Record-Route": "<sip:a b>", "Service-Route": "x y", "Contact": "<sip:a", "X-A": "a\0b"}


@pytest.mark.parametrize("name", [*BAD_HEADERS, "Content-Length", "From", "To"])
@pytest.mark.parametrize("kind", [outbound, peer])
async def test_an_answer_counts_whatever_of_it_cannot_be_read(
    name: str, kind: Callable[[int], manager_pb2.TrunkSettings]
) -> None:
    """It was taken for silence."""
    async with port_world() as world, registrar() as pbx:
        pbx.answer = lambda request: said(request, 200, "OK", Expires="120")
        line = f"{name}: {BAD_HEADERS.get(name, '777')}".encode()
        pbx.on_wire = lambda data: data.replace(b"\r\n", b"\r\n" + line + b"\r\n", 1)
        follow(world, kind(pbx.port))
        assert "127.0.0.1" in (await until(world, up=True)).why


@pytest.mark.parametrize("host", ["pbx..example.com", "[2001:db8::1]"])
async def test_no_name_ends_the_asking(host: str) -> None:
    async with port_world() as world, registrar() as pbx:
        follow(world, outbound(5060, host=host))
        await until(world, up=False)
        await recovers(world, pbx)


async def test_days_without_an_answer_are_borne() -> None:
    async with port_world() as world, registrar() as pbx:
        pbx.answer = lambda request: said(request, 403, "Forbidden")
        follow(world, outbound(pbx.port))
        await until(world, up=False)
        [(found, _)] = world.port.pbxs._all.values()
        found._tries = 5_000
        assert 200 < found._pause(OSError("away")) < 400


class OneAnswer:
    """A name server that answers once."""

    def __init__(self, place: Place) -> None:
        self.left = [place]

    async def places(self, host: str, port: int | None, transport: str) -> list[Place]:
        if not self.left:
            raise NotFound(f"{host} has no address")
        return [self.left.pop()]


async def test_a_name_server_that_is_away_makes_no_pbx_unknown() -> None:
    async with registrar() as pbx:
        answers = OneAnswer(Place("UDP", ("127.0.0.1", pbx.port), "pbx.test"))
        async with port_world(resolver=answers) as world:
            pbx.answer = lambda request: said(request, 200, "OK", Expires="1")
            follow(world, outbound(pbx.port, host="pbx.test"))
            await until(world, up=True)
            first = world.port.registrar.bindings("t1")
            await pbx.next()
            await asyncio.wait_for(pbx.asked.get(), 2 * PATIENCE_S)  # it is registered again
            assert answers.left == [] and world.port.registrar.bindings("t1") == first


async def test_a_longer_list_of_addresses_is_obeyed_at_once() -> None:
    async with port_world() as world, registrar() as pbx, sip_wire.udp(world.address, "127.0.0.71") as wire:
        trunk = peer(pbx.port)
        follow(world, trunk)
        await until(world, up=True)
        assert (await wire.ask(wire.request("INVITE", "100", "gw"))).final.code == 401
        trunk.networks.append("127.0.0.71/32")
        follow(world, trunk)
        wire.send(bytes(wire.request("INVITE", "100", "gw")))
        await world.host.next(is_invite)
        assert world.door.admitted[-1].trunk_id == "t1"


class Names:
    """A name server whose answer may change."""

    def __init__(self, *places: Place) -> None:
        self.known = list(places)

    async def places(self, host: str, port: int | None, transport: str) -> list[Place]:
        return self.known


async def test_calls_are_known_from_where_the_name_leads_now() -> None:
    async with registrar() as pbx:
        pbx.answer = lambda request: said(request, 200, "OK", Expires="1")
        names = Names(Place("UDP", ("127.0.0.1", pbx.port), "pbx.test"), Place("UDP", ("127.0.0.72", 9), "pbx.test"))
        async with (
            port_world(resolver=names) as world,
            sip_wire.udp(world.address, "127.0.0.72") as before,
            sip_wire.udp(world.address, "127.0.0.73") as after,
        ):
            follow(world, outbound(pbx.port, host="pbx.test"))
            await until(world, up=True)
            before.send(bytes(before.request("INVITE", "100", "gw")))
            await world.host.next(is_invite)
            assert (await after.ask(after.request("INVITE", "100", "gw"))).final.code == 401
            names.known[1] = Place("UDP", ("127.0.0.73", 9), "pbx.test")
            await pbx.next()
            await asyncio.wait_for(pbx.next(), 2 * PATIENCE_S)  # it is registered again
            after.send(bytes(after.request("INVITE", "100", "gw")))
            await world.host.next(is_invite)
            assert (await before.ask(before.request("INVITE", "100", "gw"))).final.code == 401
            follow(world)
            assert (await after.ask(after.request("INVITE", "100", "gw"))).final.code == 401


async def test_who_has_registered_from_there_shows_its_password() -> None:
    """A peer and a PBX that registers may stand behind one address."""
    async with port_world() as world, registrar() as pbx, sip_wire.udp(world.address) as wire:
        follow(world, peer(pbx.port))
        await until(world, up=True)
        assert (await wire.register("office", "x")).final.code == 200
        assert (await wire.ask(wire.request("INVITE", "100", "office"))).final.code == 401


async def test_the_second_registration_at_a_pbx_is_known_by_its_user() -> None:
    async with port_world() as world, registrar() as pbx, sip_wire.udp(world.address) as wire:
        second = manager_pb2.TrunkSettings()
        second.CopyFrom(outbound(pbx.port))
        second.trunk_id, second.login, second.options.pbx.username = "t2", "other", "gw2"
        follow(world, outbound(pbx.port), second)
        async with asyncio.timeout(PATIENCE_S):
            while [state.up for state in world.port.pbxs.states()] != [True, True]:
                await asyncio.sleep(0.02)
        for user, trunk_id in (("gw2", "t2"), ("gw", "t1")):
            wire.send(bytes(wire.request("INVITE", "100", user)))
            await world.host.next(is_invite)
            assert world.door.admitted[-1].trunk_id == trunk_id
        assert (await wire.ask(wire.request("INVITE", "100", "whoever"))).final.code == 401


async def test_the_sound_of_a_first_call_is_the_trunks() -> None:
    """It may come before the PBX has answered anything."""
    async with port_world() as world, sip_wire.udp(world.address) as wire:
        trunk = peer(wire.local[1])
        trunk.codecs.append("PCMU")
        follow(world, trunk)
        async with asyncio.timeout(PATIENCE_S):
            while not world.port.pbxs._all["t1"][0].addresses:
                await asyncio.sleep(0.01)
        assert world.port.registrar.bindings("t1") == []
        assert world.port._sound_of("login-t1").codecs == ("PCMU",)


async def test_a_peer_that_knows_no_options_keeps_its_binding() -> None:
    async with port_world() as world, sip_wire.udp(world.address) as silent:
        follow(world, peer(silent.local[1]))
        [(found, _)] = world.port.pbxs._all.values()
        assert isinstance(found, PeerPbx)
        seen = []
        for _ in range(2):
            await found._without_options(NoAnswer("silent"))
            seen.append((world.port.registrar.bindings("t1"), found.state.since, found.state.up))
        assert seen[0] == seen[1] and len(seen[0][0]) == 1 and not seen[0][2]


async def test_a_refusal_in_another_encoding_ends_no_asking() -> None:
    """Its phrase is told to the Manager as the trunk's state."""
    async with port_world() as world, registrar() as pbx:
        pbx.answer = lambda request: said(request, 403, "Besetzt")
        pbx.on_wire = lambda data: data.replace(b"Besetzt", b"Verboten \xe9")
        follow(world, outbound(pbx.port))
        assert (await until(world, up=False)).why == "403 Verboten \ufffd"
        await recovers(world, pbx)
