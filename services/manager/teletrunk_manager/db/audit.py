"""Every change that a person makes is written down in the transaction that makes it: who, what, before and after."""

from __future__ import annotations

import contextvars
import json
import time
from typing import Any, Final

from sqlalchemy import event, inspect
from sqlalchemy.orm import Session

from teletrunk_manager.db import tables

# Who asks: a token's name for the REST API; the command on the Manager's own machine has no name of its own.
WHO: Final = contextvars.ContextVar("who", default="command")
# The administrator that a change is made for; empty for the installation itself and for its owners.
_ASKER: Final = contextvars.ContextVar("asker", default="")


def asker() -> str:
    """Whose accounts and trunks are asked for; empty: all."""
    return _ASKER.get()


def asked_by(name: str, *, for_all: bool) -> None:
    """Who asks, for the rest of this task; `for_all` when everything is theirs to use."""
    WHO.set(name)
    _ASKER.set("" if for_all else name)


_AUDITED = (
    tables.Account,
    tables.ApiToken,
    tables.Assignment,
    tables.BannedAddress,
    tables.Drain,
    tables.Member,
    tables.Share,
    tables.Subscription,
    tables.Trunk,
    tables.TrustedAddress,
    tables.Webhook,
)
_SECRET = ("sealed", "hash")


class AuditedSession(Session):
    """A session that writes down what it flushes. Changes by bare UPDATE and DELETE statements escape it."""


@event.listens_for(AuditedSession, "before_flush")
def _write_down(session: Session, context: object, instances: object) -> None:
    for action, rows in (("insert", session.new), ("update", session.dirty), ("delete", session.deleted)):
        for row in list(rows):
            if isinstance(row, _AUDITED):
                before, after = _difference(row, action)
                if before or after:
                    session.add(_change(row, action, before, after))


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
    return "(secret)" if any(word in name for word in _SECRET) else value


def _change(row: object, action: str, before: dict[str, Any], after: dict[str, Any]) -> tables.Change:
    mapper = inspect(row).mapper
    key = "/".join(str(getattr(row, column.name)) for column in mapper.primary_key)
    return tables.Change(
        at=time.time(),
        who=WHO.get(),
        action=action,
        kind=mapper.local_table.name,
        key=key,
        before=json.dumps(before),
        after=json.dumps(after),
    )
