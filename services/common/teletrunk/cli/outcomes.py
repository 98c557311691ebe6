"""Why a call was not put through, out of its record: a row in the words of its cause, or what the PBX has answered."""

from __future__ import annotations

import re

from teletrunk import causes
from teletrunk.cli.pbx_words import Answer, answer_of
from teletrunk.errors import TABLE, Row
from teletrunk.v1 import call_pb2


def detail_of(record: call_pb2.CallRecord) -> str:
    """What was said beyond the row's own phrase: both lists of codecs, for one."""
    row = TABLE[record.error_id]
    said = f"{row.sip_status} {row.phrase}: "
    return next((step.text.partition(said)[2] for step in reversed(record.steps) if said in step.text), "")


def row_of(record: call_pb2.CallRecord) -> Row:
    """Of a call that was refused."""
    return causes.told(record.error_id, detail_of(record))


def pbx_answer(record: call_pb2.CallRecord) -> Answer | None:
    """What the PBX meant that did not take a call from Telegram."""
    from_telegram = record.direction == call_pb2.DIRECTION_TELEGRAM_TO_SIP
    by_pbx = from_telegram and record.ended_by == "pbx" and not record.error_id and not record.answered_at
    return answer_of(record.sip_status) if by_pbx and record.sip_status >= 300 else None


def pbx_said(record: call_pb2.CallRecord) -> str:
    """Its own words, as far as the record has them."""
    code = str(record.sip_status)
    steps = (step.text for step in reversed(record.steps) if step.source == "pbx")
    return next((text for text in steps if re.match(rf"{code}\b", text)), code)
