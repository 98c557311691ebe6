"""What the README and the pages for operators tell people to type and to set is what there is."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from teletrunk.cli.examples import EXAMPLES
from teletrunk.cli.main import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = {
    path.name: path.read_text()
    for path in [ROOT / "docs" / "tutorial.md", *sorted((ROOT / "docs" / "operations").glob("*.md"))]
}


def _code(page: str) -> Iterator[str]:
    """A page's code: lines of blocks, and spans in sentences."""
    for number, part in enumerate(re.split(r"^ *```.*$", page, flags=re.MULTILINE)):
        yield from part.splitlines() if number % 2 else re.findall(r"`([^`\n]+)`", part)


def _commands(page: str) -> list[str]:
    """`teletrunk ...` without comments and with nothing but settings before it; `a|b` is written out."""
    found = set()
    for code in _code(page):
        words = code.partition("#")[0].split()
        names = [number for number, word in enumerate(words) if re.fullmatch(r"(\.venv/bin/)?teletrunk", word)]
        if names and all("=" in word for word in words[: names[0]]):
            found |= set(_written_out(words[names[0] + 1 :]))
    return sorted(found)


def _written_out(words: list[str]) -> Iterator[str]:
    if choice := next((word for word in words if "|" in word), None):
        for one in choice.split("|"):
            yield from _written_out([one if word == choice else word for word in words])
    elif words:
        yield " ".join(word for word in words if word not in ("...",)).replace("...", "")


def _inside() -> list[str]:
    """The operators' commands, most of which `kubectl exec ... --` or the like runs in a container."""
    lines = [line for page in PAGES.values() for line in _commands(_without_what_runs_them(page))]
    return sorted(set(lines))


def _without_what_runs_them(page: str) -> str:
    return re.sub(r"^ *(kubectl|docker|podman) .*? (--|exec \S+|manager) (?=teletrunk )", "", page, flags=re.MULTILINE)


def _found(line: str) -> tuple[Any, list[str]]:
    """The command that a line names, and the words after it."""
    command: Any = typer.main.get_command(app)
    words = shlex.split(line)
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"teletrunk {line}: there is no {words[0]}"
        command = command.commands[words.pop(0)]
        command = getattr(command, "real", command)
    return command, words


_EXAMPLES = [line.removeprefix("teletrunk ") for lines in EXAMPLES.values() for line in lines if "watch" not in line]


@pytest.mark.parametrize("line", [*_commands(README), *_inside(), *_EXAMPLES])
def test_a_command_exists(line: str) -> None:
    command, words = _found(line)
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    given = {word for word in words if word.startswith("--")}
    assert given <= options, f"teletrunk {line}"


def test_there_are_commands() -> None:
    assert len([*_commands(README), *_inside()]) > 40
    assert {"account add +15550100", "trunk add +15550100", "worker assign ACCOUNT WORKER"} <= set(_inside())


def test_a_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = {match for code in _code(README) for match in re.findall(r"^make ([a-z-]+)", code)}
    assert {"demo", "test"} <= named <= targets


def test_a_setting_exists() -> None:
    """Every variable is read somewhere: `TELETRUNK_X` is the field `x` of some service's settings."""
    sources = "\n".join(path.read_text() for path in [*ROOT.glob("services/**/*.py"), *ROOT.glob("deploy/compose/*")])
    pages = "\n".join([README, *PAGES.values()])
    for name in set(re.findall(r"TELETRUNK_([A-Z0-9_]+[A-Z0-9])\b", pages)):
        assert f"TELETRUNK_{name}" in sources or re.search(rf"^    {name.lower()}: ", sources, re.MULTILINE), name
