"""PBXs at link-local IPv6 addresses (RFC 4007): they are answered, and rung, by the interface that they came in by."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import uvloop
from teletrunk_worker.sip.transport.flow import peer_of
from teletrunk_worker.sip.transport.locate import Place

from .port_world import PATIENCE_S, port_world

US, THEM = "fe80::5:1", "fe80::5:2"
# In a network namespace of its own: asks, and says what comes, until its input ends.
NEIGHBOUR = """
import socket, sys
interface, host, port = sys.argv[1:]
own = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
own.bind(("::", 5062))
lines = ["OPTIONS sip:b SIP/2.0", "Via: SIP/2.0/UDP [fe80::5:2]:5062;rport;branch=z9hG4bKa", "From: <sip:a@b>;tag=1",
         "To: <sip:b>", "Call-ID: 1", "CSeq: 1 OPTIONS", "Content-Length: 0", "", ""]
own.sendto("\\r\\n".join(lines).encode(), (host, int(port), 0, socket.if_nametoindex(interface)))
while True:
    print(repr(own.recv(65_536)), flush=True)
"""


@pytest.fixture
def neighbour() -> Iterator[tuple[str, str]]:
    """A namespace and its interface, whose other end is here."""
    name = f"tt{secrets.token_hex(3)}"
    here, there = f"{name}a", f"{name}b"

    def ip(*arguments: str) -> bool:
        return subprocess.run(["ip", *arguments], check=False, capture_output=True).returncode == 0

    if os.geteuid() or shutil.which("ip") is None or not ip("netns", "add", name):
        pytest.skip("no right to make a network namespace")
    try:
        assert ip("link", "add", here, "type", "veth", "peer", "name", there)
        assert ip("link", "set", there, "netns", name)
        for interface, address, inside in ((here, US, ()), (there, THEM, ("-n", name))):
            assert ip(*inside, "address", "add", f"{address}/64", "dev", interface, "nodad")
            assert ip(*inside, "link", "set", interface, "up")
        yield name, there
    finally:
        ip("link", "delete", here)
        ip("netns", "delete", name)


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        (("192.0.2.1", 5060), ("192.0.2.1", 5060)),
        (("::ffff:192.0.2.1", 5060, 0, 0), ("192.0.2.1", 5060)),
        (("2001:db8::1", 5060, 0, 0), ("2001:db8::1", 5060)),
        (("fe80::1%eth0", 5060, 0, 3), ("fe80::1%3", 5060)),  # asyncio's loop
        (("fe80::1", 5060, 0, 3), ("fe80::1%3", 5060)),  # uvloop's
    ],
)
def test_a_peer_has_one_name_whichever_loop_says_it(address: Any, peer: tuple[str, int]) -> None:
    assert peer_of(address) == peer


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_who_comes_from_a_link_local_address_is_answered(run: Any, neighbour: tuple[str, str]) -> None:
    run(_answered(*neighbour))


async def _answered(namespace: str, interface: str) -> None:
    async with port_world("::", (US,)) as world:
        command = ["ip", "netns", "exec", namespace, sys.executable, "-c", NEIGHBOUR, interface, US]
        pbx = await asyncio.create_subprocess_exec(*command, str(world.port.port), stdout=subprocess.PIPE)
        assert pbx.stdout is not None
        try:
            answer = await asyncio.wait_for(pbx.stdout.readline(), PATIENCE_S)
            assert answer.startswith(b"b'SIP/2.0 200") and f"received={THEM}\\r".encode() in answer
            zone = socket.if_nametoindex(interface[:-1] + "a")
            flow = world.port.flow_of(f"u-{THEM.replace(':', '_')}%{zone}-5062")
            assert flow is not None and flow.ping(), "a host's answer goes by the flow that its Via names"
            assert await asyncio.wait_for(pbx.stdout.readline(), PATIENCE_S) == b"b'\\r\\n\\r\\n'\n"
        finally:
            pbx.kill()
            await pbx.wait()


async def test_without_an_interface_it_is_said_why_nobody_is_reached() -> None:
    async with port_world("::") as world:
        for transport in ("UDP", "TCP"):
            with pytest.raises(OSError, match="fe80::1 is link-local and names no interface"):
                await world.port.flow_to(Place(transport, ("fe80::1", 5060), "fe80::1"), any_certificate=False)
