"""The control channel's server: TCP on loopback; what is asked and answered stands in `control`."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from teletrunk_sandbox.commands import Commands
from teletrunk_sandbox.control import DEADLINE_S, HOST, LINE_LIMIT
from teletrunk_sandbox.errors import CommandError, RpcRefusal


class ControlServer:
    """Serves the commands."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self, port: int) -> None:
        """Listen; never on anything but loopback, for whoever is let in may do anything."""
        self._server = await asyncio.start_server(self._serve, HOST, port, limit=LINE_LIMIT)

    def close(self) -> None:
        """Stop listening and hang up."""
        if self._server:
            self._server.close()
        for writer in self._writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while line := await reader.readline():
                writer.write(json.dumps(self._answer(line)).encode() + b"\n")
                async with asyncio.timeout(DEADLINE_S):
                    await writer.drain()
        except (ConnectionError, TimeoutError, ValueError):
            pass  # ValueError: a line beyond the limit
        finally:
            self._writers.discard(writer)
            writer.close()

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            name = request["command"]
            if name.startswith("_") or not hasattr(Commands, name):
                raise CommandError(f"no command {name}")
            return {"result": getattr(self._commands, name)(**request.get("arguments", {}))}
        except (CommandError, RpcRefusal, ValueError, KeyError, TypeError, AttributeError) as error:
            return {"error": str(error) or type(error).__name__}
