"""The three services (and the sandbox, when wanted) as child processes of one command."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import grpc

from teletrunk import rpc, running
from teletrunk.cli.parts import SERVICES
from teletrunk.config import ConfigurationError, ServiceSettings, load
from teletrunk.v1 import admin_pb2, admin_pb2_grpc, fleet_pb2, fleet_pb2_grpc

_KINDS = {"session-store": "storage", "worker": "worker"}
_START_DEADLINE_S = 40.0
_STOP_DEADLINE_S = 8.0
_SHORT_LIFE_S = 10.0
_LOOK_S = 0.5
_ASK_S = 0.2  # the services need the processor meanwhile
_FIRST_BEAT_S = 3.0
_LONGEST_REASON = 300


_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG: Final = 1


def _end_with_parent() -> None:
    """In a child: one whose command was killed would be taken for the next one's (prctl(2))."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


class Child:
    """One service's process; its log is a file under DATA/logs."""

    def __init__(self, name: str, arguments: list[str], environment: dict[str, str], log: Path) -> None:
        self.name = name
        self._arguments = arguments
        self._environment = {**environment, "TELETRUNK_LOG_FILE": str(log)}  # it rotates the file itself
        self.log = log
        self._log_began = 0
        self.process: asyncio.subprocess.Process | None = None
        self.started_at = 0.0
        self.wanted = asyncio.Event()
        self.wanted.set()

    async def start(self, *, stdout: int | None = None) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._log_began = log.tell()
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                *self._arguments,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log if stdout is None else stdout,
                stderr=log,
                start_new_session=True,  # Ctrl-C goes to us; we stop them in order
                preexec_fn=_end_with_parent,
            )
        self.started_at = time.monotonic()

    async def stop(self) -> str:
        """How it ended."""
        if self.process is None or self.process.returncode is not None:
            return "stopped"
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP_DEADLINE_S):
                await self.process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()
            return f"killed: it did not end within {_STOP_DEADLINE_S:.0f} s"
        return "stopped"

    def last_line(self) -> str:
        """What it had to say when it ended: its own word, if there is one, whatever was printed after it."""
        said = self.log.read_bytes()
        began = self._log_began if self._log_began <= len(said) else 0  # it has rotated since
        lines = said[began:].decode(errors="replace").strip().splitlines()
        own = [line for line in lines if line.startswith("teletrunk ")]
        return (own or lines or [f"{self.name} ended without a word"])[-1]


