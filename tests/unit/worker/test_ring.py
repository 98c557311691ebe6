"""The memory of a call's sound, which two hosts hold."""

from __future__ import annotations

import os

import pytest
from teletrunk_worker.legs.ring import RingPair


@pytest.mark.parametrize("size", [0, 1 << 20])
def test_who_holds_a_ring_changes_nothing_of_its_size(size: int) -> None:
    """The other one, which has it mapped, would be killed."""
    rings = RingPair.create()
    with pytest.raises(PermissionError):
        os.ftruncate(rings.descriptor, size)
    rings.close()
