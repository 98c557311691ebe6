"""teletrunk worker, storage, join-token, whole: what other modules add to the groups is here."""

from __future__ import annotations

import typer

from teletrunk.cli import leaving as _leaving  # noqa: F401  it adds its commands to `worker` and `storage`
from teletrunk.cli.backup import adopt
from teletrunk.cli.join_token import app as join_app
from teletrunk.cli.parts import serve
from teletrunk.cli.service import storage_app, worker_app

__all__ = ("join_app", "storage_app", "worker_app")

storage_app.command("adopt")(adopt)


@worker_app.callback(invoke_without_command=True)
def worker(context: typer.Context) -> None:
    """Without a command: runs the Worker alone."""
    if context.invoked_subcommand is None:
        serve("worker")
