"""A cable between two services that can be cut: both ends believe that they are connected, and nothing arrives."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

from tests.servers import free_port


class Cable:
    """Carries TCP from `port` to `to`."""

    def __init__(self, to: int) -> None:
        self.port = free_port()
        self.to = to
        self.carried = 0  # bytes, both ways
        self._whole = asyncio.Event()
        self._whole.set()
        self._ends: set[asyncio.Task[None]] = set()

    @contextlib.contextmanager
    def cut(self) -> Iterator[None]:
        """Bytes wait in the kernels' buffers, as they do when a router is gone; connections are not closed."""
        self._whole.clear()
        try:
            yield
        finally:
            self._whole.set()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while await self._whole.wait() and (data := await reader.read(65_536)):
                await self._whole.wait()
                self.carried += len(data)
                writer.write(data)
                await writer.drain()
        writer.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._whole.wait()
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.to)
        except OSError:
            writer.close()
            return
        for ends in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._carry(*ends))
            self._ends.add(task)
            task.add_done_callback(self._ends.discard)


@contextlib.asynccontextmanager
async def cable(to: int) -> AsyncIterator[Cable]:
    laid = Cable(to)
    server = await asyncio.start_server(laid._connected, "127.0.0.1", laid.port)
    try:
        yield laid
    finally:
        server.close()
        for task in list(laid._ends):
            task.cancel()
