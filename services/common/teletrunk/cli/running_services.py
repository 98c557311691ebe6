"""teletrunk up, manager, session-store, db, demo, sandbox: what runs on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from teletrunk.cli.parts import SERVICES, part, serve
from teletrunk.sources import ConfigurationError, checked_address

if TYPE_CHECKING:
    from teletrunk.cli.stack import Stack

database_app = typer.Typer(no_args_is_help=True)
sandbox_app = typer.Typer()


def manager() -> None:
    """Runs the Manager alone."""
    serve("manager")


def session_store() -> None:
    """Runs the Session Storage alone."""
    serve("session-store")


@database_app.callback()
def database() -> None:
    """The Manager's database."""


@database_app.command("upgrade")
def upgrade() -> None:
    """Brings the database to this version's schema; for Managers that are told not to do it themselves."""
    typer.echo(part(SERVICES["manager"], "upgrade").upgrade())


def up(
    data: Annotated[Path | None, typer.Option(help="Directory for everything that is kept.")] = None,
    sandbox: Annotated[bool, typer.Option("--sandbox", help="With a local Telegram, to try it out.")] = False,
) -> None:
    """Starts the three services on this machine; Ctrl-C stops them."""
    from teletrunk.cli.check import unknown
    from teletrunk.cli.stack import Stack
    from teletrunk.config import ServiceSettings, load

    if data is not None:
        os.environ["TELETRUNK_DATA"] = str(data)
    for text in unknown():
        _say(f"Not used: {text}")
    asyncio.run(_up(Stack(load(ServiceSettings).data, sandbox=sandbox, tell=_say)))


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # a terminal that is gone keeps nobody running
        typer.echo(text)


async def _up(stack: Stack) -> None:
    from teletrunk import running

    stop = asyncio.Event()
    signals = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup sets it
        signals.append(signal.SIGHUP)  # the terminal is closed: nobody would find the services again
    for name in signals:
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    running.make_directory(stack.data)
    running.hold_alone(stack.data, "stack")  # a second one would take the first one's Manager for its own
    _say("Starting the Manager, the Session Storage and the Worker...")
    await stack.start()
    try:
        for attached in await stack.attached():
            if attached.kind == "worker":
                tls = f" and at {attached.sip_tls_address} (over TLS)" if attached.sip_tls_address else ""
                _say(f"PBXs register at {attached.address} (SIP over UDP or TCP){tls}")
        _say(f"Data and logs are in {stack.data}")
        phone = "+PHONE"
        if stack.sandbox:
            await stack.start_people()
            phone = "+15550100"
            _say(f"Local Telegram: sign-in codes are in {stack.data / 'logs' / 'sandbox.log'};")
            _say(
                "@friend (+15550199) answers every call with a tone; `teletrunk sandbox call` lets the friend call you"
            )
        add = f"teletrunk account add {phone}, then teletrunk trunk add {phone}"
        _say(f"Next: {'teletrunk status' if await stack.has_accounts() else add}. Ctrl-C stops everything.")
        await stop.wait()
    finally:
        _say("Stopping...")
        await stack.stop()


def demo(
    report: Annotated[Path | None, typer.Option(help="Write the figures as JSON to this file.")] = None,
    output: Annotated[Path, typer.Option(help="Where recordings and pictures go.")] = Path("demo-output"),
) -> None:
    """Calls with sound both ways between a SIP phone and a local Telegram user; shows what was heard."""
    # By name: no service and no part of the shared kernel depends on the sandbox.
    part("teletrunk_sandbox", "demo").run(output, report)


@sandbox_app.callback(invoke_without_command=True)
def sandbox(
    context: typer.Context,
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where the data centre listens.")] = "127.0.0.1:8443",
    reflector_port: Annotated[int, typer.Option(help="UDP port of the calls' sound, on the same host.")] = 8444,
    control_port: Annotated[int, typer.Option(help="For tests, on loopback; 0: any free one.")] = 0,
    public_address: Annotated[
        str, typer.Option(help="The IP by which others reach both, when it is not the one that it listens on.")
    ] = "",
    key_file: Annotated[Path | None, typer.Option(help="Its RSA key, PEM; made when not given.")] = None,
    code: Annotated[str, typer.Option(help="Sent at every sign-in, instead of a fresh one.")] = "",
) -> None:
    """Without a command: runs the local Telegram alone. DATA/sandbox gets its key (rsa.pub.pem) and sign-in codes
    (codes/PHONE)."""
    if context.invoked_subcommand is not None:
        return
    from teletrunk import running
    from teletrunk.config import ServiceSettings, load
    from teletrunk.own_address import own_address

    try:
        host, _, port = checked_address(listen).rpartition(":")
    except ValueError as error:
        raise ConfigurationError(f"--listen: {error}") from None
    directory = load(ServiceSettings).data / "sandbox"
    running.make_directory(directory)
    settings = part("teletrunk_sandbox", "server").Settings(
        directory, host, int(port), control_port, reflector_port, public_address or own_address(host), key_file, code
    )
    part("teletrunk_sandbox", "alone").run(settings)


@sandbox_app.command("call")
def sandbox_call() -> None:
    """Lets the local Telegram's friend call you: the account +15550100, and so the PBX that is registered for it."""
    from teletrunk.cli.client import fail
    from teletrunk.cli.place import Place

    try:
        answered = asyncio.run(_called_by_friend(Place.read().data / "sandbox" / "people.sock"))
    except OSError:
        fail("no friend is there: start `teletrunk up --sandbox` first, with the same TELETRUNK_DATA")
    raise typer.Exit(0 if answered else 1)


async def _called_by_friend(socket: Path) -> bool:
    """Prints what the friend tells until the call is over."""
    reader, writer = await asyncio.open_unix_connection(socket)
    writer.write(b"call\n")
    answered = False
    while line := (await reader.readline()).decode():
        if text := line.strip():
            typer.echo(text)
        answered = answered or text.startswith("answered")
    writer.close()
    return answered
