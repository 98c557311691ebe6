"""teletrunk backup, teletrunk restore, teletrunk storage adopt: without a Manager, by the settings of the services."""

from __future__ import annotations

import asyncio
import importlib
import os
import re
import sys
import time
from collections.abc import Callable, Coroutine
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from teletrunk.cli.output import say
from teletrunk.sources import ConfigurationError

if TYPE_CHECKING:
    from teletrunk.backup.archive import Manifest
    from teletrunk.backup.part import Part


class PartName(StrEnum):
    MANAGER = "manager"
    STORAGE = "storage"
    WORKER = "worker"


_PACKAGES = {
    PartName.MANAGER: "teletrunk_manager",
    PartName.STORAGE: "teletrunk_session_store",
    PartName.WORKER: "teletrunk_worker",
}
_WAITS_S = (1, 2, 4, 8, 15)
BackupFile = Annotated[Path, typer.Argument(help="The backup.", show_default=False)]
Passphrase = Annotated[
    Path | None, typer.Option(help="A file with the passphrase in its first line; without it you are asked.")
]
Only = Annotated[list[PartName] | None, typer.Option(help="Only this part; may be given again.")]


def backup(
    file: BackupFile,
    only: Only = None,
    list_contents: Annotated[bool, typer.Option("--list", help="Says what is in FILE instead.")] = False,
    passphrase_file: Passphrase = None,
) -> None:
    """Writes what this machine's services keep into one encrypted file; they may go on meanwhile."""
    os.umask(0o077)
    if list_contents:
        from teletrunk.backup.archive import verify

        _describe(verify(file, _passphrase(passphrase_file, confirm=False))[0])
        return
    from teletrunk.backup.taking import take

    parts = [_part(name) for name in only or (PartName.MANAGER, PartName.STORAGE)]
    if not only and find_spec(_PACKAGES[PartName.WORKER]) and not (worker := _part(PartName.WORKER)).missing():
        parts.append(worker)
    chosen = _passphrase(passphrase_file, confirm=True)
    _describe(_patiently(lambda: take(file, chosen, parts)))
    say(f"Written to {file}. Without its passphrase it is worth nothing.")


def restore(file: BackupFile, only: Only = None, passphrase_file: Passphrase = None) -> None:
    """Brings a backup's parts into an empty place: no DATA, empty databases."""
    os.umask(0o077)  # as the services: databases are nobody else's to read
    from teletrunk.backup.archive import opened
    from teletrunk.backup.restoring import restore as restore_parts
    from teletrunk.config import ServiceSettings, load

    passphrase = _passphrase(passphrase_file, confirm=False)
    with opened(file, passphrase) as archive:
        wanted = only or [PartName(name) for name in archive.manifest.parts]
    parts = [_part(name) for name in wanted]
    data = load(ServiceSettings).data
    manifest = _patiently(lambda: restore_parts(file, passphrase, parts, data))
    say(f"Restored: {', '.join(part.name for part in parts)}, as of {_moment(manifest.made_at)} on {manifest.host}.")
    if PartName.STORAGE in wanted:
        say("Next: start the services, stop the old ones for good if they run, then: teletrunk storage adopt")


def adopt(
    yes: Annotated[bool, typer.Option("--yes", help="Without a question, when nobody answers.")] = False,
) -> None:
    """Lets the sessions of a restored or copied vault run, once the old installation is gone."""

    def confirm(found: str) -> bool:
        say(found)
        if yes:
            return True
        if not sys.stdin.isatty():
            raise ConfigurationError("if the old installation is gone for good, say so: teletrunk storage adopt --yes")
        return typer.confirm("Is the old installation gone for good? Telegram ends sessions that run in two places.")

    if not (said := importlib.import_module("teletrunk_session_store.adopt").adopt(confirm)):
        raise typer.Exit(1)
    say(said)


def _patiently(work: Callable[[], Coroutine[Any, Any, Manifest]]) -> Manifest:
    """From the beginning again while the database is only just not there, as when it was restarted meanwhile."""
    from teletrunk.backup.database_away import DatabaseAway

    for wait in _WAITS_S:
        try:
            return asyncio.run(work())
        except DatabaseAway as error:
            typer.echo(f"teletrunk: {error}: again in {wait} s", err=True)
        time.sleep(wait)
    return asyncio.run(work())


def _part(name: PartName) -> Part:
    package = _PACKAGES[name]
    if find_spec(package) is None:
        raise ConfigurationError(f"{package} is not part of this installation: name by --only what is kept here")
    found: Part = importlib.import_module(f"{package}.backup").part()
    return found


def _passphrase(file: Path | None, *, confirm: bool) -> str:
    from teletrunk.backup.sealed_file import checked_passphrase, passphrase_in

    if file is not None:
        if file.exists() and file.stat().st_mode & 0o004:
            typer.echo(f"teletrunk: {file} can be read by everybody: chmod 600 {file}", err=True)
        return passphrase_in(file)
    if not sys.stdin.isatty():  # one that is piped in is its first line
        if not (line := sys.stdin.readline().rstrip("\n")):
            raise ConfigurationError("nobody can be asked for the passphrase here: give --passphrase-file")
        return checked_passphrase(line)
    return checked_passphrase(typer.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm))


def _describe(manifest: Manifest) -> None:
    say(f"Backup of {_moment(manifest.made_at)}, made on {manifest.host} by Teletrunk {manifest.version}")
    for name, part in manifest.parts.items():
        schema = f"schema {part.schema}, " if part.schema else ""
        rows = ", ".join(_counted(count, table) for table, count in part.tables.items() if count)
        say(f"  {name}: {schema}{part.files} files{', ' if rows else ''}{rows}")
        if part.note:
            say(f"    {part.note}")


def _counted(rows: int, table: str) -> str:
    name = table.replace("_", " ")
    return f"{rows} {re.sub('(?<=ss)es$|s$', '', name) if rows == 1 else name}"


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(at))
