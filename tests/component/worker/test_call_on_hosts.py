"""A call's real ports over hosts and a Storage that refuse, stall, die, answer late, twice or never."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from teletrunk.errors import Refusal

from tests.simulated_time import simulated

from .hosts_world import ANSWERED, BUSY, ENDED, REFUSED, UNDIALLED, HostsWorld, responses
from .tape import TAPES
from .test_call_any_order import EXAMPLES

_many = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))

pytestmark = pytest.mark.usefixtures("our_mistakes")


@_many
@given(TAPES, st.booleans(), st.sampled_from([0, 0, 486, 488]), st.sampled_from([400.0, 20.0, 2.0, 0.02]))
def test_every_place_dialog_and_stream_is_given_back(
    tape: bytes, from_sip: bool, refused_on_the_way: int, hang_up_after: float
) -> None:
    world = HostsWorld(tape)
    simulated(world.live(from_sip=from_sip, refused_on_the_way=refused_on_the_way, hang_up_after=hang_up_after))


def life(*, from_sip: bool = False, refused_on_the_way: int = 0, **written: list[Any]) -> HostsWorld:
    """One life in which all goes well but what is written."""
    world = HostsWorld(b"", **written)
    simulated(world.live(from_sip=from_sip, refused_on_the_way=refused_on_the_way, hang_up_after=400.0))
    return world


def at(seconds: float, *messages: Any) -> list[tuple[float, Any]]:
    return [(seconds if message is messages[0] else 0.0, message) for message in messages]


def test_who_waits_for_a_host_hears_telegram_hang_up() -> None:
    world = life(take=[[*at(0.0, *responses("requested")), *at(1.0, *responses("busy"))]], place_sip=[[]] * 8)
    assert world.lasted_s < 1.1 and world.reported[0].ended_by == "telegram"


def test_a_name_that_makes_no_header_is_not_the_pbxs_answer() -> None:
    world = life(dial=[at(0.0, UNDIALLED)] * 3)
    (record,) = world.reported
    assert (record.ended_by, record.error_id, record.sip_status) == ("gateway", "media-failed", 500)
    assert len(world.chat) == 1 and world.chat[0].startswith("500 Media failed\n"), (
        "what a stranger can do nothing about is not told"
    )


def test_what_the_edge_answers_itself_is_not_the_pbxs_answer() -> None:
    """Its connection is gone: the host reads 480, and nobody has said that."""
    world = life(dial=[at(0.0, {**BUSY, "status": 480, "unheard": True})] * 3)
    (record,) = world.reported
    assert (record.ended_by, record.error_id, record.sip_status) == ("gateway", "pbx-unreachable", 480)
    assert world.chat[0].startswith("480 PBX is unreachable")


def test_what_one_host_refuses_another_is_asked_for() -> None:
    world = life(dial=[*[at(0.0, REFUSED)] * 2, *[at(0.0, BUSY)] * 3])
    (record,) = world.reported
    assert (record.ended_by, record.sip_status, len(world.sip.all)) == ("pbx", 486, 5)


def test_the_answer_of_a_host_without_a_place_is_not_the_pbxs() -> None:
    (record,) = life(from_sip=True, refused_on_the_way=486, placed=[[]]).reported
    assert (record.ended_by, record.error_id, record.sip_status) == ("gateway", "worker-full", 486)
    (record,) = life(from_sip=True, refused_on_the_way=488, placed=[[]]).reported
    assert (record.ended_by, record.error_id, record.sip_status) == ("pbx", "", 488)


def test_a_refusal_at_accept_is_told_with_its_row() -> None:
    world = life(accept=[at(0.0, Refusal("telegram-error", "CALL_OCCUPY_FAILED"))])
    (record,) = world.reported
    assert (record.ended_by, record.error_id) == ("gateway", "telegram-error")
    assert world.chat[0].startswith("500 Telegram error\n")


def test_a_session_that_is_revoked_in_a_call_is_not_telegrams_hang_up() -> None:
    revoked = Refusal("session-disconnected", "SESSION_REVOKED")
    world = life(from_sip=True, start=[[*at(0.0, *responses("requested", "ready")), *at(9.0, revoked)]])
    (record,) = world.reported
    assert (record.ended_by, record.error_id, record.sip_status) == ("gateway", "session-disconnected", 200)
    (bye,) = [message for message in world.sip.sent if message["command"] == "hangup"]
    assert bye["headers"][0] == ["Reason", 'SIP;cause=503;text="Telegram session is disconnected: SESSION_REVOKED"']


def test_no_host_waits_for_a_peer_that_has_said_nothing() -> None:
    """No CANCEL may be sent before the peer's first word: the edge ends the host's wait."""
    world = life(
        take=[[*at(0.0, *responses("requested")), *at(2.0, *responses("busy"))]], dial=[[]] * 2, hangup=[[]] * 2
    )
    assert {"c/x", "c/y"} <= world.edge.over


def test_a_call_from_a_pbx_that_no_host_takes() -> None:
    written: dict[str, list[Any]]
    for written in ({"place_sip": [[]]}, {"placed": [[]]}):
        world = life(from_sip=True, refused_on_the_way=0, **written)
        (record,) = world.reported
        assert (record.ended_by, record.error_id) == ("gateway", "media-failed") and world.lasted_s < 13


def test_a_host_that_hangs_leaves_no_peer_without_a_word() -> None:
    world = life(
        from_sip=True, start=[[*at(0.0, *responses("requested", "ready")), *at(9.0, *responses("hangup"))]], hangup=[[]]
    )
    assert world.edge.spoken == {"c/a"} and world.reported[0].ended_by == "telegram"


@pytest.mark.parametrize("from_sip", [True, False])
@pytest.mark.parametrize(
    ("status", "phrase", "error", "told"),
    [
        (408, "No session refresh received.", "pbx-unreachable", "PBX is unreachable: the session was not refreshed"),
        (408, "Request Timeout", "pbx-unreachable", "PBX is unreachable: no answer within the call"),
        (500, "SDP negotiation failed", "no-common-codec", "No common codec: the ACK has no answer to our offer"),
    ],
)
def test_a_call_that_a_host_hangs_up_by_itself_is_not_the_pbxs_hang_up(
    from_sip: bool, status: int, phrase: str, error: str, told: str
) -> None:
    over = {**ENDED, "status": status, "phrase": phrase, "by_us": False}
    said = [[*at(0.0, ANSWERED), *at(30.0, over)]]
    world = life(from_sip=True, answer=said) if from_sip else life(dial=said)
    (record,) = world.reported
    assert (record.ended_by, record.error_id) == ("gateway", error)
    assert "discard disconnect" in [step.text for step in record.steps]
    assert [(step.source, step.target) for step in record.steps if step.text == f"BYE: {told}"] == [("worker", "pbx")]


def test_a_call_that_the_pbx_does_not_know_any_more_is_its_end() -> None:
    over = {**ENDED, "status": 481, "phrase": "Call Does Not Exist", "by_us": False}
    world = life(from_sip=True, answer=[[*at(0.0, ANSWERED), *at(30.0, over)]])
    (record,) = world.reported
    assert (record.ended_by, record.error_id) == ("pbx", "")
