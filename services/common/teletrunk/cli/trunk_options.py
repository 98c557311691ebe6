"""A trunk's options on the command line: one option of `trunk add` and `trunk change` each, and their words."""

from __future__ import annotations

from typing import Annotated

import typer

from teletrunk.v1 import trunk_pb2 as pb

Off = Annotated[bool | None, typer.Option("--off/--on", help="Switched off: nothing is let in, and nothing rung.")]
Transports = Annotated[
    str | None, typer.Option("--transports", help="udp, tcp, tls: what the PBX may come by; all if not given.")
]


def given(off: bool | None, transports: str | None) -> tuple[pb.TrunkOptions, list[str]]:
    """What was given, and the names of it; an empty list empties what is set."""
    options, names = pb.TrunkOptions(), []
    if off is not None:
        options.off = off
        names.append("off")
    if transports is not None:
        options.transports.extend(_list(transports))
        names.append("transports")
    return options, names


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def told(options: pb.TrunkOptions) -> list[str]:
    """A line each, of those that are not as they are by default."""
    lines = []
    if options.off:
        lines.append("switched off: nothing is let in, and nothing rung")
    if options.transports:
        lines.append(f"transports: {', '.join(options.transports)}")
    return lines
