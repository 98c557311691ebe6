"""What the command prints: one JSON document, or text for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]
_PIPED_WIDTH = 200  # nothing is cut off for the programs that read it
_TYPED_COLUMNS = frozenset({"id", "login", "setting"})  # what people type again stays on one line
# The states that tables show, by the columns that show them: colours help the eye, and say nothing that no word says.
_STATE_COLUMNS = frozenset({"state", "session", "PBX"})
_COLOURS = {
    "green": ("active", "attached", "registered at", "up"),
    "yellow": ("connecting", "held back", "draining", "full", "not registered", "switched off"),
    "red": ("away", "storage is away", "unauthorized", "down"),
}


def show(message: Any, as_json: bool, human: Callable[[], None]) -> None:
    """Prints a protobuf message as one JSON document, or lets `human` print."""
    if as_json:
        from google.protobuf import json_format

        fields = json_format.MessageToDict(
            message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        sys.stdout.write(json.dumps(fields) + "\n")
    else:
        human()


def say(text: str) -> None:
    """Prints text that may hold what others wrote."""
    typer.echo("\n".join(plain(line) for line in text.split("\n")))


def counted(number: float, thing: str) -> str:
    """`1 day`, `30 days`."""
    return f"{number:g} {thing}{'' if number == 1 else 's'}"


def plain(text: str) -> str:
    """Without control characters: a name that Telegram's users choose must not command the terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table for people; says so when it is empty."""
    if not rows:
        typer.echo(f"No {title}.")
        return
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    headings = [Column(name, no_wrap=name in _TYPED_COLUMNS, overflow="fold") for name in columns]
    drawn = Table(
        *headings, box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0)
    )  # narrow: terminals have 80 columns
    for row in rows:
        drawn.add_row(*(Text(plain(cell), _colour(column, cell)) for column, cell in zip(columns, row, strict=True)))
    Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH).print(drawn)


def _colour(column: str, cell: str) -> str:
    """rich drops it where NO_COLOR is set, and where nobody looks at a terminal."""
    state = cell.rpartition(": ")[2] if column == "PBX" else cell  # of a PBX that is reached: `ADDRESS: up`
    known = (colour for colour, states in _COLOURS.items() if state.startswith(states))
    return next(known, "") if column in _STATE_COLUMNS else ""


_SHORTEST = 6


def short(ids: Sequence[str]) -> dict[str, str]:
    """The ends of ids, as long as it takes to tell them apart: they can be typed in place of the whole."""
    longest = max(map(len, ids), default=0)
    for length in range(_SHORTEST, longest):
        if len({one[-length:] for one in ids}) == len(set(ids)):
            return {one: one[-length:] for one in ids}
    return {one: one for one in ids}
