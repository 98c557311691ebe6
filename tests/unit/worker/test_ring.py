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
    rings = Ring(memory[:40_000]), Ring(memory[40_000:])
    playout, forwarder = Playout(rings[0], 8000, 160, 80), Forwarder(rings[1], 8000, 160)
    now = 100.0
    for written, stamp, read, came in scribbles:
        for base in (0, 40_000):
            memory[base : base + 16] = written + stamp
            memory[base + 64 : base + 72] = read
            memory[base + 128 : base + 128 + 256 * 8] = came * 256
        for _ in range(30):
            now += 0.02
            for ring in rings:
                ring.write(bytes(320), now)
            assert len(playout.next_block(now)) == 320
            assert len(forwarder.next_block(now) or bytes(320)) == 320
            assert abs(forwarder.due(now) - now) <= 60.1
