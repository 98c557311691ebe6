"""Logs: structlog, one JSON object a line (or a console form), always with the call's id where there is one."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

_SECRET_WORDS = ("password", "token", "auth_key", "session_string", "secret", "code", "key")
_KEPT = frozenset({"code_sent_by", "exit_code", "status_code"})


def _redact(logger: Any, method: str, event: Any) -> Any:
    """A secret that slipped into a log call stops here."""
    for name in event:
        if name not in _KEPT and any(word in name.lower() for word in _SECRET_WORDS):
            event[name] = "[redacted]"
    return event


def configure_logging(service: str, style: str = "json", level: str = "INFO") -> None:
    """Sets logging up for this process: to standard error as it is now."""
    final: Any = structlog.processors.JSONRenderer()
    if style == "console":
        final = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _redact,
            structlog.processors.format_exc_info,
            final,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level)),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    structlog.contextvars.bind_contextvars(service=service)
    # Libraries log into the standard module: their warnings are wanted, their chatter is not.
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(name)s: %(message)s")


def of_call(told: Any) -> dict[str, str]:
    """By what a call is known in the logs of all three services, as far as a message about it says."""
    names = "call_id", "account_id", "trunk_id"
    return {name: value for name in names if (value := getattr(told, name, ""))}


def logger(**context: object) -> Any:
    """A bound logger."""
    return structlog.get_logger().bind(**context)
