"""Moments as people type and read them."""

from __future__ import annotations

import datetime
import time
from typing import Annotated, Final

import typer

DAYS: Final = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]
_SHOWN: Final = "2026-11-01 or 2026-11-01T08:30:00"
From = Annotated[
    datetime.datetime | None,
    typer.Option("--from", "--since", formats=DAYS, metavar="DAY", help=f"The first day or moment: {_SHOWN}."),
]
Until = Annotated[
    datetime.datetime | None,
    typer.Option("--until", formats=DAYS, metavar="DAY", help="Before this day or moment."),
]


def unix(moment: datetime.datetime | None) -> float:
    """0 for none."""
    return moment.timestamp() if moment else 0.0


def told(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