class Stack:
    """Starts everything on one machine, keeps it running, stops it in order."""

    def __init__(
        self,
        data: Path,
        *,
        sandbox: bool,
        overrides: dict[str, str] | None = None,
        of_one: Mapping[str, dict[str, str]] | None = None,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        """`overrides` are all services' settings, `of_one` those of one by its name; `tell` hears what happens."""
        self._tell = tell
        self.data = data
        self._of_one = of_one or {}
        self.sandbox: dict[str, str] = {}
        self._with_sandbox = sandbox
        self.environment = {**os.environ, "TELETRUNK_DATA": str(data), **(overrides or {})}
        self.children: dict[str, Child] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._stopping = False
        self._away: set[str] = set()

    async def start(self) -> None:
        """Returns when Worker and Storage are attached. Raises `ConfigurationError` with a service's own line."""
        running.make_directory(self.data)
        if self._with_sandbox:
            await self._start_sandbox()
        try:
            for name, module in SERVICES.items():
                invited = await self._invitation(name) if name != "manager" else {}
                child = self._child(name, ["-m", module], invited)
                await child.start()
                self._tell(f"  {name}: started")
            await self._all_attached()
        except BaseException:
            await self.stop()
            raise
        loop = asyncio.get_running_loop()
        self._keepers = [loop.create_task(self._keep(self.children[name])) for name in SERVICES]

    def _child(self, name: str, arguments: list[str], extra: dict[str, str] | None = None) -> Child:
        environment = {**self.environment, **self._of_one.get(name, {}), **(extra or {})}
        child = self.children[name] = Child(name, arguments, environment, self.data / "logs" / f"{name}.log")
        return child

    async def _invitation(self, name: str) -> dict[str, str]:
        """With TELETRUNK_TLS even the services of one machine come with certificates; the first time by invitation."""
        kind = {"session-store": "storage"}.get(name, name)
        if self.environment.get("TELETRUNK_TLS", "").lower() not in ("1", "true", "on", "yes"):
            return {}
        if (self.data / "identity" / kind / "service.pem").exists():
            return {}
        deadline = time.monotonic() + _START_DEADLINE_S
        while time.monotonic() < deadline:
            settings = self.settings
            async with rpc.dial(f"unix:{settings.socket}", rpc.Security(settings.token())) as channel:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    stub = fleet_pb2_grpc.FleetServiceStub(channel)
                    answer = await stub.Invite(fleet_pb2.InviteRequest(kind=kind, comment="this machine"), timeout=2)
                    return {"TELETRUNK_INVITATION": answer.invitation}
            self._raise_if_ended("manager")
            await asyncio.sleep(0.1)
        raise ConfigurationError(f"the Manager did not start: see {self.data / 'logs'}")

    def _raise_if_ended(self, name: str) -> None:
        process = self.children[name].process
        if process is not None and process.returncode is not None:
            raise ConfigurationError(self.children[name].last_line().removeprefix("teletrunk "))

    async def _start_sandbox(self) -> None:
        state = self.data / "sandbox"
        child = self._child("sandbox", ["-m", "teletrunk_sandbox", "dc", "--host", "127.0.0.1", "--port", "0",
                                        "--control-port", "0", "--state", str(state)])  # fmt: skip
        await child.start(stdout=asyncio.subprocess.PIPE)
        assert child.process is not None and child.process.stdout is not None
        self._tell("  sandbox: started, a Telegram of its own on this machine")
        async with asyncio.timeout(_START_DEADLINE_S):
            line = await child.process.stdout.readline()
        if not line:
            raise ConfigurationError(f"the sandbox did not start: {child.last_line()}")
        self.sandbox = json.loads(line)
        self.environment["TELETRUNK_TELEGRAM_SERVER"] = f"{self.sandbox['host']}:{self.sandbox['port']}"
        self.environment["TELETRUNK_TELEGRAM_RSA_KEY_FILE"] = str(self.sandbox["rsa_key_file"])

    async def start_people(self) -> None:
        """Somebody to sign in as and somebody to call, at the local Telegram. Returns when both are there."""
        where = f"{self.sandbox['host']}:{self.sandbox['port']}"
        child = self._child("people", ["-m", "teletrunk_sandbox", "people", "--dc", where, "--rsa-key",
                                       str(self.sandbox["rsa_key_file"]), "--control-port",
                                       str(self.sandbox["control_port"])])  # fmt: skip
        await child.start()
        deadline = time.monotonic() + _START_DEADLINE_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_unix_connection(self.data / "sandbox" / "people.sock")
                writer.close()
                return
            self._raise_if_ended("people")
            await asyncio.sleep(0.1)
        raise ConfigurationError(f"the sandbox's people did not start: see {self.data / 'logs'}")

    async def _all_attached(self) -> None:
        deadline = time.monotonic() + _START_DEADLINE_S
        ready: set[str] = set()
        while time.monotonic() < deadline:
            for name in SERVICES:
                self._raise_if_ended(name)
            there = await self._there()
            for name in [name for name in SERVICES if name in there - ready]:
                self._tell(f"  {name}: ready")
            ready |= there
            if ready >= set(SERVICES):
                return
            await asyncio.sleep(_ASK_S)
        raise ConfigurationError(f"the services did not find each other: see {self.data / 'logs'}")

    async def _there(self) -> set[str]:
        """The services that are at work now, by the Manager's word."""
        services = await self._listed()
        if services is None:
            return set()
        kinds = {service.kind for service in services if service.attached}
        return {"manager"} | {name for name, kind in _KINDS.items() if kind in kinds}

    async def attached(self) -> list[admin_pb2.AttachedService]:
        """The Workers and Storages that the Manager sees now; none while it does not answer.

        What a Worker says of itself comes with its first heartbeat, which is waited for.
        """
        deadline = time.monotonic() + _FIRST_BEAT_S
        while True:
            there = [service for service in await self._listed() or () if service.attached]
            silent = any(service.kind == "worker" and not service.most_calls for service in there)
            if not silent or time.monotonic() > deadline:
                return there
            await asyncio.sleep(0.1)

    async def _listed(self) -> list[admin_pb2.AttachedService] | None:
        answer = await self._asked(lambda admin: admin.ListServices(admin_pb2.ListServicesRequest(), timeout=2))
        return None if answer is None else list(answer.services)

    async def has_accounts(self) -> bool:
        """Whether somebody has signed in here before; false while the Manager does not answer."""
        answer = await self._asked(lambda admin: admin.ListAccounts(admin_pb2.ListAccountsRequest(limit=1), timeout=2))
        return answer is not None and bool(answer.accounts)

    async def _asked(self, question: Callable[[Any], Awaitable[Any]]) -> Any:
        """None while the Manager does not answer."""
        settings = self.settings
        async with rpc.dial(settings.manager_here, rpc.Security(settings.token())) as channel:
            with contextlib.suppress(grpc.aio.AioRpcError):
                return await question(admin_pb2_grpc.AdminServiceStub(channel))
        return None

    @functools.cached_property
    def settings(self) -> ServiceSettings:
        """The settings as the children see them. Whoever waits for the services asks often: they are read once."""
        before = dict(os.environ)
        os.environ.update(self.environment)
        try:
            return load(ServiceSettings)
        finally:
            os.environ.clear()
            os.environ.update(before)

    async def _keep(self, child: Child) -> None:
        """A service that ends is started again, unless it was drained; the others go on meanwhile."""
        while not self._stopping and child.process is not None:
            status = await self._ended(child)
            await child.wanted.wait()
            if self._stopping:
                return
            if status == running.DRAINED:
                self._tell(f"{child.name}: was drained, and has left")
                return
            if child.name not in self._away:  # said once, also when it ends again and again
                why = f" ({child.last_line()[:_LONGEST_REASON]})" if status > 0 else ""
                self._tell(f"{child.name}: {_how(status)}{why}, is started again; its log is {child.log}")
                self._away.add(child.name)
            await asyncio.sleep(1.0 if time.monotonic() - child.started_at < _SHORT_LIFE_S else 0.0)
            try:
                await child.start()
            except OSError:  # no memory, no processes: later there may be
                child.started_at = time.monotonic()

    async def _ended(self, child: Child) -> int:
        """Waits for a process's end, and says meanwhile that a service which was away is back."""
        assert child.process is not None
        end = asyncio.ensure_future(child.process.wait())
        try:
            while child.name in self._away:
                await asyncio.wait({end}, timeout=_LOOK_S)
                if end.done():
                    break
                if child.name in await self._there():
                    self._away.discard(child.name)
                    self._tell(f"{child.name}: is back")
            return await end
        finally:
            end.cancel()

    async def hold_down(self, name: str) -> None:
        """Kills a service as a crash would; it stays away until `let_up`."""
        child = self.children[name]
        child.wanted.clear()
        if child.process is not None and child.process.returncode is None:
            child.process.kill()
            await child.process.wait()

    def let_up(self, name: str) -> None:
        """A service that was held down is started again."""
        self.children[name].wanted.set()

    async def stop(self) -> None:
        """The Worker first: it hangs up while the others can still be told."""
        self._stopping = True
        for keeper in self._keepers:
            keeper.cancel()
        for name in ("worker", "session-store", "manager", "people", "sandbox"):
            if child := self.children.get(name):
                how = await child.stop()
                if name != "people" and child.process is not None:
                    self._tell(f"  {name}: {how}")


def _how(status: int) -> str:
    """How a process ended, by its exit status."""
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"ended by {signal.Signals(-status).name}"
    return f"ended with code {status}"
