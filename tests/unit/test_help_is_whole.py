"""Help at a terminal of 80 columns: what people copy out of it is not cut."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer
from teletrunk.cli.main import app
from typer.testing import CliRunner


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    real = getattr(command, "real", command)
    yield path, real
    for name, inner in getattr(real, "commands", {}).items():
        yield from commands(inner, (*path, name))


def test_no_option_s_name_or_help_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    seen = 0
    for path, command in commands(typer.main.get_command(app)):
        shown = CliRunner().invoke(app, [*path, "--help"])
        assert shown.exit_code == 0, path
        assert "\N{HORIZONTAL ELLIPSIS}" not in shown.stdout, path
        words = set(shown.stdout.replace(",", " ").split())
        names = {name for option in command.params for name in (*option.opts, *option.secondary_opts) if name[0] == "-"}
        assert names <= words, (path, names - words)
        seen += len(names)
    assert seen > 100
