"""Moments as people type and read them."""

from __future__ import annotations

import datetime
import time
from typing import Annotated, Final

import typer

_SHOWN: Final = "2026-11-01 or 2026-11-01T08:30:00"


def typed(text: str) -> datetime.datetime:
    """A day, or a moment of one, by this machine's clock."""
    try:
        return datetime.datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no day or moment: write {_SHOWN}") from None


From = Annotated[
    datetime.datetime | None,
    typer.Option("--from", "--since", parser=typed, metavar="DAY", help=f"The first day or moment: {_SHOWN}."),
]
Until = Annotated[
    datetime.datetime | None,
    typer.Option("--until", parser=typed, metavar="DAY", help="Before this day or moment."),
]

End = Annotated[datetime.datetime | None, typer.Option(parser=typed, metavar="DAY", help=f"Its end: {_SHOWN}.")]


def unix(moment: datetime.datetime | None) -> float:
    """0 for none."""
    return moment.timestamp() if moment else 0.0


def told(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
