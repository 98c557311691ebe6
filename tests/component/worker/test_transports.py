"""UDP and TCP, IPv4 and IPv6: where answers go, which connections stay, and what keep-alives get."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket

import pytest
from sipmessage import Request
from teletrunk.errors import Refusal
from teletrunk_worker.policy.bans import Bans
from teletrunk_worker.sip.transport import sockets, tcp

from tests import sip_wire

from .port_world import PortWorld, authenticated, is_invite, port_world, ready


async def test_without_rport_the_answer_goes_to_the_vias_port(world: PortWorld) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket(type=socket.SOCK_DGRAM) as sender, socket.socket(type=socket.SOCK_DGRAM) as named:
        for own in (sender, named):
            own.setblocking(False)
            own.bind(("127.0.0.1", 0))
        for rport, hears in (("", named), (";rport", sender), (";rport=5", sender)):
            via = f"SIP/2.0/UDP pbx.example:{named.getsockname()[1]};branch=z9hG4bK{len(rport)}{rport}"
            request = (
                f"OPTIONS sip:x SIP/2.0\r\nVia: {via}\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\n"
                f"Call-ID: 1\r\nCSeq: 1 OPTIONS\r\nSubject: {'x' * 200}\r\n\r\n"  # short ones draw short answers
            )
            await loop.sock_sendto(sender, request.encode(), world.address)
            answer = await asyncio.wait_for(loop.sock_recv(hears, 65_536), 5)
            assert answer.startswith(b"SIP/2.0 200") and b";received=127.0.0.1" in answer
            assert (b";rport=%d;" % sender.getsockname()[1] in answer) == bool(rport)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_call_over_ipv6(transport: str) -> None:
    async with port_world("::1") as world, opened(transport, *world.address) as wire:
        await world.registered(wire)
        invite = await ready(wire, "INVITE")
        asking = asyncio.ensure_future(wire.ask(invite))
        heard = await world.host.next()
        assert f"<sip:[::1]:{world.port.port}" in heard.headers.getlist("Record-Route")[1]
        world.host.send(sip_wire.response_to(heard, 200, "OK", wire, b"v=0\r\n"))  # type: ignore[arg-type]
        answered = (await asking).final
        assert answered.code == 200
        wire.send(bytes(wire.in_dialog("BYE", invite, answered)))
        bye = await world.host.next()
        assert isinstance(bye, Request) and bye.method == "BYE"


async def test_any_port_is_one_that_is_free_for_udp_and_tcp(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel gives TCP one that another's UDP has."""
    others: list[socket.socket] = []
    bound = sockets.bound

    async def with_others(host: str, port: int, kind: socket.SocketKind) -> socket.socket:
        made = await bound(host, port, kind)
        if kind == socket.SOCK_STREAM and len(others) < 3:
            others.append(await bound(host, made.getsockname()[1], socket.SOCK_DGRAM))
        return made

    monkeypatch.setattr(sockets, "bound", with_others)
    own = await sockets.bound_for_both("127.0.0.1", 0)
    assert own[0].getsockname() == own[1].getsockname()
    taken = others[0].getsockname()[1]
    with pytest.raises(OSError, match="in use"):
        await sockets.bound_for_both("127.0.0.1", taken)
    for each in (*own, *others):
        each.close()


Opened = contextlib.AbstractAsyncContextManager[sip_wire.SipWire]


def opened(transport: str, host: str, port: int) -> Opened:
    return sip_wire.udp((host, port), host) if transport == "udp" else sip_wire.tcp((host, port))


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_one_port_at_both_families_is_known_to_each_peer_by_its_own(transport: str) -> None:
    async with port_world("::", public=("192.0.2.10", "2001:db8::10")) as world:
        for host, face in (("127.0.0.1", "192.0.2.10"), ("::1", "[2001:db8::10]")):
            async with opened(transport, host, world.port.port) as wire:
                binding = await world.registered(wire)
                assert binding.flow.peer[0] == host
                assert world.port.admission.known.is_home("office", host)
                asking = asyncio.ensure_future(wire.ask(await ready(wire, "INVITE")))
                heard = await world.host.next(is_invite)
                assert heard.headers.getlist("Record-Route")[1].startswith(f"<sip:{face}:{world.port.port}")
                world.host.send(sip_wire.response_to(heard, 486, "Busy Here", wire))  # type: ignore[arg-type]
                assert (await asking).final.code == 486
                world.host.send(world.host.invite(binding, f"to{host}"))
                rung = await wire.next_request("INVITE")
                assert f"SIP/2.0/{transport.upper()} {face}:{world.port.port};" in rung.headers["Via"]
                assert f"<sip:{face}:{world.port.port}" in rung.headers["Record-Route"]
                wire.answer(rung, 486, "Busy Here")


