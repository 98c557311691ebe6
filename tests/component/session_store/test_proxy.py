"""Telegram by way of a proxy."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

from teletrunk.cli.stack import Child

from .storage import PATIENCE_S, storage

USER, PASSWORD = "ann", "a:secret@word"
QUOTED = "a%3Asecret%40word"


class Socks:
    """A SOCKS5 server (RFC 1928) that lets in who knows the password (RFC 1929)."""

    def __init__(self) -> None:
        self.ways: list[tuple[str, int]] = []
        self._works: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            _, methods = await reader.readexactly(2)
            assert 2 in await reader.readexactly(methods)
            writer.write(b"\5\2")
            _, length = await reader.readexactly(2)
            user = await reader.readexactly(length)
            password = await reader.readexactly((await reader.readexactly(1))[0])
            assert (user.decode(), password.decode()) == (USER, PASSWORD)
            writer.write(b"\1\0")
            assert await reader.readexactly(4) == b"\5\1\0\1"
            host = ".".join(map(str, await reader.readexactly(4)))
            port = int.from_bytes(await reader.readexactly(2), "big")
            self.ways.append((host, port))
            there, back = await asyncio.open_connection(host, port)
            writer.write(b"\5\0\0\1" + bytes(6))
            await asyncio.gather(_pass_on(reader, back), _pass_on(there, writer))
        writer.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def socks() -> AsyncIterator[tuple[Socks, int]]:
    made = Socks()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    async with server:
        yield made, server.sockets[0].getsockname()[1]


async def test_an_account_goes_through_the_proxy(tmp_path: Path) -> None:
    async with socks() as (proxy, port):
        way = f"socks5://{USER}:{QUOTED}@127.0.0.1:{port}"
        async with storage(tmp_path, TELETRUNK_TELEGRAM_PROXY=way) as store:
            phone, session_id = await store.account()
            friend = await store.friend()
            call = store.start_call(session_id, f"+{friend.phone}")
            await call.until("requested")
            call.close()
            await store.discarded(phone, within=5)
            assert set(proxy.ways) == {("127.0.0.1", store.dc["port"])}
        assert PASSWORD not in store.said() and QUOTED not in store.said()


async def test_a_proxy_that_makes_no_sense_stops_the_start(tmp_path: Path) -> None:
    base = {name: value for name, value in os.environ.items() if not name.startswith("TELETRUNK_")}
    data = {"TELETRUNK_DATA": str(tmp_path), "TELETRUNK_CLUSTER_TOKEN": "t" * 32}
    telegram = {"TELETRUNK_TELEGRAM_API_ID": "7", "TELETRUNK_TELEGRAM_API_HASH": "f" * 32}
    environment = base | data | telegram | {"TELETRUNK_TELEGRAM_PROXY": "gopher://ann:hidden@there"}
    child = Child("session-store", ["-m", "teletrunk_session_store"], environment, tmp_path / "log")
    await child.start()
    assert child.process is not None
    assert await asyncio.wait_for(child.process.wait(), PATIENCE_S) == 2
    assert "TELETRUNK_TELEGRAM_PROXY" in child.last_line() and "hidden" not in child.log.read_text()
