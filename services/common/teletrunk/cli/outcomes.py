"""Why a call was not put through, out of its record: a row in the words of its cause, or what the PBX has answered."""

from __future__ import annotations

import re

from teletrunk import causes
from teletrunk.cli.pbx_words import Answer, answer_of
from teletrunk.errors import Row
from teletrunk.v1 import call_pb2


def row_of(record: call_pb2.CallRecord) -> Row:
    """Of a call that was refused, in the words of its cause and about its own trunk."""
    return causes.told(record.error_id, record.cause, **known_of(record))


def known_of(record: call_pb2.CallRecord) -> dict[str, str]:
    """What advice about the call may name."""
    leg = next((leg for leg in record.sip_legs if leg.login), None)
    to_telegram = record.direction == call_pb2.DIRECTION_SIP_TO_TELEGRAM
    login = leg.login if leg is not None else record.caller if to_telegram else ""
    address = leg.peer.rpartition(":")[0].strip("[]") if leg is not None else ""
    return {"trunk": login, "address": address, "account": record.account_id, "worker_id": record.worker_id}


def pbx_answer(record: call_pb2.CallRecord) -> Answer | None:
    """What the PBX meant that did not take a call from Telegram."""
    from_telegram = record.direction == call_pb2.DIRECTION_TELEGRAM_TO_SIP
    by_pbx = from_telegram and record.ended_by == "pbx" and not record.error_id and not record.answered_at
    return answer_of(record.sip_status, known_of(record)) if by_pbx and record.sip_status >= 300 else None


def pbx_said(record: call_pb2.CallRecord) -> str:
    """Its own words, as far as the record has them."""
    code = str(record.sip_status)
    steps = (step.text for step in reversed(record.steps) if step.source == "pbx")
    return next((text for text in steps if re.match(rf"{code}\b", text)), code)
