"""Lists page by page, all in one way: `page` of a request is `next` of the answer before."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from teletrunk_manager.mistakes import Mistake

Item = TypeVar("Item")
PAGE = 500  # rows of one list; a message stays far below gRPC's 4 MiB


class PageRequest(Protocol):
    """What the requests of all lists have."""

    limit: int
    page: str


async def paged(
    session: AsyncSession,
    query: sa.Select[Any],
    key: Any,
    request: PageRequest,
    *,
    after: str = "",
    newest_first: bool = False,
    usual: int = PAGE,
) -> tuple[Sequence[Any], str]:
    """The rows of one page, by their unique `key`, and what gives the next one.

    `after` is the last key of the page before, as older callers give it. Raises `Mistake` for a page that is none.
    """
    size = min(request.limit or usual, PAGE)
    if last := _opened(request.page) or after:
        value = _of_type(key, last)
        query = query.where(key < value if newest_first else key > value)
    query = query.order_by(key.desc() if newest_first else key).limit(size + 1)
    rows = (await session.scalars(query)).all()
    if len(rows) <= size:
        return rows, ""
    return rows[:size], _closed(str(getattr(rows[size - 1], key.key)))


def page_of(items: Sequence[Item], key: Callable[[Item], str], request: PageRequest) -> tuple[Sequence[Item], str]:
    """The same of what is in memory, newest first. Raises `Mistake`."""
    size, last = min(request.limit or PAGE, PAGE), _opened(request.page)
    left = [item for item in items if not last or key(item) < last]
    return left[:size], _closed(key(left[size - 1])) if len(left) > size else ""


def _closed(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def _opened(page: str) -> str:
    try:
        key = base64.b64decode(page + "=" * (-len(page) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise Mistake(_WRONG) from None
    if not key.isprintable():  # a NUL is no text to every database
        raise Mistake(_WRONG)
    return key


def _of_type(key: Any, text: str) -> Any:
    try:
        value = key.type.python_type(text)
    except ValueError:
        raise Mistake(_WRONG) from None
    if isinstance(value, int) and abs(value) > _LARGEST_NUMBER:
        raise Mistake(_WRONG)
    return value


_LARGEST_NUMBER = 2**63 - 1  # what the databases' columns hold
_WRONG = "page: give what `next` of the page before says, or nothing"
