"""The command's groups, imported when they are used: `teletrunk --help` names them all and loads none."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from teletrunk.cli.examples import EXAMPLES


@dataclass(frozen=True)
class Entry:
    """A command or a group of them: `attribute` of `module` is a Typer or a function."""

    name: str
    module: str
    attribute: str
    help: str
    panel: str = ""
    hidden: bool = False


class Later(TyperCommand):
    """Stands in the list for what is loaded when it is called."""

    def __init__(self, entry: Entry) -> None:
        super().__init__(entry.name, help=entry.help, hidden=entry.hidden, rich_help_panel=entry.panel or None)
        self._entry = entry

    @cached_property
    def real(self) -> Any:
        found: Any = getattr(importlib.import_module(self._entry.module), self._entry.attribute)
        if not isinstance(found, typer.Typer):
            alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            alone.command(self._entry.name)(found)
            found = alone
        command: Any = typer.main.get_command(found)
        command.name = self._entry.name
        _give_examples(command, self._entry.name)
        _keep_names_whole(command)
        return command

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        return self.real.make_context(info_name, args, parent, **extra)


def _give_examples(command: Any, path: str) -> None:
    if examples := EXAMPLES.get(path):
        command.epilog = "\n\n".join(["[bold]Examples[/bold]", *examples])
    for name, inner in getattr(command, "commands", {}).items():
        _give_examples(inner, f"{path} {name}")


def _keep_names_whole(command: Any) -> None:
    """Where help is shown: what draws it is slow to import."""
    draw = command.format_help

    def format_help(*of: Any) -> None:
        from teletrunk.cli import whole_names

        whole_names.use()
        draw(*of)

    command.format_help = format_help
    for inner in getattr(command, "commands", {}).values():
        _keep_names_whole(inner)


def group_of(entries: Iterable[Entry]) -> type[TyperGroup]:
    """A group class with these entries, in this order."""

    class Group(TyperGroup):
        def __init__(self, **attributes: Any) -> None:
            attributes["commands"] = {entry.name: Later(entry) for entry in entries}
            super().__init__(**attributes)

    return Group
