"""The `teletrunk` command."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from teletrunk import __version__, running
from teletrunk.cli import (
    account,
    administration,
    authority,
    backup,
    ban,
    call,
    join_token,
    service,
    subscription,
    trunk,
)
from teletrunk.cli import leaving as _leaving  # noqa: F401  it adds its commands to `worker` and `storage`
from teletrunk.cli.doctor import doctor
from teletrunk.cli.errors_doc import document
from teletrunk.cli.explain import explain
from teletrunk.cli.metrics_doc import document as metrics_document
from teletrunk.cli.stack import SERVICES, Stack
from teletrunk.config import ConfigurationError, ServiceSettings, checked_address, load
from teletrunk.own_address import own_address

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
app.add_typer(join_token.app, name="join-token", help="Secrets by which services join by themselves.")
app.add_typer(authority.app, name="authority", help="What a second Manager needs.")
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


def _part(package: str, module: str) -> ModuleType:
    """A part that not every installation has. Raises `ConfigurationError`."""
    if find_spec(package) is None:
        extra = package.removeprefix("teletrunk_").replace("_", "-")
        raise ConfigurationError(
            f"{package} is not part of this installation: pip install 'teletrunk[{extra}]', or its image"
        )
    return importlib.import_module(f"{package}.{module}")


def _serve(name: str) -> None:
    _part(SERVICES[name], "__main__").main()


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
    typer.echo(_part(SERVICES["manager"], "upgrade").upgrade())


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
    _part("teletrunk_sandbox", "demo").run(output, report)


@app.command()
def sandbox(
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where the data centre listens.")] = "127.0.0.1:8443",
    reflector_port: Annotated[int, typer.Option(help="UDP port of the calls' sound, on the same host.")] = 8444,
    control_port: Annotated[int, typer.Option(help="For tests, on loopback; 0: any free one.")] = 0,
    public_address: Annotated[
        str, typer.Option(help="The IP by which others reach both, when it is not the one that it listens on.")
    ] = "",
    key_file: Annotated[Path | None, typer.Option(help="Its RSA key, PEM; made when not given.")] = None,
    code: Annotated[str, typer.Option(help="Sent at every sign-in, instead of a fresh one.")] = "",
) -> None:
    """Runs the local Telegram alone. DATA/sandbox gets its key (rsa.pub.pem) and sign-in codes (codes/PHONE)."""
    try:
        host, _, port = checked_address(listen).rpartition(":")
    except ValueError as error:
        raise ConfigurationError(f"--listen: {error}") from None
    directory = load(ServiceSettings).data / "sandbox"
    running.make_directory(directory)
    settings = _part("teletrunk_sandbox", "server").Settings(
        directory, host, int(port), control_port, reflector_port, public_address or own_address(host), key_file, code
    )
    _part("teletrunk_sandbox", "alone").run(settings)


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
