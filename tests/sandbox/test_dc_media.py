"""The media reflector: its own protocol, and a real call through it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from teletrunk_sandbox.control import SandboxControl

from tests.sandbox.dc_world import DEADLINE, Dc

HELLO = b"\xff" * 12 + b"\xfe\xff\xff\xff" + (123).to_bytes(8, "little")


class Peer(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.got: asyncio.Queue[bytes] = asyncio.Queue()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.got.put_nowait(data)

    async def ask(self, data: bytes) -> bytes:
        self.transport.sendto(data)
        return await asyncio.wait_for(self.got.get(), DEADLINE)


async def peer_of(dc: Dc) -> Peer:
    address = ("127.0.0.1", dc.ready["reflector_port"])
    return (await asyncio.get_running_loop().create_datagram_endpoint(Peer, remote_addr=address))[1]


async def test_reflector_forwards_within_a_call(dc: Dc, control: SandboxControl) -> None:
    call, anna, bob = os.urandom(12), os.urandom(4), os.urandom(4)
    one, other = await peer_of(dc), await peer_of(dc)
    for side, tag in ((one, anna), (other, bob)):
        answer = await side.ask(call + tag + HELLO)
        assert answer[:16] == call + tag
    data = call + bob + anna + (4).to_bytes(4, "big") + b"data"
    before = await control.reflector_counts()
    one.transport.sendto(data)
    assert await asyncio.wait_for(other.got.get(), DEADLINE) == data

    one.transport.sendto(os.urandom(12) + data[12:])  # nobody of that call
    await control.reflector(on=False)
    one.transport.sendto(data)
    await control.reflector(on=True)
    assert await one.ask(call + anna + HELLO)  # all that was sent before has been handled
    after = await control.reflector_counts()
    assert after["forwarded"] >= before["forwarded"] + 1
    assert after["dropped"] > before["dropped"]
    one.transport.close()
    other.transport.close()


async def test_tone_is_heard(dc: Dc, control: SandboxControl) -> None:
    pytest.importorskip("ntgcalls")
    ready, before = dc.ready, await control.reflector_counts()
    arguments = [ready["control_port"], ready["host"], ready["port"], ready["rsa_key_file"]]
    root = Path(__file__).parents[2]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.sandbox.dc_tone_call",
        *map(str, arguments),
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root / "sandbox")},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 40)
    assert process.returncode == 0
    annas, bobs = json.loads(output.splitlines()[-1])
    assert bobs["frequency"] == pytest.approx(440, abs=1)
    assert annas["frequency"] == pytest.approx(660, abs=1)
    assert min(annas["rms"], bobs["rms"]) > 4000
    assert (await control.reflector_counts())["forwarded"] > before["forwarded"] + 50
