"""Tasks that kurigram starts and nobody holds: their failures are a line in our log, and no traceback on stderr."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

log = structlog.get_logger()


def watch(loop: asyncio.AbstractEventLoop) -> None:
    """Of its sessions' restarts, for one, when Telegram has forgotten the key: the session has been told already."""
    loop.set_exception_handler(_report)


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    coroutine = context["future"].get_coro() if isinstance(context.get("future"), asyncio.Task) else None
    code = getattr(coroutine, "cr_code", None)
    if code is None or "/pyrogram/" not in code.co_filename:
        loop.default_exception_handler(context)
        return
    error = type(context.get("exception")).__name__
    log.warning("a task of the client library failed", task=code.co_name, error=error)
