"""Call records as people ask for them: the newest of those that fit, and one by its id or a part of it."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import load_only
from teletrunk.errors import TABLE
from teletrunk.remedies import LIST_CALLS, Shows, Term
from teletrunk.v1 import admin_pb2 as pb
from teletrunk.v1 import call_pb2

from teletrunk_manager.accounts import find_account, visible
from teletrunk_manager.db.pages import paged
from teletrunk_manager.db.tables import Account, Call, Change, SipCallId
from teletrunk_manager.mistakes import Mistake, Unknown
from teletrunk_manager.trunks import find_trunk

_USUAL = 20
_ROWS = Term("teletrunk explain", "docs/errors.md")
_SHORTEST_PART = 4  # of an id
LONGEST_SIP_CALL_ID: Final = 128  # as Workers cut it
_LONGEST_INDEXED, _LONGEST_INDEXED_BYTES = 255, 600


async def page(session: AsyncSession, request: pb.ListCallsRequest) -> pb.ListCallsResponse:
    """Newest first, without steps. Raises `Unknown` for an account or a trunk, `Mistake` for a row that is none."""
    query = sa.select(Call).options(load_only(Call.call_id, Call.record)).where(visible(Call.account_id))
    query = query.where(*await _conditions(session, request))
    rows, following = await paged(
        session, query, Call.call_id, request, after=request.older_than, newest_first=True, usual=_USUAL
    )
    records = [call_pb2.CallRecord.FromString(row.record) for row in rows]
    for record in records:
        del record.steps[:]
        record.ClearField("route_proof")
    return pb.ListCallsResponse(calls=records, next=following)


async def _conditions(session: AsyncSession, request: pb.ListCallsRequest) -> list[sa.ColumnElement[bool]]:
    wanted: list[sa.ColumnElement[bool]] = []
    if request.since:
        wanted.append(Call.invited_at >= request.since)
    if request.until:
        wanted.append(Call.invited_at < request.until)
    if request.account:
        wanted.append(Call.account_id.in_(await _accounts(session, request.account)))
    if request.trunk:
        wanted.append(Call.trunk_id == (await find_trunk(session, request.trunk)).trunk_id)
    if request.number:
        forms = _forms(request.number)
        wanted.append(sa.or_(Call.caller.in_(forms), Call.called.in_(forms)))
    if request.sip_call_id:
        legs = sa.select(SipCallId.call_id).where(
            SipCallId.sip_call_id == request.sip_call_id.strip()[:LONGEST_SIP_CALL_ID]
        )
        wanted.append(Call.call_id.in_(legs))
    if request.direction:
        wanted.append(Call.to_telegram == (request.direction == call_pb2.DIRECTION_SIP_TO_TELEGRAM))
    if request.HasField("answered"):
        wanted.append(Call.answered_at > 0 if request.answered else Call.answered_at == 0)
    if request.row:
        if request.row not in TABLE:
            raise Mistake(f"{request.row} is no row of the error contract: ", _ROWS, " shows them")
        wanted.append(Call.error_id == request.row)
    return wanted


async def _accounts(session: AsyncSession, text: str) -> list[str]:
    """The account of that name, or those that had it when they were removed: their calls are still there.

    Raises `Unknown`.
    """
    try:
        return [(await find_account(session, text)).account_id]
    except Unknown:
        removed = sa.select(Change.key).where(Change.kind == Account.__tablename__, Change.action == "delete")
        named = sa.or_(Change.key == text, Change.name.in_([*_forms(text), text]))
        if found := (await session.scalars(removed.where(named))).all():
            return list(found)
        raise


def _forms(number: str) -> list[str]:
    """As it may have been dialled or shown: with and without +, @ and tg#."""
    bare = number.strip().removeprefix("tg#").lstrip("+@")
    return [indexed(form) for form in (bare, f"+{bare}", f"@{bare}", f"tg#{bare}")]


def indexed(text: str) -> str:
    """The beginning of what anybody may have dialled: an index of PostgreSQL's takes 2,704 bytes of a row."""
    return text.encode()[:_LONGEST_INDEXED_BYTES].decode(errors="ignore")[:_LONGEST_INDEXED]


async def one(session: AsyncSession, wanted: str) -> call_pb2.CallRecord:
    """By the id, its start, its end, or `last`. Raises `Unknown`, and `Mistake` when several fit."""
    found = await _found(session, wanted)
    if not found:
        text = "there are no calls yet" if wanted in ("", "last") else f"there is no call {wanted}"
        raise Unknown(f"{text}: ", Shows(LIST_CALLS))
    if len(found) > 1 and wanted != "last":
        raise Mistake(f"several calls begin or end with {wanted}: give more of the id")
    record = call_pb2.CallRecord.FromString(found[0])
    record.ClearField("route_proof")  # as Managers of before have kept it
    return record


async def _found(session: AsyncSession, wanted: str) -> list[bytes]:
    """Up to two; the end of an id is looked for only when nothing begins so, for no index helps with that."""
    if wanted == "last":
        return list(await session.scalars(_newest().limit(2)))
    conditions = [Call.call_id == wanted, Call.call_id.startswith(wanted, autoescape=True)]
    if len(wanted) >= _SHORTEST_PART:
        conditions.append(Call.call_id.endswith(wanted, autoescape=True))
    for condition in conditions:
        if found := list(await session.scalars(_newest().where(condition).limit(2))):
            return found
    return []


def _newest() -> sa.Select[bytes]:
    return sa.select(Call.record).where(visible(Call.account_id)).order_by(Call.call_id.desc())
