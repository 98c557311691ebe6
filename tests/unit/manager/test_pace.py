"""How often something may be said."""

from __future__ import annotations

from teletrunk_manager.domain.pace import Pace


def test_so_much_at_once_and_so_much_in_time_for_each_name() -> None:
    now = [0.0]
    pace = Pace(3, 0.5, lambda: now[0])
    assert [pace.allows("a") for _ in range(5)] == [True] * 3 + [False] * 2
    assert pace.allows("b")
    now[0] = 2.0
    assert [pace.allows("a") for _ in range(2)] == [True, False]
    now[0] = 1_000.0
    assert [pace.allows("a") for _ in range(5)] == [True] * 3 + [False] * 2, "no more than at first"


def test_names_without_end_take_no_room() -> None:
    pace = Pace(1, 0.0, lambda: 0.0)
    assert pace.allows("first") and not pace.allows("first")
    for name in range(10_000):
        pace.allows(name)
    assert pace.allows("first"), "it was forgotten"


def test_what_costs_more_is_paid_for_by_those_that_come_next() -> None:
    now = [0.0]
    pace = Pace(3, 0.5, lambda: now[0])
    assert pace.allows("a", 10) and not pace.allows("a") and pace.seconds("a") == 16
    now[0] = 15.0
    assert not pace.allows("a") and pace.seconds("a") == 1
    now[0] = 16.0
    assert pace.allows("a") and pace.seconds("b") == 1
