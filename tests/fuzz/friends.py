"""The Telegram users whom the hostile trunks talk to, in a process of their own.

Its ntgcalls is no part of what is tried, and calls that come and go so fast now and then crash it: it starts again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from teletrunk_sandbox.actors import Actor, ActorError, Message
from teletrunk_sandbox.world import World

_DEADLINE_S = 5.0


class Friends:
    """An async context manager."""

    def __init__(self, world: World, phones: Sequence[str]) -> None:
        self._world = world
        self._phones = phones
        self._exits = contextlib.AsyncExitStack()
        self._lock = asyncio.Lock()
        self.crashes = 0

    async def __aenter__(self) -> Friends:
        await self._start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._exits.aclose()

    async def _start(self) -> None:
        await self._exits.aclose()
        sandbox: dict[str, Any] = dict(self._world.stack.sandbox)
        self._actor = await self._exits.enter_async_context(
            Actor(
                "subscriber",
                "--dc", f"{sandbox['host']}:{sandbox['port']}",
                "--rsa-key", str(sandbox["rsa_key_file"]),
                "--control-port", str(sandbox["control_port"]),
                log=self._world.directory / "friends.log",
            )
        )  # fmt: skip
        for phone in self._phones:
            await self._actor.tell("user", phone=phone, first_name=f"Friend {phone}")

    async def tell(self, command: str, **fields: Any) -> Message:
        """Raises `ActorError` when it could not be done, also because they had to start again."""
        actor = self._actor
        try:
            return await actor.tell(command, deadline=_DEADLINE_S, **fields)
        except (ConnectionError, TimeoutError, ActorError) as error:
            async with self._lock:
                if self._actor is actor and actor.process.returncode is not None:
                    self.crashes += 1
                    await self._start()
            raise ActorError(str(error)) from None

    async def ended(self, phone: str, patience: float) -> bool:
        """Whether the user's call ended within so long."""
        try:
            await self._actor.wait("ended", phone=phone, deadline=patience)
        except ActorError:
            return False
        finally:
            self._actor._events.clear()  # nobody waits for them: half an hour's would be many
        return True
