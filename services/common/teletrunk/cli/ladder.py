"""Draws a call's ladder: who said what to whom, and when. Pure text."""

from __future__ import annotations

from teletrunk.v1 import call_pb2

_PARTIES = ("pbx", "worker", "manager", "storage", "telegram")
_TITLES = ("PBX", "Worker", "Manager", "Storage", "Telegram")
_WIDTH = 26
_TIME = 10


def ladder(record: call_pb2.CallRecord) -> list[str]:
    """The lines of the ladder, its header first. Times are milliseconds since the call's first step."""
    start = record.steps[0].at if record.steps else record.invited_at
    lines = [*header(record), "", " " * _TIME + "".join(title.ljust(_WIDTH) for title in _TITLES).rstrip()]
    lines += [f"{(step.at - start) * 1000:7.0f} ms {_arrow(step)}" for step in record.steps]
    return lines


def header(record: call_pb2.CallRecord) -> list[str]:
    to_telegram = record.direction == call_pb2.DIRECTION_SIP_TO_TELEGRAM
    way = "SIP to Telegram" if to_telegram else "Telegram to SIP"
    talked = record.ended_at - record.answered_at if record.answered_at else 0.0
    lines = [
        f"call {record.call_id}  {way}  {record.caller} -> {record.called or '(the trunks)'}",
        f"ended by {record.ended_by or '?'}  SIP {record.sip_status}  {record.error_id}".rstrip()
        + (f"  talked {talked:.1f} s" if talked else "  not answered"),
    ]
    media = record.media
    if media.codec:
        lines.append(
            f"{media.codec}  RTP received {media.rtp_received}, lost {media.rtp_lost}, jitter {media.rtp_jitter_ms} ms"
            f"  Telegram media in {media.media_connect_ms:.0f} ms (v{media.telegram_library_version})"
            f"  gaps {media.late_to_telegram}/{media.late_to_sip}"
        )
    return lines


def _arrow(step: call_pb2.CallStep) -> str:
    """One line: bars for the parties, an arrow from source to target with the text over it."""
    known = [name if name in _PARTIES else "worker" for name in (step.source, step.target)]
    source, target = (_PARTIES.index(name) for name in known)
    line = [" "] * (_WIDTH * (len(_PARTIES) - 1) + 1)
    for column in range(len(_PARTIES)):
        line[column * _WIDTH] = "│"
    left, right = sorted((source, target))
    for at in range(left * _WIDTH + 1, right * _WIDTH):
        line[at] = "─"
    if left != right:
        line[right * _WIDTH - 1 if target > source else left * _WIDTH + 1] = ">" if target > source else "<"
    text = f" {step.text[: (max(right - left, 1)) * _WIDTH - 6]} "
    begin = left * _WIDTH + 3
    line[begin : begin + len(text)] = text
    return "".join(line).rstrip()
