"""The doctor: each condition is found by itself, and a healthy system has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from teletrunk import causes
from teletrunk.cli.doctor import findings
from teletrunk.cli.seen import Seen
from teletrunk.errors import TABLE
from teletrunk.v1 import admin_pb2 as pb
from teletrunk.v1 import call_pb2, manager_pb2, subscription_pb2, trunk_pb2

NOW = 1_000.0


def healthy() -> Seen:
    call = call_pb2.CallRecord(
        call_id="c",
        answered_at=900,
        ended_at=950,
        media=call_pb2.MediaStats(rtp_received=9, rtp_sent=9, rtp_peer="192.0.2.7:4000"),
    )
    plan = subscription_pb2.Subscription(name="p", limits=subscription_pb2.Limits(lines=2, valid_until=NOW + 1))
    return Seen(
        accounts=[pb.Account(account_id="a", phone="+1", storage_id="s", state=manager_pb2.SESSION_STATE_ACTIVE)],
        trunks=[pb.Trunk(trunk_id="t", login="office", account_id="a", registered_at=["w"])],
        services=[
            pb.AttachedService(id="w", kind="worker", attached=True),
            pb.AttachedService(id="s", kind="storage", attached=True),
        ],
        calls=[call],
        plans=[plan],
    )


def test_a_healthy_system_has_no_finding() -> None:
    assert list(findings(healthy(), NOW)) == []


def test_who_sees_a_part_is_not_told_that_there_is_nothing() -> None:
    seen = healthy()
    seen.accounts, seen.trunks, seen.whole = [], [], False
    (found,) = findings(seen, NOW)
    assert found.text == "no Telegram account is yours or shared with you: teletrunk account add +PHONE"


def state(value: int) -> Callable[[Seen], None]:
    def spoil(seen: Seen) -> None:
        seen.accounts[0].state = value  # type: ignore[assignment]

    return spoil


CLOCK = "this machine's clock is 45 s ahead of Telegram's"


def clock(value: int) -> Callable[[Seen], None]:
    def spoil(seen: Seen) -> None:
        seen.accounts[0].state, seen.accounts[0].reason = value, CLOCK  # type: ignore[assignment]

    return spoil


def test_flood_waits_are_named_with_their_time() -> None:
    seen = healthy()
    waits = "Telegram wants no contacts.resolvePhone before 2026-11-26 14:05:11 UTC"
    seen.accounts[0].reason = f"{CLOCK}; {waits}"
    clock_found, wait_found = findings(seen, NOW)
    assert wait_found.row == "flood-wait" and wait_found.text.startswith(waits)
    assert f"teletrunk account retry {seen.accounts[0].phone}" in wait_found.text
    assert CLOCK in clock_found.text and "NTP" in clock_found.text


@pytest.mark.parametrize("value", [manager_pb2.SESSION_STATE_ACTIVE, manager_pb2.SESSION_STATE_CONNECTING])
def test_a_wrong_clock_is_named(value: int) -> None:
    seen = healthy()
    clock(value)(seen)
    (found,) = findings(seen, NOW)
    assert CLOCK in found.text


def away(kind: str) -> Callable[[Seen], None]:
    def spoil(seen: Seen) -> None:
        next(service for service in seen.services if service.kind == kind).attached = False

    return spoil


@pytest.mark.parametrize(
    ("spoil", "row", "about"),
    [
        (away("worker"), "worker-unavailable", "worker"),
        (away("storage"), "storage-unreachable", "storage"),
        (state(manager_pb2.SESSION_STATE_UNAUTHORIZED), "account-inactive", "+1"),
        (state(manager_pb2.SESSION_STATE_CONNECTING), "session-disconnected", "+1"),
        (state(manager_pb2.SESSION_STATE_UNSPECIFIED), "no-active-session", "+1"),
        (lambda seen: seen.trunks[0].ClearField("registered_at"), "not-registered", "office"),
        (lambda seen: seen.bans.append(manager_pb2.Ban(network="192.0.2.1", until=NOW + 9)), "", "192"),
        (lambda seen: setattr(seen.plans[0], "lines_taken", 2), "subscription-limit", "p"),
        (lambda seen: setattr(seen.plans[0].limits, "valid_until", NOW - 1), "subscription-limit", "p"),
        (lambda seen: setattr(seen.calls[0], "error_id", "flood-wait"), "flood-wait", "call c"),
        (lambda seen: seen.calls[0].media.ClearField("rtp_received"), "", "call c"),
        (lambda seen: seen.calls[0].media.ClearField("rtp_sent"), "", "call c"),
        (lambda seen: setattr(seen.calls[0].media, "rtp_silent_s", 40.0), "", "call c"),
        (lambda seen: seen.audiences.update(a=call_pb2.CALL_AUDIENCE_CONTACTS), "", "+1"),
        (lambda seen: seen.audiences.update(a=call_pb2.CALL_AUDIENCE_NOBODY), "", "+1"),
        (lambda seen: seen.trunks.clear(), "", "trunks"),
    ],
)
def test_each_condition_is_found(spoil: Callable[[Seen], None], row: str, about: str) -> None:
    seen = healthy()
    spoil(seen)
    (found,) = findings(seen, NOW)
    assert found.row == row
    assert found.about.startswith(about)
    assert found.remedy or not row


def test_a_ban_s_remedy_is_not_about_trusted_addresses() -> None:
    seen = healthy()
    seen.bans.append(manager_pb2.Ban(network="192.0.2.1", until=NOW + 9))
    (found,) = findings(seen, NOW)
    assert "password" in found.remedy and "ban lift 192.0.2.1" in found.remedy and "trust" not in found.remedy


def test_what_is_over_is_told_apart_from_what_is_wrong_now() -> None:
    seen = healthy()
    seen.calls[0].error_id = "flood-wait"
    seen.trunks[0].ClearField("registered_at")
    assert {found.row: found.past for found in findings(seen, NOW)} == {"not-registered": False, "flood-wait": True}


def test_a_codec_mismatch_names_both_lists() -> None:
    seen = healthy()
    said = "offered G729, GSM; this trunk has PCMA"
    seen.calls = [
        call_pb2.CallRecord(call_id="c", error_id="no-common-codec", sip_status=488, ended_at=900, error_detail=said)
    ]
    (found,) = findings(seen, NOW)
    assert found.text.endswith("offered G729, GSM; this trunk has PCMA") and found.past


@pytest.mark.parametrize(
    ("why", "cause", "option"),
    [
        ("403 Forbidden", causes.PBX_DENIES.code, "change office --pbx-user"),
        ("pbx.example.com has no address", causes.PBX_NAME_UNKNOWN.code, "TELETRUNK_DNS_SERVERS"),
        ("no answer", causes.PBX_SILENT.code, "change office --pbx HOST:PORT"),
        ("not tried yet", call_pb2.REFUSAL_CAUSE_UNSPECIFIED, "change office --pbx HOST:PORT"),
        ("said by a later version", 999, "change office --pbx HOST:PORT"),
    ],
)
def test_a_pbx_that_does_not_have_us_is_no_caller_s_trouble(why: str, cause: Any, option: str) -> None:
    """What it is is told as data, and not looked for in words."""
    seen = healthy()
    options, state = seen.trunks[0].options, trunk_pb2.TrunkState(why=why, cause=cause)
    options.kind, options.pbx.address = trunk_pb2.TRUNK_KIND_OUTBOUND, "pbx.example.com"
    seen.trunks[0].states.append(state)
    (found,) = findings(seen, NOW)
    assert why in found.text and option in found.remedy and "Call later" not in found.remedy


def test_a_full_worker_is_not_said_to_be_restarting() -> None:
    seen = healthy()
    seen.calls[0].error_id = "worker-full"
    (found,) = findings(seen, NOW)
    assert "TELETRUNK_MAX_CALLS" in found.remedy and "busy" not in TABLE["worker-restarting"].essence
