"""A host without calls does nothing: it may be there for days, and one more is always kept ready."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from teletrunk_worker.legs.supervisor import HostPool
from teletrunk_worker.legs.wire import Message

from tests.component.worker.sip_host_world import free_rtp_ports

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


def _threads(pid: int) -> list[str]:
    return [(thread / "comm").read_text().strip() for thread in Path(f"/proc/{pid}/task").iterdir()]


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


async def test_a_sip_host_without_calls_has_no_clock_of_sound() -> None:
    pool = HostPool("sip", "teletrunk_worker.legs.sip_host", 4, 4)
    ports = free_rtp_ports(40)

    def configure(index: int, wide: bool) -> Message:
        here = {"public_address": "127.0.0.1", "media_address": "127.0.0.1", "rtp_address": "127.0.0.1"}
        sizes = {"rate": 8000, "max_calls": 4, "rtp_port": ports, "rtp_ports": 40}
        return {"command": "configure", "edge_port": 5060, "public_port": 5060, **here, **sizes}

    try:
        pid = await _pid_of_one(configure, pool)
        async with asyncio.timeout(_PATIENCE_S):
            while "clock" in _threads(pid):
                await asyncio.sleep(0.1)
    finally:
        await pool.close()
