"""Broken messages from strangers and from trunks do nothing to another trunk's calls, nor to the port.

A short form of `make fuzz`, which goes on for half an hour. TELETRUNK_FUZZ_SEED chooses what is sent.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.attack import SECONDS, SEED, TONES, attack, field_of, summary
from tests.fuzz.watch import PROMPT_S, memory

GROWTH_MB = 25.0  # transactions and answers are kept for half a minute; after that nothing may be added

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio, pytest.mark.timeout(SECONDS + 240)]


async def test_calls_of_another_trunk_stay_up_and_the_port_answers(tmp_path: Path) -> None:
    async with field_of(tmp_path, SEED) as ground:
        pinger = await attack(ground, SECONDS, SEED)
        heard = await ground.tones() if len(ground.calls) == len(TONES) else []
        left = await ground.settle()
        ground.memory.append(memory(ground.worker))
        print("\n" + summary(ground, pinger, left))
        assert not ground.journal.breaks
        for (here, there), (ours, theirs) in zip(heard, TONES, strict=True):
            assert here == pytest.approx(theirs, abs=5.0)
            assert there == pytest.approx(ours, abs=5.0)
        assert pinger.answered
        assert pinger.slowest < PROMPT_S
        assert left == len(TONES), "calls that nobody ended"
        assert ground.memory[-1]["control"] - ground.memory[0]["control"] < GROWTH_MB
        answered = {what for what in ground.journal.unanswered if what.startswith(("stranger", "INVITE", "REGISTER"))}
        assert not answered, "requests that were owed an answer"
