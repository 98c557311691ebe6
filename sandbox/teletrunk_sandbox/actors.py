"""Processes that play a part (a Telegram subscriber, a SIP phone), steered by JSON lines.

An actor reads one command a line from standard input and writes one event a line to standard output. Every
command is answered by `done` or `failed`; other events come when they come.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

Message = dict[str, Any]
_DEADLINE_S = 30.0
_HERE = (sys.executable, "-m", "teletrunk_sandbox")


class ActorError(Exception):
    """The actor could not do what it was told; the text is its own."""


def emit(event: str, **fields: Any) -> None:
    """Writes an event, from inside an actor."""
    sys.stdout.write(json.dumps({"event": event, "at": time.time(), **fields}) + "\n")
    sys.stdout.flush()


class Actor:
    """One actor's process, seen from outside. An async context manager."""

    def __init__(self, *arguments: str, log: Path | None = None, program: Sequence[str] = _HERE) -> None:
        """`program` takes the arguments; it may run elsewhere, as by `kubectl exec`."""
        self._command = (*program, *arguments)
        self._log = log
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Message]] = {}
        self._events: list[Message] = []
        self._news = asyncio.Condition()
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        errors = self._log.open("ab") if self._log else None
        self.process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            limit=1 << 20,
        )
        self._reader = asyncio.get_running_loop().create_task(self._read())
        return self

    async def __aexit__(self, *error: object) -> None:
        with contextlib.suppress(ConnectionError, ActorError, TimeoutError):
            await self.tell("quit", deadline=3)
        if self.process.returncode is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(3):
                    await self.process.wait()
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        if self._reader:
            self._reader.cancel()

    async def tell(self, command: str, deadline: float = _DEADLINE_S, **fields: Any) -> Message:
        """Sends a command and returns its answer. Raises `ActorError`."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        assert self.process.stdin is not None
        self.process.stdin.write((json.dumps({"id": number, "command": command, **fields}) + "\n").encode())
        await self.process.stdin.drain()
        async with asyncio.timeout(deadline):
            found: Message = await answer
            return found

    async def wait(self, event: str, deadline: float = _DEADLINE_S, **fields: Any) -> Message:
        """The next event, not waited for before, that has these fields."""

        def matches(seen: Message) -> bool:
            return seen["event"] == event and all(seen.get(name) == value for name, value in fields.items())

        try:
            async with asyncio.timeout(deadline), self._news:
                while True:
                    for seen in self._events:
                        if matches(seen):
                            self._events.remove(seen)
                            return seen
                    await self._news.wait()
        except TimeoutError:
            raise ActorError(f"no {event} {fields} in {deadline} s; there were {self._events}") from None

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            message = json.loads(line)
            if message["event"] in ("done", "failed"):
                self._settle(message)
                continue
            async with self._news:
                self._events.append(message)
                self._news.notify_all()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(ActorError("the actor's process has ended"))

    def _settle(self, message: Message) -> None:
        answer = self._answers.pop(message["id"])
        if answer.done():
            return
        if message["event"] == "done":
            answer.set_result(message)
        else:
            answer.set_exception(ActorError(message["error"]))
