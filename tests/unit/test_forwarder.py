"""What comes in a ring is handed on at once; a writer that stops is covered for, and what piled up is not kept."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from struct import pack, unpack

from hypothesis import given
from hypothesis import strategies as st
from teletrunk_worker.legs.forwarder import Forwarder
from teletrunk_worker.legs.ring import Ring, RingPair

RATE = 8000
BLOCK = 160  # 20 ms
SILENCE = bytes(2 * BLOCK)


def ring() -> Ring:
    return RingPair.create().to_telegram


def burst(number: int) -> bytes:
    """Twenty milliseconds that tell which they are."""
    return pack(f"<{BLOCK}h", *([number + 1] * BLOCK))


def follow(writes: Sequence[float], seconds: float) -> tuple[list[tuple[float, bytes]], Forwarder, Ring]:
    """What was sent, and when, by somebody who asks when told to; `writes` are the times of bursts."""
    shared = ring()
    forwarder = Forwarder(shared, RATE, BLOCK)
    waiting = list(enumerate(writes))
    sent, now = [], 0.0
    while now < seconds:
        while waiting and waiting[0][1] <= now:
            number, at = waiting.pop(0)
            assert shared.write(burst(number), at)
        while (block := forwarder.next_block(now)) is not None:
            sent.append((now, block))
        now = max(now + 0.004, forwarder.due(now))
    return sent, forwarder, shared


def test_a_burst_is_sent_within_a_millisecond_of_its_writing() -> None:
    writes = [1.0 + number * 0.02 for number in range(500)]
    sent, forwarder, _ = follow(writes, 11.0)
    heard = [(at, block) for at, block in sent if at > 1.05]
    assert [block for _, block in heard] == [burst(number) for number in range(500 - len(heard), 500)]
    assert max(at - writes[unpack("<h", block[:2])[0] - 1] for at, block in heard) < 0.001
    assert forwarder.late == 0


def test_a_burst_that_is_fifty_milliseconds_late_is_sent_when_it_comes_and_nothing_is_lost() -> None:
    writes = [number * 0.02 + (0.05 if number == 200 else 0.0) for number in range(400)]
    writes[201:203] = [writes[200]] * 2  # its followers come with it
    sent, forwarder, _ = follow(writes, 8.0)
    heard = [block for at, block in sent if at > 1.0]
    assert heard == [burst(number) for number in range(400 - len(heard), 400)]
    assert forwarder.late == 0


def test_a_writer_that_stops_is_covered_for_by_silence_in_its_time() -> None:
    writes = [number * 0.02 for number in range(50)] + [3.0 + number * 0.02 for number in range(50)]
    sent, forwarder, _ = follow(writes, 3.99)
    silent = [at for at, block in sent if block == SILENCE and 1.0 < at < 3.0]
    assert abs(len(silent) - (3.0 - 1.1) / 0.02) <= 2  # as much as is missing
    assert max(b - a for a, b in itertools.pairwise(silent)) < 0.03
    assert forwarder.late == 1
    assert sent[-1][1] == burst(99)


def test_what_piled_up_behind_silence_is_not_sent() -> None:
    """A writer that was stopped for a second brings it all at once: its time has been filled already."""
    writes = [number * 0.02 for number in range(50)] + [2.0] * 50 + [2.0 + number * 0.02 for number in range(1, 50)]
    sent, _, shared = follow(writes, 2.99)
    assert abs(len(sent) - 2.99 / 0.02) <= 4  # no more than time has passed
    assert shared.available < BLOCK


def test_an_end_that_was_stopped_itself_catches_up_with_sixty_milliseconds_at_most() -> None:
    shared = ring()
    forwarder = Forwarder(shared, RATE, BLOCK)
    for number in range(2):
        shared.write(burst(number), 0.02 * number)
        assert forwarder.next_block(0.02 * number)
    for number in range(2, 32):
        shared.write(burst(number), 0.02 * number)
    sent = []
    while block := forwarder.next_block(0.64):
        sent.append(block)
    assert len(sent) == 1  # crossfaded to the newest
    assert unpack("<160h", sent[0])[-1] == 31 or sent[0] == burst(31)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 90)), max_size=120))
def test_whatever_the_writer_does_as_much_is_sent_as_time_has_passed(happenings: list[tuple[int, int]]) -> None:
    shared = ring()
    forwarder = Forwarder(shared, RATE, BLOCK)
    sent = written = 0
    now = began = 100.0
    for bursts, ms in happenings:
        for _ in range(bursts):
            written += shared.write(burst(written), now)
        while (block := forwarder.next_block(now)) is not None:
            assert len(block) == 2 * BLOCK
            sent += 1
        assert shared.available < BLOCK
        now += ms / 1000
    assert sent <= written + (now - began) / 0.02 + 2
