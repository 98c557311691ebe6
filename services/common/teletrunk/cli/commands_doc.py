"""The page of the commands, out of the commands."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Literal, get_args, get_origin

import typer

from teletrunk.cli.examples import EXAMPLES
from teletrunk.cli.main import ENTRIES, app


def document() -> str:
    """Markdown: a section for each group of the help, a heading for each command."""
    root: Any = typer.main.get_command(app)
    lines, panel = ["# Commands", "", "`teletrunk COMMAND --help` says the same. Made from the code."], ""
    for entry in ENTRIES:
        if entry.hidden:
            continue
        if entry.panel != panel:
            panel = entry.panel
            lines += ["", f"## {panel}"]
        for path, command in _all(entry.name, root.commands[entry.name].real):
            lines += ["", *_section(path, command)]
    return "\n".join(lines) + "\n"


def _all(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from _all(f"{path} {name}", inner)


def _section(path: str, command: Any) -> Iterator[str]:
    yield f"### teletrunk {path}"
    if command.help:
        yield from ("", inspect.cleandoc(command.help))
    options = [option for option in command.params if not getattr(option, "hidden", False)]
    if options:
        yield from ("", "| option | meaning |", "|---|---|")
    for option in options:
        names = "`, `".join((*option.opts, *option.secondary_opts))
        if not names.startswith("-"):
            names = str(option.name).upper()
        yield f"| `{names}` | {_meaning(option).replace('|', '&#124;')} |"
    if examples := EXAMPLES.get(path):
        yield from ("", "```", *examples, "```")


def _meaning(option: Any) -> str:
    """With its choices, unless it names them itself."""
    listed = () if option.metavar else _choices(option.type_descriptor.annotation)
    choices = ", ".join(f"`{choice}`" for choice in listed)
    return " ".join(filter(None, (f"{choices}." if choices else "", getattr(option, "help", "") or "")))


def _choices(annotation: Any) -> tuple[str, ...]:
    if get_origin(annotation) is list:
        return _choices(*get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return tuple(annotation)
    return get_args(annotation) if get_origin(annotation) is Literal else ()
