"""A Worker behind NAT: PBXs outside know it by its public address, those beside it by its own one, whatever is said."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from sipmessage import Message, Request, Response
from teletrunk.own_address import own_address
from teletrunk_worker.sip.transport.tls import Certificates, TlsFiles

from tests import sip_wire
from tests.papers import Papers

from .port_world import PATIENCE_S, PortWorld, is_invite, port_world, ready
from .test_pbxs import follow, outbound, peer, registrar, until
from .test_sip_tls import trusting

PUBLIC = "203.0.113.7"
BESIDE = ipaddress.ip_network("127.0.0.0/29")
PBXS = [("udp", "127.0.0.1", "127.0.0.1"), ("tcp", "127.0.0.1", "127.0.0.1"), ("udp", "127.0.0.9", PUBLIC)]
SOUND = (
    "v=0\r\no=- 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\na=rtcp:4001 IN IP4 {0}\r\n"
)


@contextlib.asynccontextmanager
async def behind_nat(transport: str, host: str) -> AsyncIterator[tuple[PortWorld, sip_wire.SipWire]]:
    """And a PBX that comes from `host`."""
    async with port_world(public=(PUBLIC,), local_networks=(BESIDE,)) as world:
        way = sip_wire.udp(world.address, host) if transport == "udp" else sip_wire.tcp(world.address)
        async with way as wire:
            yield world, wire


def as_hosts_say(message: Request | Response, world: PortWorld) -> Request | Response:
    """Hosts know the public address alone."""
    message.headers.set("Contact", f"<sip:{PUBLIC}:{world.port.port}>")
    message.body = SOUND.format(PUBLIC).encode()
    message.headers.set("Content-Length", str(len(message.body)))
    message.headers.set("Content-Type", "application/sdp")
    return message


def named_in(message: Message, port: int) -> set[str]:
    """By which of its addresses this Worker is named in what a PBX is sent."""
    headers = [value for name in ("Contact", "Record-Route") for value in message.headers.getlist(name)]
    if isinstance(message, Request):
        headers.append(message.headers.getlist("Via")[0])
    of_sip = {match[1] for value in headers if (match := re.search(rf"([0-9.]+):{port}\b", value))}
    assert len([value for value in headers if f":{port}" in value]) > 1
    return of_sip | set(re.findall(r"^(?:c=|a=rtcp:\d+ )IN IP4 (\S+)\r?$", message.body.decode(), re.MULTILINE))


@pytest.mark.parametrize(("transport", "host", "told"), PBXS)
async def test_a_pbx_that_calls_is_told_the_address_that_it_reaches(transport: str, host: str, told: str) -> None:
    async with behind_nat(transport, host) as (world, wire):
        invite = await ready(wire, "INVITE")
        asking = asyncio.ensure_future(wire.ask(invite))
        heard = await world.host.next(is_invite)
        assert isinstance(heard, Request)
        answer = sip_wire.response_to(heard, 200, "OK", wire)
        assert isinstance(answer, Response)
        world.host.send(as_hosts_say(answer, world))
        answered = (await asking).final
        assert named_in(answered, world.port.port) == {told}
        if transport == "udp":  # RFC 3261 17.2.1: it is said again as it was
            assert bytes(await wire.repeat(invite)) == bytes(answered)
        routes = ", ".join(answered.headers.getlist("Record-Route")[::-1])
        wire.send(bytes(wire.in_dialog("BYE", invite, answered, Route=routes)))
        bye = await world.host.next(lambda message: isinstance(message, Request) and message.method == "BYE")
        assert bye.headers.getlist("Route") == [], "we are named there, and nobody else"


@pytest.mark.parametrize(("networks", "told"), [((BESIDE,), "127.0.0.1"), ((), PUBLIC)])
@pytest.mark.parametrize("scheme", ["sip", "sips"])
async def test_a_pbx_by_tls_is_told_the_same_address_all_the_call(
    networks: tuple[ipaddress.IPv4Network, ...], told: str, scheme: str, tmp_path: Path
) -> None:
    papers = Papers.made(tmp_path / "papers")
    certificates = Certificates(TlsFiles(papers.file("worker", "127.0.0.1"), None, None, papers.authority, "1.2"))
    given: dict[str, Any] = {"certificates": certificates, "tls_address": ("127.0.0.1", 0)}
    async with port_world(public=(PUBLIC,), local_networks=networks, **given) as world:
        server = "127.0.0.1", world.port.tls_port
        async with sip_wire.tcp(server, trusting(papers)) as wire:
            contact = f"<{scheme}:pbx@127.0.0.1:{wire.local[1]};transport=tls>"
            invite = await ready(wire, "INVITE", Contact=contact)
            answered = await answered_by_host(world, wire, invite)
            again = wire.in_dialog("INVITE", invite, answered, Contact=contact)
            for answer in (answered, await answered_by_host(world, wire, again)):
                assert set(re.findall(rb"IN IP4 (\S+)\r\nt=0", answer.body)) == {told.encode()}
                [ours] = answer.headers.getlist("Contact")
                assert ours == f"<{scheme}:{told}:{world.port.tls_port if scheme == 'sips' else world.port.port}>"
            world.door.transfer = lambda transfer: None  # type: ignore[method-assign]
            refer = wire.in_dialog("REFER", invite, answered, Refer_To=f"<{scheme}:201@127.0.0.1>", Contact=contact)
            accepted = (await wire.ask(refer)).final
            assert accepted.code == 202 and accepted.headers.getlist("Contact") == [ours]


async def answered_by_host(world: PortWorld, wire: sip_wire.SipWire, invite: Request) -> Response:
    asking = asyncio.ensure_future(wire.ask(invite))
    heard = await world.host.next(is_invite)
    assert isinstance(heard, Request)
    answer = sip_wire.response_to(heard, 200, "OK", wire)
    world.host.send(as_hosts_say(answer, world))
    return (await asking).final


@pytest.mark.parametrize(("transport", "host", "told"), PBXS)
async def test_a_pbx_that_is_called_is_told_the_address_that_it_reaches(transport: str, host: str, told: str) -> None:
    async with behind_nat(transport, host) as (world, wire):
        binding = await world.registered(wire)
        assert world.port.name(binding.flow) == (told, world.port.port), "of From and P-Asserted-Identity"
        world.host.send(as_hosts_say(world.host.invite(binding, "c1"), world))
        invite = await wire.next_request("INVITE")
        assert named_in(invite, world.port.port) == {told}
        answer = sip_wire.response_to(invite, 200, "OK", wire, SOUND.format(host).encode())
        wire.send(bytes(answer))
        await world.host.next(lambda message: isinstance(message, Response) and message.code == 200)
        again = world.host.invite(binding, "c1", number=2)
        again.headers.set("To", answer.headers["To"])
        again.uri = wire.request("INVITE", "", "office").uri  # the contact of an answer
        world.host.send(as_hosts_say(again, world))
        assert named_in(await wire.next_request("INVITE"), world.port.port) == {told}


@pytest.mark.parametrize(("networks", "told"), [((BESIDE,), "127.0.0.1"), ((), PUBLIC)])
async def test_a_pbx_that_we_register_at_or_ask_is_told_the_address_that_it_reaches(
    networks: tuple[ipaddress.IPv4Network, ...], told: str
) -> None:
    async with port_world(public=(PUBLIC,), local_networks=networks) as world, registrar() as pbx:
        here = f"{told}:{world.port.port}"
        follow(world, outbound(pbx.port), peer(pbx.port, "t2"))
        registers, asks = await pbx.next(), await pbx.next("OPTIONS")
        assert f"@{here}>" in registers.headers["Contact"] and f"@{here}>" in asks.headers["From"]
        for request in (registers, asks):
            assert request.headers["Via"].startswith(f"SIP/2.0/UDP {here};")
        await until(world, up=True)


async def test_a_hold_stays_one() -> None:
    async with behind_nat("udp", "127.0.0.1") as (world, wire):
        invite = as_hosts_say(world.host.invite(await world.registered(wire), "c1"), world)
        invite.body = invite.body.replace(f"c=IN IP4 {PUBLIC}".encode(), b"c=IN IP4 0.0.0.0")
        invite.headers.set("Content-Length", str(len(invite.body)))
        world.host.send(invite)
        assert b"c=IN IP4 0.0.0.0\r\n" in (await wire.next_request("INVITE")).body


# At all addresses of the machine: which one it is says the way to the PBX.

US, THEM = "10.231.7.1", "10.231.7.2"
CALLER = """
import asyncio, sys
from tests import sip_wire
async def main():
    async with sip_wire.udp((sys.argv[1], int(sys.argv[2])), sys.argv[3]) as wire:
        sys.stdout.buffer.write(bytes((await wire.invite("100", "office", "x")).final))
