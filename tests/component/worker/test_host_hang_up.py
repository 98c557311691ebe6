"""pjsua closes a call's sockets when it is hung up: no thread of the host may be about to send to them."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from .host_process import PATIENCE_S
from .sip_host_world import RtpSocket, SipHostWorld, sip_host_world

_SLOW_SEND = Path(__file__).with_name("slow_send.c")
_CALLS = 20


@pytest.fixture
def slow_send(tmp_path: Path) -> Path:
    """A library that makes every packet of sound wait before it is sent, as a busy machine does now and then."""
    if not shutil.which("cc"):
        reason = "cc is not installed: apt-get install gcc libc6-dev"
        pytest.fail(reason) if "TELETRUNK_CI" in os.environ else pytest.skip(reason)
    library = tmp_path / "slow_send.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, _SLOW_SEND], check=True, timeout=60)
    return library


async def _sound(peer: RtpSocket) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not peer.received():
            await asyncio.sleep(0.005)


async def _calls(world: SipHostWorld, *, peer_hangs_up: bool) -> None:
    peer = RtpSocket("127.0.0.1")
    for number in range(_CALLS):
        await world.call(("127.0.0.1", peer.port), "127.0.0.1", dialog=f"c{number}")
        await _sound(peer)
        await asyncio.sleep(random.uniform(0, 0.02))  # at any moment between two packets
        await (world.is_hung_up() if peer_hangs_up else world.hang_up())
    peer.close()
    assert world.process.returncode is None


@pytest.mark.parametrize("peer_hangs_up", [False, True], ids=["ours", "the peer's"])
async def test_a_call_may_be_hung_up_while_its_sound_is_sent(slow_send: Path, peer_hangs_up: bool) -> None:
    async with sip_host_world(LD_PRELOAD=str(slow_send)) as world:
        await _calls(world, peer_hangs_up=peer_hangs_up)
