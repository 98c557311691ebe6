"""The `teletrunk` command."""

from __future__ import annotations

import contextlib
import sys
from typing import Annotated, Final

import typer

from teletrunk import __version__
from teletrunk.cli.groups import Entry, group_of
from teletrunk.sources import ConfigurationError

_START = "First minutes"
_USE = "Accounts, trunks, calls"
_WRONG = "When something is wrong"
_OFFICE = "Administration"
_FLEET = "Several machines"
_ALONE = "Services one by one"
_CLI = "teletrunk.cli"

# In the order in which people come to need them.
ENTRIES: Final = (
    Entry("demo", f"{_CLI}.running_services", "demo", "Calls with sound, by itself; shows what was heard.", _START),
    Entry("check", f"{_CLI}.check", "check", "Before a start: every setting and where it came from.", _START),
    Entry("up", f"{_CLI}.running_services", "up", "Starts the three services on this machine.", _START),
    Entry("status", f"{_CLI}.status", "status", "One screen: services, accounts, trunks, calls, faults.", _START),
    Entry("account", f"{_CLI}.account", "app", "Telegram accounts.", _USE),
    Entry("trunk", f"{_CLI}.trunk", "app", "Trunks: what a PBX registers with.", _USE),
    Entry("call", f"{_CLI}.call", "app", "Call records.", _USE),
    Entry("doctor", f"{_CLI}.doctor", "doctor", "Looks for what stands in a call's way.", _WRONG),
    Entry("explain", f"{_CLI}.explain", "explain", "What a refusal means, and what to do.", _WRONG),
    Entry("ban", f"{_CLI}.ban", "app", "Addresses that guessed and are turned away.", _WRONG),
    Entry("subscription", f"{_CLI}.subscription", "app", "Plans: how much accounts may call.", _OFFICE),
    Entry("token", f"{_CLI}.administration", "token_app", "Keys to the REST API.", _OFFICE),
    Entry("webhook", f"{_CLI}.administration", "webhook_app", "Where events are sent.", _OFFICE),
    Entry("changes", f"{_CLI}.changes", "changes", "What people have changed.", _OFFICE),
    Entry("backup", f"{_CLI}.backup", "backup", "Writes what is kept into one encrypted file.", _OFFICE),
    Entry("restore", f"{_CLI}.backup", "restore", "Brings a backup into an empty place.", _OFFICE),
    Entry("db", f"{_CLI}.running_services", "database_app", "The Manager's database.", _OFFICE),
    Entry("worker", f"{_CLI}.members", "worker_app", "Workers: run one, or those attached.", _FLEET),
    Entry("storage", f"{_CLI}.members", "storage_app", "Session Storages that are attached.", _FLEET),
    Entry("invitation", f"{_CLI}.invitation", "app", "Invitations that no service has used yet.", _FLEET),
    Entry("join-token", f"{_CLI}.members", "join_app", "Secrets by which services join by themselves.", _FLEET),
    Entry("authority", f"{_CLI}.authority", "app", "What a second Manager needs.", _FLEET),
    Entry("manager", f"{_CLI}.running_services", "manager", "Runs the Manager alone.", _ALONE),
    Entry("session-store", f"{_CLI}.running_services", "session_store", "Runs the Session Storage alone.", _ALONE),
    Entry("sandbox", f"{_CLI}.running_services", "sandbox_app", "A local Telegram, alone; its friend calls.", _ALONE),
    Entry("version", f"{_CLI}.documents", "version", "Prints the version.", _ALONE),
    Entry("errors-doc", f"{_CLI}.documents", "errors_doc", "", hidden=True),
    Entry("metrics-doc", f"{_CLI}.documents", "metrics_doc", "", hidden=True),
)

app = typer.Typer(
    cls=group_of(ENTRIES),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def teletrunk(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Prints the version.")
    ] = False,
) -> None:
    """A Telegram account as a SIP trunk of a PBX."""


def run() -> None:
    """The entry point: mistakes become one line and exit code 2."""
    try:
        app()
    except ConfigurationError as error:
        with contextlib.suppress(OSError):
            sys.stderr.write(f"teletrunk: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    run()
