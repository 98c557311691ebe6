"""Keys by RFC 4733: each press once, whatever happens to its packets and however a device stamps them."""

from __future__ import annotations

import pytest
from teletrunk_worker.legs.digits import Digits, Press


def presses(*said: tuple[str, int, int, str]) -> list[Press]:
    return [Press(digit, begun, lasts, bool(over)) for digit, begun, lasts, over in said]


@pytest.mark.parametrize(
    ("packets", "heard"),
    [
        (presses(("5", 100, 20, ""), ("5", 100, 40, ""), ("5", 100, 60, "end"), ("5", 100, 60, "end")), "5"),
        (presses(("5", 100, 60, "end"), ("5", 300, 60, "end")), "55"),  # their beginnings are lost
        (presses(("5", 100, 20, ""), ("5", 100, 60, ""), ("5", 300, 20, ""), ("5", 300, 60, "")), "55"),  # their ends
        (presses(("5", 100, 60, ""), ("5", 300, 80, "end")), "55"),  # an end and the next beginning
        (presses(("5", 100, 60, ""), ("6", 110, 20, "")), "56"),
        # Each packet has another timestamp, or the last three have.
        (presses(("5", 120, 20, ""), ("5", 140, 40, ""), ("5", 160, 60, ""), ("5", 180, 80, "end")), "5"),
        (presses(("5", 100, 20, ""), ("5", 100, 100, ""), ("5", 220, 120, "end"), ("5", 220, 120, "end")), "5"),
        # Long ones, in parts: at 8 kHz, at 48 kHz.
        (presses(("5", 100, 20, ""), ("5", 100, 8191, ""), ("5", 8291, 20, ""), ("5", 8291, 900, "end")), "5"),
        (presses(("5", 0, 1365, ""), ("5", 1365, 1365, ""), ("5", 2730, 20, ""), ("5", 2730, 99, "end")), "5"),
        (presses(("5", 100, 60, "end"), ("5", 160, 20, ""), ("5", 160, 60, "end")), "55"),  # it was over
        # A packet that comes late, and one timestamp for all that is dialled.
        (presses(("5", 100, 60, "end"), ("6", 300, 20, ""), ("5", 100, 40, ""), ("6", 300, 60, "end")), "56"),
        (presses(("1", 100, 20, ""), ("1", 100, 60, "end"), ("2", 100, 20, ""), ("2", 100, 60, "end")), "12"),
    ],
)
def test_each_press_is_heard_once(packets: list[Press], heard: str) -> None:
    digits = Digits()
    for packet in packets:
        digits.heard_packet(packet)
    assert "".join(digits.taken()) == heard and digits.method == "rfc4733"


def test_of_a_trunk_by_info_none_is_heard() -> None:
    digits = Digits()
    digits.only_by("info")
    digits.heard_packet(Press("5", 100, 60, over=True))
    digits.heard("info", "6")
    assert digits.taken() == ["6"]
