"""Every change that a person makes is written down in the transaction that makes it: who, what, before and after."""

from __future__ import annotations

import contextlib
import contextvars
import hashlib
import json
import time
from collections.abc import Iterator
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event, inspect
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from teletrunk_manager.db import tables
from teletrunk_manager.domain.pace import Pace
from teletrunk_manager.mistakes import TooOften

# Who asks: a token's name for the REST API; the command on the Manager's own machine has no name of its own.
NOBODY: Final = "command"
WHO: Final = contextvars.ContextVar("who", default=NOBODY)
# The administrator that a change is made for; empty for the installation itself and for its owners.
_ASKER: Final = contextvars.ContextVar("asker", default="")


def asker() -> str:
    """Whose accounts and trunks are asked for; empty: all."""
    return _ASKER.get()


def asked_by(name: str, *, for_all: bool) -> None:
    """Who asks, for the rest of this task; `for_all` when everything is theirs to use."""
    WHO.set(name)
    _ASKER.set("" if for_all else name)


@contextlib.contextmanager
def acting(what: str) -> Iterator[None]:
    """The Manager acts by itself in this block; it is written down as `manager/WHAT`."""
    token = WHO.set(f"manager/{what}")  # no token's name has a slash
    try:
        yield
    finally:
        WHO.reset(token)


def asked_by_service(service_id: str) -> None:
    """A service acts, for the rest of this task: no person makes these changes, so they are not written down.

    Strangers bring bans about, and could fill the list of changes with them.
    """
    WHO.set(_SERVICE + service_id)


_SERVICE = "service/"  # no token's name has a slash
AUDITED: Final = (
    tables.Account,
    tables.ApiToken,
    tables.Assignment,
    tables.BannedAddress,
    tables.Drain,
    tables.Invitation,
    tables.JoinToken,
    tables.Member,
    tables.ServiceName,
    tables.Share,
    tables.Subscription,
    tables.Trunk,
    tables.TrustedAddress,
    tables.Webhook,
)
_SECRET = ("sealed", "hash")


PACE, _HAS_BEGUN = "pace of changes", "has begun"  # in a session's info
_LONGEST = 500  # of a value that is written down whole


def pace_of_changes() -> Pace:
    """Of one administrator, in rows of the list: they are kept long."""
    return Pace(3_000, 0.5)


class AuditedSession(Session):
    """A session that writes down what it flushes. Changes by bare UPDATE and DELETE statements escape it, and so do
    rows that the database deletes with others: `delete_whole` is for those."""


@event.listens_for(AuditedSession, "before_flush")
def _write_down(session: Session, context: object, instances: object) -> None:
    if WHO.get().startswith(_SERVICE):
        return
    changes = list(_changes(session))
    if changes and asker():
        _require_pace(session, len(changes))
    session.add_all(changes)


def _require_pace(session: Session, changes: int) -> None:
    """Raises `TooOften`, but not within a transaction that has begun to change things."""
    pace: Pace = session.info[PACE]
    if not pace.allows(asker(), changes) and not session.info.get(_HAS_BEGUN):
        raise TooOften("changes", pace.seconds(asker()))
    session.info[_HAS_BEGUN] = True


def _changes(session: Session) -> Iterator[tables.Change]:
    for action, rows in (("insert", session.new), ("update", session.dirty), ("delete", session.deleted)):
        for row in list(rows):
            if isinstance(row, AUDITED):
                before, after = _difference(row, action)
                if before or after:
                    yield _change(row, action, before, after, _name(session, row))


def _difference(row: object, action: str) -> tuple[dict[str, Any], dict[str, Any]]:
    before, after = {}, {}
    for column in inspect(row).mapper.column_attrs:
        history = inspect(row).attrs[column.key].history
        value = getattr(row, column.key)
        if action == "delete":
            before[column.key] = _shown(column.key, value)
        elif action == "insert":
            after[column.key] = _shown(column.key, value)
        elif history.has_changes() and column.key != "version":
            before[column.key] = _shown(column.key, next(iter(history.deleted), None))
            after[column.key] = _shown(column.key, value)
    return before, after


def _shown(name: str, value: Any) -> Any:
    """A long text by its beginning, and by what tells it from others."""
    if any(word in name for word in _SECRET):
        return "(secret)"
    if isinstance(value, str) and len(value) > _LONGEST:
        digest = hashlib.sha256(value.encode()).hexdigest()[:16]
        return f"{value[:_LONGEST]}... ({len(value)} characters, SHA-256 {digest})"
    return value


def _name(session: Session, row: object) -> str:
    """What people call the thing, or what it belongs to."""
    match row:
        case tables.Account():
            return row.phone or row.username
        case tables.Trunk():
            return row.login
        case tables.Subscription() | tables.ServiceName():
            return row.name
        case tables.Webhook():
            return row.url
        case tables.Share() | tables.Assignment():
            owner: object = session.get(tables.Account, row.account_id)
        case tables.TrustedAddress():
            owner = session.get(tables.Trunk, row.trunk_id)
        case tables.Drain() | tables.Member():
            id_ = row.worker_id if isinstance(row, tables.Drain) else row.service_id
            owner = session.get(tables.ServiceName, id_)
        case _:
            return ""
    return _name(session, owner)


def _change(row: object, action: str, before: dict[str, Any], after: dict[str, Any], name: str) -> tables.Change:
    mapper = inspect(row).mapper
    key = "/".join(str(getattr(row, column.name)) for column in mapper.primary_key)
    return tables.Change(
        at=time.time(),
        who=WHO.get(),
        action=action,
        kind=mapper.local_table.name,
        key=key,
        name=name,
        before=json.dumps(before),
        after=json.dumps(after),
    )


async def delete_whole(session: AsyncSession, row: tables.Account | tables.Trunk) -> None:
    """Deletes the row and all that belongs to it, one by one: only then each is written down."""
    if isinstance(row, tables.Account):
        for trunk in await session.scalars(sa.select(tables.Trunk).where(tables.Trunk.account_id == row.account_id)):
            await delete_whole(session, trunk)
        parts: tuple[Any, ...] = (tables.Share, tables.Assignment)
        column, key = "account_id", row.account_id
    else:
        parts, column, key = (tables.TrustedAddress,), "trunk_id", row.trunk_id
    for table in parts:
        for part in await session.scalars(sa.select(table).where(getattr(table, column) == key)):
            await session.delete(part)
    await session.flush()  # children first
    await session.delete(row)
    await session.flush()
