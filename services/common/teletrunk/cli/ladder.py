"""Draws a call's ladder: who said what to whom, and when. Pure text."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from teletrunk.v1 import call_pb2

_PARTIES = {"pbx": "PBX", "worker": "Worker", "manager": "Manager", "storage": "Storage", "telegram": "Telegram"}
_ORDER = tuple(_PARTIES)
_WIDTH = 11
_TIME = 12
_DRAWN = _WIDTH * (len(_ORDER) - 1) + 1


def ladder(record: call_pb2.CallRecord) -> list[str]:
    """The lines of the ladder, its header first. Times are milliseconds since the call's first step.

    What was said stands to the right of its arrow, so it is never cut.
    """
    steps = sorted(record.steps, key=lambda step: step.at)
    start = steps[0].at if steps else record.invited_at
    titles = "".join(title.ljust(_WIDTH) for title in _PARTIES.values()).rstrip()
    lines = [*header(record), "", " " * _TIME + titles]
    where = {leg.name: _where(leg) for leg in record.sip_legs}
    return lines + [
        f"{(step.at - start) * 1000:8.0f} ms {_rungs(step)}  {step.text}{_of_leg(step, where)}".rstrip()
        for step in steps
    ]


def _of_leg(step: call_pb2.CallStep, where: Mapping[str, str]) -> str:
    """Which of several PBXs: the caller's is alone."""
    return f"  [{step.leg} {where.get(step.leg, '')}".rstrip() + "]" if step.leg else ""


def _where(leg: call_pb2.SipLeg) -> str:
    return f"{leg.login or leg.trunk_id} at {leg.peer}" if leg.peer else leg.login or leg.trunk_id


def called_by(record: call_pb2.CallRecord) -> str:
    """Whom the call was for: of one from Telegram the trunk that has answered, else all that were rung."""
    if record.called or record.direction == call_pb2.DIRECTION_SIP_TO_TELEGRAM:
        return record.called
    logins = {leg.trunk_id: leg.login for leg in record.sip_legs if leg.login}
    if record.answered_at and record.trunk_id in logins:
        return logins[record.trunk_id]
    return ", ".join(logins.values())


def header(record: call_pb2.CallRecord) -> list[str]:
    """Who called whom and what came of it; the sound's figures when there was sound."""
    to_telegram = record.direction == call_pb2.DIRECTION_SIP_TO_TELEGRAM
    way = "SIP to Telegram" if to_telegram else "Telegram to SIP"
    lines = [
        f"call {record.call_id}  {way}  {record.caller or '?'} -> {called_by(record) or '(the trunks)'}",
        f"began {_moment(record.invited_at)}",
        "  ".join(part for part in (_result(record), _durations(record)) if part),
    ]
    lines += [f"SIP leg {leg.name}  {_where(leg)}  Call-ID {leg.sip_call_id or '?'}" for leg in record.sip_legs]
    media = record.media
    if media.codec:
        srtp = f" SRTP {media.srtp_suite}" if media.srtp_suite else ""
        lines.append(
            f"{media.codec}{srtp}  RTP received {media.rtp_received}, lost {media.rtp_lost}, "
            f"jitter {media.rtp_jitter_ms:.1f} ms  late blocks: {media.late_to_telegram} to Telegram, "
            f"{media.late_to_sip} to SIP"
        )
        version = f" (version {media.telegram_library_version})" if media.telegram_library_version else ""
        lines.append(f"Telegram's sound connected in {media.media_connect_ms:.0f} ms{version}")
    return lines


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).astimezone().isoformat(sep=" ", timespec="seconds")


def _result(record: call_pb2.CallRecord) -> str:
    word = record.error_id or _at_telegram(record)
    status = f"SIP {record.sip_status}" if record.sip_status else ""
    return "  ".join(part for part in (f"ended by {record.ended_by or '?'}", status, word) if part)


def _at_telegram(record: call_pb2.CallRecord) -> str:
    """Telegram has four words for ends: `busy` may be any refusal of a PBX's."""
    if not record.telegram_reason:
        return ""
    said = "Telegram says" if record.ended_by == "telegram" else "Telegram was told"
    return f"{said} {record.telegram_reason}"


def _durations(record: call_pb2.CallRecord) -> str:
    parts = []
    if record.ringing_at:
        parts.append(f"rang after {record.ringing_at - record.invited_at:.2f} s")
    if record.answered_at:
        parts.append(f"answered after {record.answered_at - record.invited_at:.2f} s")
        parts.append(f"talked {record.ended_at - record.answered_at:.1f} s")
    else:
        parts.append("not answered")
    return ", ".join(parts)


def _rungs(step: call_pb2.CallStep) -> str:
    """A bar for each party, and the arrow from source to target; a dot when a party notes something for itself."""
    line = [" "] * _DRAWN
    for column in range(len(_ORDER)):
        line[column * _WIDTH] = "│"
    source, target = _column(step.source), _column(step.target)
    left, right = min(source, target) * _WIDTH, max(source, target) * _WIDTH
    if left == right:
        line[left] = "●"
        return "".join(line)
    line[left + 1 : right] = "─" * (right - left - 1)
    if target > source:
        line[right - 1] = ">"
    else:
        line[left + 1] = "<"
    return "".join(line)


def _column(party: str) -> int:
    return _ORDER.index(party) if party in _ORDER else _ORDER.index("worker")
