"""A host without calls does nothing: it may be there for days, and one more is always kept ready."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from teletrunk_worker.legs.supervisor import HostPool
from teletrunk_worker.legs.wire import Message

from tests.component.worker.sip_host_world import RtpSocket, sip_host_world

_LOOK_S = 2.0
_PATIENCE_S = 20.0


def _waked(pid: int) -> dict[str, int]:
    """How often each thread has gone to sleep so far."""
    found = {}
    for thread in Path(f"/proc/{pid}/task").iterdir():
        fields = dict(line.split(":\t", 1) for line in (thread / "status").read_text().splitlines() if ":\t" in line)
        found[thread.name] = int(fields["voluntary_ctxt_switches"])
    return found


async def _waked_in(seconds: float, pid: int) -> int:
    before = sum(_waked(pid).values())
    await asyncio.sleep(seconds)
    return sum(_waked(pid).values()) - before


async def _main_thread_waked_in(seconds: float, pid: int) -> int:
    before = _waked(pid)[str(pid)]
    await asyncio.sleep(seconds)
    return _waked(pid)[str(pid)] - before


async def _pid_of_one(configure: Callable[[int, bool], Message | None], pool: HostPool) -> int:
    await pool.start(configure)
    host = await pool.place("a call", lambda message: None)
    pool.release(host, "a call")
    return host.process.pid


async def test_a_telegram_host_without_calls_sleeps() -> None:
    pool = HostPool("telegram", "teletrunk_worker.legs.telegram_host", 20, 20)
    try:
        pid = await _pid_of_one(lambda index, wide: None, pool)
        async with asyncio.timeout(_PATIENCE_S):
            while await _waked_in(_LOOK_S, pid) > 10 * _LOOK_S:  # at first what the start has left over
                pass
    finally:
        await pool.close()


async def test_a_sip_host_whose_calls_have_ended_sleeps() -> None:
    """pjmedia's own thread looks for RTP a hundred times a second, always."""
    async with sip_host_world() as world:
        peer = RtpSocket("127.0.0.1")
        await world.call(("127.0.0.1", peer.port), "127.0.0.1")
        assert await _main_thread_waked_in(_LOOK_S, world.process.pid) > 40 * _LOOK_S, (
            "sound is moved fifty times a second"
        )
        await world.hang_up()
        async with asyncio.timeout(_PATIENCE_S):
            while await _main_thread_waked_in(_LOOK_S, world.process.pid) > 10 * _LOOK_S:
                pass
        peer.close()
