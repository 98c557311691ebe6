"""teletrunk authority ...: moves what all Managers share from the first to the others."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated, Any

import typer

from teletrunk.cli.output import say
from teletrunk.sources import ConfigurationError

app = typer.Typer(no_args_is_help=True)

PassphraseFile = Annotated[
    Path | None, typer.Option(help="A file with the passphrase in its first line; asked for when not given.")
]


@app.callback()
def authority() -> None:
    """The authority that signs the services' certificates, and the key that seals trunks' passwords."""


@app.command("export")
def export(
    file: Annotated[Path, typer.Argument(help="Made for its owner alone; must not exist.")],
    passphrase_file: PassphraseFile = None,
) -> None:
    """On the first Manager's machine: writes both into one file, sealed with a passphrase."""
    say(_service().export(file, _passphrase(passphrase_file, confirm=True)))


@app.command("import")
def take(
    file: Annotated[Path, typer.Argument(help="What `teletrunk authority export` has written.")],
    passphrase_file: PassphraseFile = None,
) -> None:
    """On another Manager's machine, before its first start; overwrites nothing."""
    say(_service().take(file, _passphrase(passphrase_file, confirm=False)))


def _service() -> Any:
    return importlib.import_module("teletrunk_manager.authority_file")  # by name: the kernel imports no service


def _passphrase(file: Path | None, *, confirm: bool) -> str:
    if file is None:
        return str(typer.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm))
    try:
        return file.read_text().partition("\n")[0]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--passphrase-file: {file} cannot be read: {error}") from None
