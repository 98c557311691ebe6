"""Reason headers: one value a protocol."""

from __future__ import annotations

import pytest
from teletrunk.errors import TABLE, Refusal
from teletrunk_worker.call import effects as do
from teletrunk_worker.call.reasons import headers_of

ENDS = [
    do.EndSip("a", 200, "Telegram user hung up"),
    do.EndSip("a", 486, "Busy Here"),
    do.EndSip("a", 487, "No answer"),
    do.EndSip("a", 487, elsewhere=True),
    do.EndSip("a", 480, elsewhere=True, phrase="x"),
    *(do.EndSip("a", refusal=Refusal(row_id)) for row_id in TABLE),
]


@pytest.mark.parametrize("end", ENDS, ids=str)
def test_each_protocol_says_one_thing(end: do.EndSip) -> None:
    protocols = [value.partition(";")[0] for name, value in headers_of(end) if name == "Reason"]
    assert protocols in (["SIP"], ["SIP", "Q.850"])


def test_what_they_say() -> None:
    hung_up, busy, *_ = ENDS
    assert headers_of(hung_up) == [
        ("Reason", 'SIP;cause=200;text="Telegram user hung up"'),
        ("Reason", "Q.850;cause=16"),
    ]
    assert headers_of(busy)[1] == ("Reason", "Q.850;cause=17")
    assert headers_of(do.EndSip("a", 487, elsewhere=True)) == [
        ("Reason", 'SIP;cause=200;text="Call completed elsewhere"'),
        ("Reason", "Q.850;cause=26"),
    ]
    assert headers_of(do.EndSip("a")) == []


def test_a_phrase_breaks_no_header() -> None:
    ((_, value), _) = headers_of(do.EndSip("a", 486, 'Bu"sy\r\nX: y\\'))
    assert value == 'SIP;cause=486;text="Bu\'syX: y"'
