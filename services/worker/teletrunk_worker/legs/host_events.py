"""What hosts may say, by type: native code reads strangers' bytes, and what it says is not believed unseen."""

from __future__ import annotations

from typing import Final

from teletrunk_worker.legs.wire import Message

_Field = type | tuple[type, ...]
_NUMBER: Final = (int, float)
_LONGEST_TEXT = 60_000  # signalling is the longest that there is, and a packet holds no more
_HIGHEST = 2**31 - 1
# Each event's fields. A field whose type has None in it may be missing.
_OPTIONAL: Final = type(None)
EVENTS: Final[dict[str, dict[str, _Field]]] = {
    "ready": {"capacity": int, "port": (int, _OPTIONAL), "rate": (int, _OPTIONAL)},
    "pong": {},
    "ending": {"places": int},
    "incoming": {"call": str},
    "dialled": {"call": str, "sip_call_id": str},
    "progress": {"call": str, "status": int},
    "answered": {"call": str, "codec": str},
    "ended": {"call": str, "status": int, "phrase": str, "by_us": bool, "stats": dict, "ending": int},
    "refused": {"call": str, "why": str},
    "undialled": {"call": str, "why": str},
    "detached": {"call": str},
    "digit": {"call": str, "digit": str, "by": str},
    "silent": {"call": str},
    "trouble": {"call": str, "text": str},
    "connected": {"call": str, "connect_ms": _NUMBER},
    "failed": {"call": str, "why": str},
    "signalling": {"call": str, "data": str},
    "closed": {"call": str, "stats": dict},
}
_FIGURES: Final[dict[str, _Field]] = {
    "codec": str,
    "rtp_peer": str,
    "rtp_received": int,
    "rtp_lost": int,
    "rtp_sent": int,
    "rtp_jitter_ms": _NUMBER,
    "rtp_silent_s": _NUMBER,
    "dtmf_digits": int,
    "dtmf_method": str,
    "srtp_suite": str,
    "late_to_sip": int,
    "late_to_telegram": int,
    "media_connect_ms": _NUMBER,
}
_LIMITS: Final = {"capacity": (1, 1_000), "port": (0, 65_535), "rate": (8_000, 16_000), "status": (0, 699)}


def checked_event(message: object) -> Message:
    """The message, which is an event of the table with its fields. Raises ValueError."""
    if not isinstance(message, dict):
        raise ValueError("no event")
    fields = EVENTS.get(str(message.get("event")))
    if fields is None:
        raise ValueError(f"event {str(message.get('event'))[:40]!r} is unknown")
    if not message.keys() <= {"event", *fields}:
        raise ValueError("a field that is unknown")
    for name, kind in fields.items():
        _check(name, message.get(name), _kinds(kind))
    for name, figure in message.get("stats", {}).items():
        if name not in _FIGURES:
            raise ValueError("a figure that is unknown")
        _check(name, figure, _kinds(_FIGURES[name]))
    return message


def _kinds(field: _Field) -> tuple[type, ...]:
    return field if isinstance(field, tuple) else (field,)


def _check(name: str, value: object, kinds: tuple[type, ...]) -> None:
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise ValueError(f"{name} is of the wrong type")
    if isinstance(value, str) and len(value) > _LONGEST_TEXT:
        raise ValueError(f"{name} is too long")
    if isinstance(value, int | float):
        lowest, highest = _LIMITS.get(name, (0, _HIGHEST))
        if not lowest <= value <= highest:  # which no NaN is
            raise ValueError(f"{name} is out of range")
