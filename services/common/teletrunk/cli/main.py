"""The `teletrunk` command."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from teletrunk import __version__, running
from teletrunk.cli import account, administration, backup, ban, call, service, subscription, trunk
from teletrunk.cli.doctor import doctor
from teletrunk.cli.errors_doc import document
from teletrunk.cli.explain import explain
from teletrunk.cli.metrics_doc import document as metrics_document
from teletrunk.cli.stack import SERVICES, Stack
from teletrunk.config import ConfigurationError, ServiceSettings, load

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A Telegram account as a SIP trunk of a PBX.",
)
app.add_typer(account.app, name="account", help="Telegram accounts.")
app.add_typer(trunk.app, name="trunk", help="Trunks: what a PBX registers with.")
app.add_typer(service.worker_app, name="worker", help="Workers: run one, or list those attached.")
app.add_typer(service.storage_app, name="storage", help="Session Storages that are attached.")
app.add_typer(call.app, name="call", help="Call records.")
app.add_typer(subscription.app, name="subscription", help="Plans: how much accounts may call.")
app.add_typer(ban.app, name="ban", help="Addresses that guessed and are turned away.")
database_app = typer.Typer(no_args_is_help=True)
app.add_typer(database_app, name="db", help="The Manager's database.")
app.add_typer(administration.token_app, name="token", help="Keys to the REST API.")
app.add_typer(administration.webhook_app, name="webhook", help="Where records of calls are sent.")
app.command()(administration.changes)
app.command()(explain)
app.command()(doctor)
app.command()(backup.backup)
app.command()(backup.restore)
service.storage_app.command("adopt")(backup.adopt)


def _serve(name: str) -> None:
    importlib.import_module(f"{SERVICES[name]}.__main__").main()


@app.command()
def manager() -> None:
    """Runs the Manager alone."""
    _serve("manager")


@app.command("session-store")
def session_store() -> None:
    """Runs the Session Storage alone."""
    _serve("session-store")


@database_app.command("upgrade")
def upgrade() -> None:
    """Brings the database to this version's schema; for Managers that are told not to do it themselves."""
    typer.echo(importlib.import_module(f"{SERVICES['manager']}.upgrade").upgrade())


@database_app.callback()
def database() -> None:
    """The Manager's database."""


@service.worker_app.callback(invoke_without_command=True)
def worker(context: typer.Context) -> None:
    """Without a command: runs the Worker alone."""
    if context.invoked_subcommand is None:
        _serve("worker")


@app.command()
def version() -> None:
    """Prints the version."""
    typer.echo(__version__)


@app.command("errors-doc", hidden=True)
def errors_doc(output: Annotated[Path, typer.Argument()] = Path("docs/errors.md")) -> None:
    """Writes the page of errors out of the table."""
    output.write_text(document())


@app.command("metrics-doc", hidden=True)
def metrics_doc(output: Annotated[Path, typer.Argument()] = Path("docs/metrics.md")) -> None:
    """Writes the page of metrics out of their definitions."""
    output.write_text(metrics_document())


@app.command()
def up(
    data: Annotated[Path | None, typer.Option(help="Directory for everything that is kept.")] = None,
    sandbox: Annotated[bool, typer.Option("--sandbox", help="With a local Telegram, to try it out.")] = False,
) -> None:
    """Starts the three services on this machine; Ctrl-C stops them."""
    if data is not None:
        os.environ["TELETRUNK_DATA"] = str(data)
    asyncio.run(_up(Stack(load(ServiceSettings).data, sandbox=sandbox)))


async def _up(stack: Stack) -> None:
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    running.make_directory(stack.data)
    running.hold_alone(stack.data, "stack")  # a second one would take the first one's Manager for its own
    typer.echo("Starting the Manager, the Session Storage and the Worker...")
    await stack.start()
    try:
        for attached in await stack.attached():
            if attached.kind == "worker":
                typer.echo(f"PBXs register at {attached.address} (SIP over UDP or TCP)")
        typer.echo(f"Data and logs are in {stack.data}")
        phone = "+PHONE"
        if stack.sandbox:
            await stack.start_people()
            phone = "+15550100"
            typer.echo(f"Local Telegram: sign-in codes are in {stack.data / 'logs' / 'sandbox.log'};")
            typer.echo("@friend (+15550199) answers every call with a tone")
        typer.echo(f"Next: teletrunk account add {phone}, then teletrunk trunk add {phone}. Ctrl-C stops everything.")
        await stop.wait()
    finally:
        with contextlib.suppress(OSError):  # a terminal that is gone keeps nobody running
            typer.echo("Stopping...")
        await stack.stop()


@app.command()
def demo(
    report: Annotated[Path | None, typer.Option(help="Write the figures as JSON to this file.")] = None,
    output: Annotated[Path, typer.Option(help="Where recordings and pictures go.")] = Path("demo-output"),
) -> None:
    """Calls with sound both ways between a SIP phone and a local Telegram user; shows what was heard."""
    # By name: no service and no part of the shared kernel depends on the sandbox.
    importlib.import_module("teletrunk_sandbox.demo").run(output, report)


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
