"""The data centre as a whole: what it is made of, how it starts and stops."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from collections.abc import Callable, Collection, Coroutine
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import structlog
from pyrogram import raw

from teletrunk_sandbox import authorizations, config, contacts, keys, login_tokens, phone, twists
from teletrunk_sandbox.accounts import Accounts
from teletrunk_sandbox.auth import SignIns
from teletrunk_sandbox.calls import Calls
from teletrunk_sandbox.clock import Clock
from teletrunk_sandbox.commands import Commands
from teletrunk_sandbox.connection import Connection
from teletrunk_sandbox.control_server import ControlServer
from teletrunk_sandbox.faults import Faults
from teletrunk_sandbox.login_tokens import LoginTokens
from teletrunk_sandbox.messages import Messages
from teletrunk_sandbox.reflector import Reflector
from teletrunk_sandbox.sessions import Sessions
from teletrunk_sandbox.state import Authorization, State, User
from teletrunk_sandbox.updates import Updates

log = structlog.get_logger(__name__)

API = (authorizations, config, contacts, login_tokens, phone, twists)  # imported for the methods that they register


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the data centre listens and keeps its state; port 0 takes any free one.

    `public_address` is the IP that clients are told for the data centre and for the media reflector. `key_file` is an
    RSA key to use in place of one that is made; `code` is what every sign-in is sent, instead of a fresh one.
    """

    directory: Path
    host: str = "127.0.0.1"
    port: int = 0
    control_port: int = 0
    reflector_port: int = 0
    public_address: str = "127.0.0.1"
    key_file: Path | None = None
    code: str = ""


class DataCentre:
    """Everything that the methods work on."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.state = State(settings.directory)
        self.key = keys.load_or_create(settings.directory, settings.key_file)
        self.accounts = Accounts(self.state)
        self.clock = Clock()
        self.sessions = Sessions(self.state, self.clock)
        self.faults = Faults()
        self.sign_ins = SignIns(settings.directory / "codes", settings.code)
        self.login_tokens = LoginTokens(self.clock.now)
        self.updates = Updates(self)
        self.messages = Messages(self.updates)
        self.calls = Calls(self)
        self.reflector = Reflector()

    def users_for(self, viewer: User, ids: Collection[int]) -> list[raw.types.User]:
        """Some users as one of them, or another, sees them."""
        return [self.accounts.seen_by(viewer, self.accounts.by_id(user_id)) for user_id in ids]

    def revoke(self, authorization: Authorization, refusal: str) -> None:
        """End an authorization from outside: its requests get a 401 from now on."""
        authorization.user_id, authorization.refusal = None, refusal
        self.state.save_authorization(authorization)

    async def serve_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one MTProto connection."""
        await Connection(self, reader, writer).serve()

    def close(self) -> None:
        """Hang up on everybody and close the state."""
        self.calls.close()
        self.reflector.close()
        self.sessions.each_connection(Connection.close)
        self.state.close()


@dataclass(frozen=True, slots=True)
class Ready:
    """Where a data centre that runs is reached."""

    host: str
    port: int
    control_port: int
    reflector_port: int
    rsa_key_file: str


async def run(settings: Settings, beside: Callable[[Ready], Coroutine[Any, Any, None]] | None = None) -> None:
    """Run a data centre until SIGTERM or SIGINT; say on stdout, in one JSON line, where it is.

    `beside` runs as long as it does; an exception of it ends the data centre, in an ExceptionGroup.
    """
    _log_to_stderr()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    dc = DataCentre(settings)
    control = ControlServer(Commands(dc))
    await dc.reflector.open(settings.host, settings.reflector_port)
    clients = await asyncio.start_server(dc.serve_client, settings.host, settings.port)
    await control.start(settings.control_port)
    try:
        port = clients.sockets[0].getsockname()[1]
        key_file = str(keys.public_file(settings.directory))
        ready = Ready(settings.host, port, control.port, dc.reflector.port, key_file)
        print(json.dumps({"event": "ready", **asdict(ready)}), flush=True)
        async with asyncio.TaskGroup() as group:
            works = [group.create_task(beside(ready))] if beside else []
            await stop.wait()
            for work in works:
                work.cancel()
    finally:
        control.close()
        clients.close()
        dc.close()
        log.info("stopped")


def _log_to_stderr() -> None:
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