asyncio.run(main())
"""


@pytest.fixture
def neighbour() -> Iterator[str]:
    """A namespace with an address of its own, in a network that this machine has no other way to."""
    name = f"tt{secrets.token_hex(3)}"

    def ip(*arguments: str) -> bool:
        return subprocess.run(["ip", *arguments], check=False, capture_output=True).returncode == 0

    if os.geteuid() or shutil.which("ip") is None or not ip("netns", "add", name):
        pytest.skip("no right to make a network namespace")
    here, there = f"{name}a", f"{name}b"
    try:
        assert ip("link", "add", here, "type", "veth", "peer", "name", there)
        assert ip("link", "set", there, "netns", name)
        for interface, address, inside in ((here, US, ()), (there, THEM, ("-n", name))):
            assert ip(*inside, "address", "add", f"{address}/30", "dev", interface)
            assert ip(*inside, "link", "set", interface, "up")
        yield name
    finally:
        ip("link", "delete", here)
        ip("netns", "delete", name)


@pytest.mark.parametrize(("network", "told"), [("10.0.0.0/8", US), ("192.168.0.0/16", PUBLIC)])
async def test_the_address_is_the_one_of_the_interface_that_faces_the_pbx(
    neighbour: str, network: str, told: str
) -> None:
    networks = (ipaddress.ip_network(network),)
    async with port_world("0.0.0.0", (PUBLIC,), local_networks=networks) as world:
        command = ["ip", "netns", "exec", neighbour, sys.executable, "-c", CALLER, US, str(world.port.port), THEM]
        root = Path(__file__).parents[3]
        host = sip_wire.SipWire(world.address, ("127.0.0.1", world.host.port), "UDP")
        pbx = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, cwd=root)
        try:
            invite = Message.parse(await asyncio.wait_for(world.host.received.get(), 2 * PATIENCE_S))
            assert isinstance(invite, Request)
            answer = sip_wire.response_to(invite, 200, "OK", host)
            assert isinstance(answer, Response)
            world.host.send(as_hosts_say(answer, world))
            said, _ = await asyncio.wait_for(pbx.communicate(), PATIENCE_S)
            assert named_in(Message.parse(said), world.port.port) == {told}
        finally:
            with contextlib.suppress(ProcessLookupError):
                pbx.kill()
            await pbx.wait()


async def test_a_pbx_on_this_machine_is_told_what_others_reach_as_well() -> None:
    """It may pass a description on to its phones."""
    async with (
        port_world("0.0.0.0", (PUBLIC,), local_networks=(BESIDE,)) as world,
        sip_wire.udp(("127.0.0.1", world.port.port)) as wire,
    ):
        binding = await world.registered(wire)
        assert world.port.face(binding.flow) == (own_address("0.0.0.0"), world.port.port)
