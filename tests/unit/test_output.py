"""Tables: colours of state in a terminal that wants them, and no line that is wider than it is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from teletrunk.errors import TABLE

from tests.walk.terminal import Terminal

_PROGRAM = """
from teletrunk.cli.output import table
rows = [["worker", "w" * 30, "192.0.2.1:50601", "attached"], ["storage", "s" * 60, "192.0.2.2:50601", "away for 9 s"]]
table("services", ["service", "name", "address", "state"], rows)
table("trunks", ["trunk", "PBX"], [["active", "registered at 192.0.2.1:5060"], ["a", "192.0.2.9:5060: down"]])
"""
_REFUSALS = f"{sys.executable} -m teletrunk.cli.main explain"
_RED, _GREEN = "\x1b[31m", "\x1b[32m"


async def _shown(command: str = f"{sys.executable} -c '{_PROGRAM}'", **environment: str) -> Terminal:
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    terminal = Terminal(command, Path.cwd(), kept | environment)
    assert await terminal.ended() == 0, terminal.text
    return terminal


async def test_states_have_colours_in_a_terminal_of_80_columns() -> None:
    terminal = await _shown()
    assert f"{_GREEN}attached" in terminal.raw and f"{_RED}away for 9 s" in terminal.raw
    assert f"{_GREEN}registered at 192.0.2.1:5060" in terminal.raw and f"{_RED}192.0.2.9:5060: down" in terminal.raw
    assert f"{_GREEN}active" not in terminal.raw, "a trunk that is called so"
    assert max(map(len, terminal.text.splitlines())) <= 80


async def test_there_are_none_when_nobody_wants_them() -> None:
    assert not {_GREEN, _RED} & {part for part in (_GREEN, _RED) if part in (await _shown(NO_COLOR="1")).raw}


@pytest.mark.parametrize("width", ["40", "80"])
def test_what_is_piped_has_neither_colours_nor_folds(width: str) -> None:
    command = [sys.executable, "-c", _PROGRAM]
    out = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": width}
    ).stdout
    assert "\x1b" not in out and "s" * 60 in out


async def test_what_people_type_again_is_whole_in_80_columns() -> None:
    terminal = await _shown(_REFUSALS)
    assert all(re.search(rf" {row} ", terminal.text) for row in TABLE), terminal.text
    assert max(map(len, terminal.text.splitlines())) <= 80
