"""The `teletrunk` command itself: how it starts, what its help says, and that it asks before what cannot be undone."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from teletrunk import __version__
from teletrunk.cli.main import ENTRIES, app
from teletrunk.config import ConfigurationError
from teletrunk_manager.db.database import Database
from typer.testing import CliRunner

_COMMAND = [sys.executable, "-m", "teletrunk.cli.main"]
_HEAVY = ("pydantic_settings", "cryptography", "httpx", "prometheus_client", "structlog", "fastapi", "sqlalchemy")


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.stdout, result.stderr


_BARE_S = 0.021  # what Python alone takes on the machine that the limits are for, when nothing else runs


def _cpu_s(command: list[str]) -> float:
    """What a command costs: the time of a processor, for a busy machine says nothing by the clock."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)


@pytest.mark.parametrize(("arguments", "most_s"), [(["--help"], 0.2), (["trunk", "list"], 0.3)])
def test_it_starts_at_once(
    arguments: list[str], most_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELETRUNK_DATA", str(tmp_path))
    monkeypatch.setenv("TELETRUNK_MANAGER_ADDRESS", "127.0.0.1:1")
    both = [(_cpu_s([sys.executable, "-c", "pass"]), _cpu_s([*_COMMAND, *arguments])) for _ in range(10)]
    slower = max(1.0, min(bare for bare, _ in both) / _BARE_S)  # others' work makes ours dearer, too
    assert min(ours for _, ours in both) < most_s * slower


@pytest.mark.parametrize("arguments", [["--help"], ["trunk", "list"], ["call", "list"], ["account", "list"]])
def test_what_is_not_used_is_not_imported(arguments: list[str], tmp_path: Path) -> None:
    environment = {**os.environ, "TELETRUNK_DATA": str(tmp_path), "TELETRUNK_MANAGER_ADDRESS": "127.0.0.1:1"}
    asked = (
        "import sys, atexit\n"
        f"atexit.register(lambda: print('LOADED', *set(sys.modules) & set({_HEAVY!r})))\n"
        f"sys.argv[1:] = {arguments!r}\n"
        "from teletrunk.cli.main import run\nrun()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, text=True, env=environment, check=False, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "LOADED", done.stdout[-200:] + done.stderr


def test_help_and_version_are_where_people_look() -> None:
    assert run("-h") == run("--help")
    assert run("trunk", "-h")[0] == run("trunk", "add", "-h")[0] == 0
    assert run("--version")[1] == f"{__version__}\n"


def test_the_groups_stand_in_the_order_of_use() -> None:
    _, out, _ = run("--help")
    titles = re.findall(r"─ ([A-Z][\w ,]+) ─", out)
    assert titles == ["Options", *dict.fromkeys(entry.panel for entry in ENTRIES if entry.panel)]
    rows = re.findall(r"^│ ([a-z][a-z-]+) ", out, flags=re.MULTILINE)
    assert rows == [entry.name for entry in ENTRIES if not entry.hidden]


def test_help_has_examples() -> None:
    assert "teletrunk account add +15550100" in run("account", "add", "--help")[1]
    assert "teletrunk explain 486" in run("explain", "--help")[1]


def test_it_asks_before_what_cannot_be_undone() -> None:
    status, out, errors = run("account", "remove", "+1555")  # nobody is at the terminal
    assert (status, out, errors.count("\n")) == (1, "", 1)
    assert "say --yes" in errors


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("foo", "TELETRUNK_API_URL: foo is no address of a Manager: write https://HOST:PORT"),
        ("http://192.0.2.1", "the token would cross the network in plain text"),
        ("http://127.0.0.1:1", "the Manager at http://127.0.0.1:1 does not answer: nobody listens there"),
    ],
)
def test_a_manager_that_cannot_be_reached_is_told_without_the_librarys_words(
    url: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELETRUNK_API_URL", url)
    monkeypatch.setenv("TELETRUNK_API_TOKEN", "tt_x")
    status, out, errors = run("trunk", "list")
    assert (status, out, errors.count("\n")) == (1, "", 1)
    assert said in errors


@pytest.mark.parametrize("url", ["postgres://me@host/x", "mysql+none://host/x"])
def test_a_kind_of_database_that_is_none_is_told_with_those_there_are(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"no such kind of database: write postgresql\+asyncpg://"):
        Database(url)


CHOICES = [
    ("trunk add @ann --dtmf ", ["any", "rfc4733", "info", "inband"]),
    ("trunk change office --srtp r", ["required", "required-insecure"]),
    ("trunk add @ann --hold ", ["silence", "music"]),
    ("trunk add @ann --kind ", ["registers", "outbound", "peer"]),
    ("token add ann --role ", ["owner", "administrator", "viewer"]),
    ("call list --direction ", ["to-telegram", "to-sip"]),
    ("call export --format ", ["csv", "json"]),
    ("subscription change small --unlimited call", ["call-seconds"]),
    ("changes --what tr", ["trunks", "trusted_addresses"]),
]
LISTS = [
    ("trunk add @ann --codecs PCMU,PCM", ["PCMU,PCMA"]),
    ("trunk change office --transports udp,", ["udp,tcp", "udp,tls"]),
    ("trunk change office --pbx-transport ", ["udp", "tcp", "tls"]),
    ("explain worker-f", ["worker-full"]),
    ("call list --row worker-f", ["worker-full"]),
]


@pytest.mark.parametrize(("typed", "offered"), CHOICES + LISTS, ids=str)
def test_the_shell_completes_what_is_a_choice(typed: str, offered: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a Manager: nobody is asked."""
    words = f"teletrunk {typed}".split(" ")
    monkeypatch.setenv("COMP_WORDS", " ".join(words))
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    monkeypatch.setenv("_TELETRUNK_COMPLETE", "complete_bash")
    out = CliRunner().invoke(app, [], prog_name="teletrunk").stdout
    assert out.split() == offered


@pytest.mark.parametrize("typed", [typed for typed, _ in CHOICES])
def test_help_shows_the_choices_and_others_are_refused(typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    *command, option, _ = typed.split(" ")
    said = run(*command, "--help")[1]
    status, _, errors = run(*command, option, "nonsense")
    choices = re.findall(r"'([\w-]+)'", errors.partition("is not one of")[2])
    assert status == 2 and len(choices) > 1
    assert set(choices) <= set(re.findall(r"[\w-]+", said))


def test_each_option_of_a_trunk_is_added_and_changed_alike() -> None:
    """But for what names it."""
    added, changed = (run("trunk", command, "--help")[1] for command in ("add", "change"))
    options = [set(re.findall(r"(--[a-z0-9-]+)", said.partition("Options")[2])) for said in (added, changed)]
    assert options[0] - options[1] == {"--login"} and not options[1] - options[0] and len(options[1]) > 30
