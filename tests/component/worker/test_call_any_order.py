"""The runner of a call, with ports that do as they like, in simulated time: whatever happens, nothing is left behind.

TELETRUNK_CALL_EXAMPLES sets how many lives are tried each way; `make chaos` tries ten thousand.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from teletrunk_worker.call import events as on

from tests.simulated_time import simulated

from .call_world import CallWorld
from .tape import TAPES, Tape

EXAMPLES = int(os.environ.get("TELETRUNK_CALL_EXAMPLES", "500"))
_many = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
pytestmark = pytest.mark.usefixtures("our_mistakes")


@_many
@given(TAPES, st.sampled_from([0, 30]))
def test_a_call_from_a_pbx_leaves_nothing_behind(tape: bytes, longest_s: int) -> None:
    simulated(CallWorld(Tape(tape)).live(on.Admitted(longest_s)))


@_many
@given(TAPES)
def test_a_call_from_telegram_leaves_nothing_behind(tape: bytes) -> None:
    simulated(CallWorld(Tape(tape)).live(on.Taken()))
