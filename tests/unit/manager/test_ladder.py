"""The ladder of a call, as text."""

from __future__ import annotations

import re

from teletrunk.cli.ladder import ladder
from teletrunk.v1 import call_pb2


def _step(at: float, source: str, target: str, text: str) -> call_pb2.CallStep:
    return call_pb2.CallStep(at=at, source=source, target=target, text=text)


RECORD = call_pb2.CallRecord(
    call_id="c1",
    direction=call_pb2.DIRECTION_SIP_TO_TELEGRAM,
    caller="office",
    called="@bob",
    invited_at=100.0,
    ringing_at=100.5,
    answered_at=102.0,
    ended_at=112.0,
    ended_by="pbx",
    sip_status=200,
    media=call_pb2.MediaStats(codec="PCMA", rtp_received=500, rtp_jitter_ms=1.25, media_connect_ms=310),
    steps=[
        _step(100.0, "pbx", "worker", "INVITE"),
        _step(100.004, "manager", "worker", "route: account +491711234567"),
        _step(100.002, "worker", "manager", "RouteCall"),
        _step(102.0, "worker", "worker", "media up"),
        _step(100.25, "storage", "telegram", "phone.requestCall"),
    ],
)


def test_every_step_is_an_arrow_in_the_order_of_time() -> None:
    lines = ladder(RECORD)
    assert lines[0] == "call c1  SIP to Telegram  office -> @bob"
    assert re.fullmatch(r"began (1970|1969)-[\d-]+ [\d:+-]+", lines.pop(1))
    assert lines[1] == "ended by pbx  SIP 200  rang after 0.50 s, answered after 2.00 s, talked 10.0 s"
    assert lines[2] == "PCMA  RTP received 500, lost 0, jitter 1.2 ms  late blocks: 0 to Telegram, 0 to SIP"
    assert lines[3] == "Telegram's sound connected in 310 ms"
    assert lines[4:] == [
        "",
        "            PBX        Worker     Manager    Storage    Telegram",
        "       0 ms │─────────>│          │          │          │  INVITE",
        "       2 ms │          │─────────>│          │          │  RouteCall",
        "       4 ms │          │<─────────│          │          │  route: account +491711234567",
        "     250 ms │          │          │          │─────────>│  phone.requestCall",
        "    2000 ms │          ●          │          │          │  media up",
    ]


def test_a_word_of_telegram_s_is_said_to_be_its() -> None:
    """488 is not busy: it is what Telegram has a word for."""
    record = call_pb2.CallRecord(call_id="c2", ended_by="pbx", sip_status=488, telegram_reason="busy")
    assert ladder(record)[2] == "ended by pbx  SIP 488  Telegram was told busy  not answered"
    record.ended_by, record.sip_status = "telegram", 486
    assert ladder(record)[2] == "ended by telegram  SIP 486  Telegram says busy  not answered"


def test_a_refused_call_without_steps_has_its_header() -> None:
    record = call_pb2.CallRecord(
        call_id="c2",
        direction=call_pb2.DIRECTION_TELEGRAM_TO_SIP,
        caller="+4917",
        ended_by="gateway",
        sip_status=480,
        error_id="pbx-unreachable",
    )
    lines = ladder(record)
    assert lines[0] == "call c2  Telegram to SIP  +4917 -> (the trunks)"
    assert lines[2] == "ended by gateway  SIP 480  pbx-unreachable  not answered"
    assert len(lines) == 5


def test_steps_of_legs_that_were_rung_say_at_which_trunk_and_contact() -> None:
    rung = [("t1", "office", "192.0.2.7:5060"), ("t2", "home", "[2001:db8::1]:5060")]
    record = call_pb2.CallRecord(
        direction=call_pb2.DIRECTION_TELEGRAM_TO_SIP,
        caller="friend",
        sip_legs=[
            call_pb2.SipLeg(name=name, sip_call_id=f"id-{name}", trunk_id=login, login=login, peer=peer)
            for name, login, peer in rung
        ],
        steps=[
            call_pb2.CallStep(at=1, source="pbx", target="worker", text="404 Not Found", leg="t2"),
            call_pb2.CallStep(at=2, source="worker", target="pbx", text="BYE", leg="t1"),
        ],
    )
    lines = ladder(record)
    assert lines[0].endswith("friend -> office, home")
    assert "SIP leg t1  office at 192.0.2.7:5060  Call-ID id-t1" in lines
    assert lines[-2].endswith("404 Not Found  [t2 home at [2001:db8::1]:5060]")
    assert lines[-1].endswith("BYE  [t1 office at 192.0.2.7:5060]")
    record.answered_at, record.trunk_id = 3.0, "home"
    assert ladder(record)[0].endswith("friend -> home"), "the one that has answered"


def test_an_arrow_can_span_columns_and_a_stranger_is_the_worker() -> None:
    record = call_pb2.CallRecord(steps=[_step(1.0, "telegram", "pbx", "a"), _step(1.0, "elsewhere", "storage", "b")])
    arrows = ladder(record)[-2:]
    assert "│<──────────────────────────────────────────│  a" in arrows[0]
    assert arrows[1].endswith("│────────────────────>│          │  b")
