"""What services say of themselves is checked when it comes, as a host's messages are: its counts, lengths and forms.

Whoever has stolen a certificate says what they like, and all Managers would keep it, show it and tell webhooks of it.
What makes no sense is left out; no service of ours says so much.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, Final

from google.protobuf.message import Message
from teletrunk.changes import HEARTBEAT, Heard
from teletrunk.channel import LARGEST_MESSAGE
from teletrunk.v1 import manager_pb2 as pb

from teletrunk_manager.mistakes import Mistake

_ID: Final = re.compile(r"[\x21-\x7e]{1,128}")
_LONGEST: Final = 256  # of what people read
_LONGEST_PROOF: Final = 128
# Of one service: a Worker carries 400 calls at most, and an installation has ten thousand accounts and trunks.
_MOST_OF_A_WORKER: Final = {"calls": 1_000, "lines": 1_000, "registered_trunk_ids": 20_000, "trunk_states": 20_000}
_MOST_OF_A_STORAGE: Final = {"sessions": 20_000}
_MOST: Final = {**_MOST_OF_A_WORKER, **_MOST_OF_A_STORAGE}
# Each of its bytes costs us time: what comes faster than we read waits in the stream.
_REST_S, _BYTES_A_SECOND = 0.02, 2_000_000.0


def rest_after(message: Message, heartbeat: Message | None = None) -> float:
    """How long nothing more is read of a stream: fifty messages a second are more than any service needs.

    `heartbeat` is the whole one, if the message was one: whatever it changes, all of it is looked through.
    """
    whole = heartbeat.ByteSize() if heartbeat is not None else 0
    return _REST_S + max(message.ByteSize(), whole) / _BYTES_A_SECOND


def require_sensible(hello: pb.WorkerHello | pb.StorageHello, service_id: str, address: str) -> None:
    """Raises `Mistake`."""
    if not service_id or not address:
        raise Mistake("a hello needs an id and an address")
    texts = service_id, address, hello.name, hello.version
    if not _ID.fullmatch(service_id) or not all(len(text) <= _LONGEST and text.isprintable() for text in texts):
        raise Mistake(f"a hello's texts have up to {_LONGEST} characters, and an id up to 128 of ASCII")


def picture() -> Heard:
    """Of all that one stream's heartbeats say: no more than one of them may have said."""
    return Heard(HEARTBEAT, _MOST, LARGEST_MESSAGE[1])


def checked(heartbeat: pb.Heartbeat, *, of_worker: bool) -> pb.Heartbeat:
    """The same one, without what makes no sense or is not its kind's to say."""
    ours, others = _MOST_OF_A_WORKER, _MOST_OF_A_STORAGE
    if not of_worker:
        ours, others = others, ours
    for name in others:
        heartbeat.ClearField(name)  # type: ignore[arg-type]  # a name of the message's own
    for name, most in ours.items():
        del getattr(heartbeat, name)[most:]
    _keep(heartbeat.calls, _is_call)
    _keep(heartbeat.lines, lambda line: _are_ids(line.subscription_id, line.call_id) and _is_proof(line.proof))
    _keep(heartbeat.registered_trunk_ids, _are_ids)
    _keep(heartbeat.trunk_states, lambda state: _are_ids(state.trunk_id) and math.isfinite(state.since))
    _keep(heartbeat.sessions, lambda report: _are_ids(report.session_id) and _is_proof(report.proof))
    shorten(heartbeat, "sip_tls_address")
    for call in heartbeat.calls:
        shorten(call, "caller", "called")
        call.ClearField("worker_id")
    for state in heartbeat.trunk_states:
        shorten(state, "why")
    for report in heartbeat.sessions:
        shorten(report, "reason")
    return heartbeat


def _keep(listed: Any, makes_sense: Callable[[Any], bool]) -> None:
    sensible = [each for each in listed if makes_sense(each)]
    if len(sensible) < len(listed):
        del listed[:]
        listed.extend(sensible)


def _is_call(call: pb.LiveCall) -> bool:
    times = call.invited_at, call.answered_at
    return _are_ids(call.call_id, call.account_id or "-", call.trunk_id or "-") and all(map(math.isfinite, times))


def _are_ids(*texts: str) -> bool:
    return all(map(_ID.fullmatch, texts))


def _is_proof(proof: bytes) -> bool:
    return len(proof) <= _LONGEST_PROOF


def shorten(message: Any, *names: str) -> None:
    """The texts of these names."""
    for name in names:
        text = getattr(message, name)
        if len(text) > _LONGEST or "\0" in text:  # which PostgreSQL keeps nowhere
            setattr(message, name, text.replace("\0", "")[:_LONGEST])
