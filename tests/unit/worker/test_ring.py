"""The memory of a call's sound, which two hosts hold."""

from __future__ import annotations

import math
import os
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from teletrunk_worker.legs.forwarder import Forwarder
from teletrunk_worker.legs.playout import Playout
from teletrunk_worker.legs.ring import Ring, RingPair


@pytest.mark.parametrize("size", [0, 1 << 20])
def test_who_holds_a_ring_changes_nothing_of_its_size(size: int) -> None:
    """The other one, which has it mapped, would be killed."""
    rings = RingPair.create()
    with pytest.raises(PermissionError):
        os.ftruncate(rings.descriptor, size)
    rings.close()


def test_a_worker_of_the_version_before_made_the_rings_without_times() -> None:
    """It starts hosts of this version while an upgrade goes on: each mapped more than there was, and ended."""
    descriptor = os.memfd_create("before")
    os.ftruncate(descriptor, 2 * (128 + 16_384 * 2))
    ring, other = RingPair(descriptor).to_sip, RingPair(os.dup(descriptor)).to_sip
    playout = Playout(ring, 8000, 160, 80)
    most = 0
    for tick in range(60 * 50):  # a minute, of clocks 200 ppm apart
        for half in (0.0, 0.01):
            other.write(bytes(160), (tick * 0.02 + half) * 1.0002)
        playout.next_block(tick * 0.02 + 0.015)
        most = max(most, ring.available if tick > 50 else 0)
    assert playout.late <= 1 and most < 8 * 40
    assert ring.waited(80, 60.0) is None


_WORDS = st.one_of(
    st.binary(min_size=8, max_size=8),
    st.integers(0, 40_000).map(lambda position: struct.pack("<Q", position)),
    st.sampled_from([-1.0, 0.0, 99.9, 1e300, math.inf, -math.inf, math.nan]).map(lambda time: struct.pack("<d", time)),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(_WORDS, _WORDS, _WORDS, _WORDS), min_size=1, max_size=30))
def test_whatever_the_other_host_writes_there_is_a_block_each_time(scribbles: list[tuple[bytes, ...]]) -> None:
    """It may have been taken over: what it says of positions and times is nobody's end."""
    memory = memoryview(bytearray(2 * 40_000))
    times = memoryview(bytearray(256 * 8))
    rings = Ring(memory[:40_000], times), Ring(memory[40_000:], times)
    playout, forwarder = Playout(rings[0], 8000, 160, 80), Forwarder(rings[1], 8000, 160)
    now = 100.0
    for written, stamp, read, came in scribbles:
        for base in (0, 40_000):
            memory[base : base + 16] = written + stamp
            memory[base + 64 : base + 72] = read
        times[:] = came * 256
        for _ in range(30):
            now += 0.02
            for ring in rings:
                ring.write(bytes(320), now)
            assert len(playout.next_block(now)) == 320
            assert len(forwarder.next_block(now) or bytes(320)) == 320
            assert abs(forwarder.due(now) - now) <= 60.1
