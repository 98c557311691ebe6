"""Keeps the hosts: starts them as fresh interpreters, gives calls a place in them, notices their death.

A host that dies costs its own calls only. Their owners are told, and a new host takes its place.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog
from teletrunk.background import BackgroundTasks
from teletrunk.errors import Refusal
from teletrunk.metrics import HOSTS_DIED

from teletrunk_worker.legs.host_events import checked_event
from teletrunk_worker.legs.wire import Message, PeerGone, Wire

log = structlog.get_logger()

_READY_DEADLINE_S = 15.0
_STOP_DEADLINE_S = 2.0
_RETRY_S = 1.0
_PING_S = 5.0
_PLACE_DEADLINE_S = 10.0
_MANY_UNANSWERED = 2  # such a host gets no new call
_MOST_UNANSWERED = 3  # a machine that slept costs one; a host that answers nothing for so long hangs
_SHORT_LIFE_S = 10.0
_SPARE_PLACES = 4

# A host needs no setting, and gets none: the services' hold keys and tokens.
_PASSED_ON = ("PATH", "LANG")
Listener = Callable[[Message], None]
DIED = "died"  # the event that a host's death is to its calls


@dataclass
class Host:
    """One child process."""

    kind: str
    index: int
    wire: Wire
    process: asyncio.subprocess.Process
    wide: bool = False  # for wide-band sound
    capacity: int = 0
    port: int = 0
    rate: int = 8000
    born: float = field(default_factory=time.monotonic)
    ending: int = 0  # by its own count: a call whose end nobody has acknowledged keeps its place for a while
    listeners: dict[str, Listener] = field(default_factory=dict)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    unanswered: int = 0
    timer: asyncio.TimerHandle | None = None

    @property
    def free(self) -> int:
        return self.capacity - len(self.listeners) - self.ending

    def send(self, message: Message, descriptor: int | None = None) -> None:
        """A host that cannot be reached is dead or stuck; either way it is killed, and its death is the answer."""
        try:
            self.wire.send(message, descriptor)
        except PeerGone:
            self.kill()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()

    def watch(self) -> None:
        """From its birth: one that is not ready in time, or stops answering, is killed. Native code can hang, too."""
        loop = asyncio.get_running_loop()
        if not self.ready.is_set():
            late = time.monotonic() - self.born > _READY_DEADLINE_S
        else:
            late = self.unanswered >= _MOST_UNANSWERED
            self.unanswered += 1
            self.send({"command": "ping"})
        if late:
            log.error("host hangs", kind=self.kind, pid=self.process.pid)
            self.kill()
        else:
            self.timer = loop.call_later(_PING_S, self.watch)


class HostPool:
    """The hosts of one kind."""

    def __init__(self, kind: str, module: str, calls_a_host: int, max_calls: int) -> None:
        self._kind = kind
        self._module = module
        self._calls_a_host = calls_a_host
        self._most = -(-max_calls // calls_a_host)
        self._configure: Callable[[int, bool], Message | None] = lambda index, wide: None
        self._hosts: dict[int, Host] = {}
        self._starting: dict[int, bool] = {}  # whether it is for wide-band sound
        self._owners = BackgroundTasks()
        self._closing = False
        self._changed = asyncio.Event()
        HOSTS_DIED.labels(kind)  # 0 from the start, so that the first death is an increase

    async def start(self, configure: Callable[[int, bool], Message | None]) -> None:
        """`configure` gives the first command of a new host, for wide-band sound or not, if it needs one.

        Returns when the first host is ready.
        """
        self.prepare(configure)
        self._spawn()
        async with asyncio.timeout(_READY_DEADLINE_S):
            while not self._ready():
                self._changed.clear()
                await self._changed.wait()

    def prepare(self, configure: Callable[[int, bool], Message | None]) -> None:
        """As `start`, but for the first host, which costs memory: `expect` starts it."""
        self._configure = configure

    def expect(self) -> None:
        """A call begins that will want a place in a while."""
        if not self._hosts and not self._starting:
            self._spawn()

    async def place(self, call: str, listener: Listener, besides: Sequence[Host] = (), *, wide: bool = False) -> Host:
        """The fullest host that has room (so that others may stay empty), and is none of `besides`.

        Wide-band sound has hosts of its own, which cost more, and the others' when no more can be started.
        Raises `Refusal` when all are full.
        """
        until = time.monotonic() + _PLACE_DEADLINE_S
        while (host := self._with_room(besides, wide)) is None:
            if wide not in self._starting.values():
                self._spawn(wide=wide)
            if wide not in self._starting.values() and (host := self._with_room(besides)) is not None:
                break
            left = until - time.monotonic()
            if not self._starting or left <= 0:
                raise Refusal("worker-full")
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._changed.wait()
        host.listeners[call] = listener
        self._keep_one_spare()
        return host

    def _with_room(self, besides: Sequence[Host], wide: bool | None = None) -> Host | None:
        fit = [
            host
            for host in self._ready()
            if host.free > 0
            and host.unanswered < _MANY_UNANSWERED
            and wide in (None, host.wide)
            and not any(host is other for other in besides)
        ]
        return min(fit, key=lambda host: host.free, default=None)

    @property
    def room(self) -> int:
        """Places for legs: those that are free, and those of hosts that can still be started."""
        started = sum(host.free if host.ready.is_set() else self._calls_a_host for host in self._hosts.values())
        return started + (self._most - len(self._hosts)) * self._calls_a_host

    def has_port(self, port: int) -> bool:
        """Whether a host of ours signals from there."""
        return any(host.port == port for host in self._hosts.values())

    def release(self, host: Host, call: str) -> None:
        host.listeners.pop(call, None)
        self._changed.set()

    async def close(self) -> None:
        self._closing = True
        for host in self._hosts.values():
            _stop_reading(host)
            host.wire.close()
        await self._owners.ended(_STOP_DEADLINE_S)
        for host in list(self._hosts.values()):
            host.kill()
        await self._owners.settle(0)

    def _ready(self) -> list[Host]:
        return [host for host in self._hosts.values() if host.ready.is_set()]

    def _keep_one_spare(self) -> None:
        """A host starts before it is needed: callers that come together do not wait for an interpreter."""
        if not self._starting and sum(host.free for host in self._ready() if not host.wide) < _SPARE_PLACES:
            self._spawn()

    def _spawn(self, pause: float = 0.0, *, wide: bool = False) -> None:
        index = next((i for i in itertools.count() if i not in self._hosts and i not in self._starting), 0)
        if index >= self._most or self._closing:
            return
        self._starting[index] = wide
        self._owners.run(self._run(index, pause, wide))

    async def _run(self, index: int, pause: float, wide: bool) -> None:
        """The owner task of one host, from its start to its death."""
        await asyncio.sleep(pause)
        try:
            host = self._hosts[index] = await self._born(index, wide)
        except OSError as error:  # no memory, no descriptors, no processes: later there may be
            log.error("host cannot be started", kind=self._kind, error=str(error))
            self._starting.pop(index, None)
            self._spawn(pause=_RETRY_S, wide=wide)
            return
        loop, wire, process = asyncio.get_running_loop(), host.wire, host.process
        loop.add_reader(wire.socket.fileno(), self._on_readable, host)
        host.watch()
        try:
            if (command := self._configure(index, wide)) is not None:
                host.send(command)
            await process.wait()
        finally:
            if host.timer is not None:
                host.timer.cancel()
            _stop_reading(host)
            wire.close()
            self._bury(host)

    async def _born(self, index: int, wide: bool) -> Host:
        wire, theirs = Wire.pair()
        descriptor = theirs.fileno()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-m", self._module, str(descriptor),
                pass_fds=[descriptor], start_new_session=True, env=_environment(),
            )  # fmt: skip
        except OSError:
            wire.close()
            raise
        finally:
            theirs.close()
        return Host(self._kind, index, wire, process, wide)

    def _bury(self, host: Host) -> None:
        self._hosts.pop(host.index, None)
        self._starting.pop(host.index, None)
        self._changed.set()
        if self._closing:
            return
        HOSTS_DIED.labels(self._kind).inc()
        log.error("host died", kind=self._kind, pid=host.process.pid, exit_code=host.process.returncode)
        for listener in list(host.listeners.values()):
            listener({"event": DIED})
        # A host that dies at once would die again at once.
        self._spawn(pause=1.0 if time.monotonic() - host.born < _SHORT_LIFE_S else 0.0, wide=host.wide)

    def _on_readable(self, host: Host) -> None:
        try:
            while received := host.wire.receive():
                message, descriptor = received
                if descriptor is not None:
                    os.close(descriptor)
                checked = checked_event(message)
                try:
                    self._on_event(host, checked)
                except Exception:  # of who listens: it costs one call, and the host has others
                    log.exception("what a host says met an error of ours", kind=self._kind)
                    self._give_up(host, checked)
        except PeerGone:
            _stop_reading(host)
        except ValueError as error:  # native code that is no longer itself, or somebody else's
            log.error("a host says what makes no sense", kind=self._kind, pid=host.process.pid, why=str(error))
            _stop_reading(host)
            host.kill()

    def _give_up(self, host: Host, message: Message) -> None:
        if listener := host.listeners.pop(message.get("call", ""), None):
            host.send({"command": "hangup", "call": message["call"], "status": 500, "phrase": "", "headers": []})
            listener({"event": DIED})

    def _on_event(self, host: Host, message: Message) -> None:
        host.ending = message.get("ending", host.ending)
        if message["event"] == "ready":
            host.capacity, host.port = message["capacity"], message.get("port", 0)
            host.rate = message.get("rate", host.rate)
            host.ready.set()
            self._starting.pop(host.index, None)
            self._changed.set()
            log.info("host ready", kind=self._kind, pid=host.process.pid, capacity=host.capacity)
        elif message["event"] == "pong":
            host.unanswered = 0
        elif message["event"] == "ending":
            host.ending = message["places"]
            self._changed.set()
        elif listener := host.listeners.get(message.get("call", "")):
            listener(message)
        elif message["event"] == "incoming":  # too late, or by a name that nobody gave: it would ring for ever
            host.send({"command": "hangup", "call": message["call"], "status": 503, "phrase": "", "headers": []})


def _stop_reading(host: Host) -> None:
    """Before its socket is closed: the loop would go on with a number that is another's by then."""
    with contextlib.suppress(ValueError, OSError):  # it is closed already
        asyncio.get_running_loop().remove_reader(host.wire.socket.fileno())


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
