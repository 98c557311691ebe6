"""teletrunk errors-doc, metrics-doc, version: for makers of Teletrunk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from teletrunk import __version__


def version() -> None:
    """Prints the version."""
    typer.echo(__version__)


def errors_doc(output: Annotated[Path, typer.Argument()] = Path("docs/errors.md")) -> None:
    """Writes the page of errors out of the table."""
    from teletrunk.cli.errors_doc import document

    output.write_text(document())


def metrics_doc(output: Annotated[Path, typer.Argument()] = Path("docs/metrics.md")) -> None:
    """Writes the page of metrics out of their definitions."""
    from teletrunk.cli.metrics_doc import document

    output.write_text(document())