async def test_bans_and_trust_know_an_ipv4_peer_by_its_address_wherever_it_is_seen() -> None:
    never = ipaddress.ip_network("127.0.0.52/32")
    async with port_world("::", bans=Bans((never,))) as world:
        port = world.port.port
        world.door.failure = Refusal("wrong-password")
        for host in ("127.0.0.51", "127.0.0.52"):
            async with sip_wire.udp(("127.0.0.1", port), host) as wire:
                for _ in range(6):
                    await wire.register("office", "guess")
        assert world.port.admission.bans.banned().keys() == {"127.0.0.51"}
        async with sip_wire.udp(("127.0.0.1", port), "127.0.0.51") as wire:
            assert "banned" in (await wire.register("office", "x")).final.phrase
        assert not world.port.admission.bans.seconds_left("::1"), "all IPv4 addresses are no network of IPv6"


async def open_silent(world: PortWorld) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(*world.address)


async def is_closed(reader: asyncio.StreamReader) -> bool:
    with contextlib.suppress(ConnectionError):
        return await asyncio.wait_for(reader.read(1), 5) == b""
    return True


async def test_a_stranger_keeps_no_connection(world: PortWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "UNPROVEN_S", 1.0)
    async with sip_wire.tcp(world.address) as phone:
        await world.registered(phone)
        silent, writer = await open_silent(world)
        talking, voice = await open_silent(world)
        talk = asyncio.ensure_future(_keep_alive(voice))
        assert await is_closed(silent)
        async with asyncio.timeout(5):
            while await talking.read(4) == b"\r\n":
                pass
        talk.cancel()
        writer.close()
        voice.close()
        assert (await authenticated(phone, "REGISTER")).final.code == 200, "who has a password stays"


async def _keep_alive(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while True:
            writer.write(b"\r\n\r\n")
            await writer.drain()
            await asyncio.sleep(0.05)


async def test_connections_of_strangers_do_not_keep_others_out(
    world: PortWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "MOST_CONNECTIONS", 20)
    async with sip_wire.tcp(world.address) as phone:
        await world.registered(phone)
        held = [await open_silent(world) for _ in range(40)]
        async with sip_wire.tcp(("127.0.0.1", world.address[1])) as late:
            late.send(bytes(late.request("OPTIONS", "", "x")))
        others = [reader for reader, _ in held if not reader.at_eof()]
        assert len(others) <= 40
        assert (await authenticated(phone, "REGISTER")).final.code == 200
        for _, writer in held:
            writer.close()


async def test_one_password_holds_no_more_places_than_one_pbx_needs(
    world: PortWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "MOST_A_LOGIN", 3)
    async with contextlib.AsyncExitStack() as stack:
        other = await stack.enter_async_context(sip_wire.tcp(world.address))
        await world.registered(other, "other")
        tokens = []
        for _ in range(3):
            phone = await stack.enter_async_context(sip_wire.tcp(world.address))
            tokens.append((await world.registered(phone)).flow.token)
            if len(tokens) == 1:
                first = phone
        assert (await authenticated(first, "REGISTER")).final.code == 200, "the second is silent for longest now"
        phone = await stack.enter_async_context(sip_wire.tcp(world.address))
        tokens.append((await world.registered(phone)).flow.token)
        async with asyncio.timeout(5):
            while world.port.flow_of(tokens[1]) is not None:
                await asyncio.sleep(0.01)
        assert all(world.port.flow_of(token) is not None for token in (tokens[0], *tokens[2:]))
        assert (await authenticated(first, "REGISTER")).final.code == 200
        assert (await other.register("other", "x")).final.code == 200


async def test_a_message_over_tcp_that_is_too_long_is_told_so(world: PortWorld) -> None:
    reader, writer = await open_silent(world)
    writer.write(
        b"OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\n"
        b"Call-ID: 1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 70000\r\n\r\n"
    )
    assert (await asyncio.wait_for(reader.read(4_096), 5)).startswith(b"SIP/2.0 513")
    assert await is_closed(reader)
    writer.close()


@pytest.mark.parametrize(
    "length",
    [
        "Content-Length:\r\n 4",
        "l:\r\n\t4",
        "Content-Length : 4",
        "Subject: on\r\n Content-Length: 400\r\nContent-Length: 4",
        "Content-Length: 4\r\nSubject: on\r\n\tl: 0",
    ],
)
async def test_a_message_ends_where_its_length_says_in_however_many_lines(world: PortWorld, length: str) -> None:
    """What goes on with another header in a line of its own is none."""
    reader, writer = await asyncio.open_connection(*world.address)
    for number in (1, 2):
        here = writer.get_extra_info("sockname")[1]
        writer.write(
            f"OPTIONS sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:{here};branch=z9hG4bK{number}\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:1@x>;tag=1\r\nTo: <sip:2@x>\r\nCall-ID: {number}\r\n"
            f"CSeq: {number} OPTIONS\r\n{length}\r\n\r\nbody".encode()
        )
    for number in (1, 2):
        async with asyncio.timeout(sip_wire.PATIENCE_S):
            answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"SIP/2.0 200 ") and f"CSeq: {number} OPTIONS\r\n".encode() in answer
    writer.close()
