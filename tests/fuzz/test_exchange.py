"""Whatever a PBX answers, to whatever it is asked, no SIP host dies, no other call ends, and nothing is kept.

A short form of `make fuzz`, which goes on for long. TELETRUNK_FUZZ_SEED chooses what is said.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.exchange import GOOD_CALLS, SECONDS, SEED, attack, exchange, summary

GROWTH_MB = 40.0  # transactions and dialogs are kept for half a minute

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio, pytest.mark.timeout(SECONDS + 240)]


async def test_whatever_is_answered_ends_no_host_and_no_other_call(tmp_path: Path) -> None:
    async with exchange(tmp_path, SEED) as ground:
        pinger = await attack(ground, SECONDS, SEED)
        left = await ground.settle()
        ground.measure()
        print("\n" + summary(ground, pinger, left))
        assert not ground.journal.breaks
        assert left == ground.good.up == GOOD_CALLS, "calls that nobody ended"
        assert pinger.answered
        assert ground.telegram.records, "no call has ended"
        assert ground.memory[-1]["control"] - ground.memory[0]["control"] < GROWTH_MB
