"""More than one address a data centre."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

import pytest
from teletrunk_session_store.telegram.addresses import Addresses

from tests.servers import free_port

from .storage import storage

SPARED_S = 3.0  # what the first attempts at a closed port take


async def serve_ipv6(port: int) -> asyncio.Server:
    """[::1]:port leads to the same port of 127.0.0.1."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pass_on(reader, back), pass_on(there, writer))

    return await asyncio.start_server(serve, "::1", port)


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.mark.parametrize("last", ["127.0.0.1", "[::1]"])
async def test_the_one_that_answers_is_used_and_then_tried_first(tmp_path: Path, last: str) -> None:
    closed = free_port()
    async with storage(tmp_path, TELEGRAM=f"127.0.0.1:{closed},{last}:PORT") as store:
        server = await serve_ipv6(store.dc["port"]) if last == "[::1]" else None
        await store.account()
        began = time.monotonic()
        await store.account("Second")
        assert time.monotonic() - began < SPARED_S
        assert "Traceback" not in store.said()
        if server is not None:
            server.close()


def test_telegrams_own_are_known_by_several_ports_and_ipv6() -> None:
    addresses = Addresses(None)
    first = ("149.154.167.51", 443)
    known = addresses.of(2, first)
    assert known[0] == first and ("2001:67c:4e8:f002::a", 443) in known
    assert ("149.154.167.51", 80) in known and ("149.154.167.51", 5222) in known
    addresses.answered(2, ("149.154.167.51", 80))
    assert addresses.of(2, first)[0] == ("149.154.167.51", 80)
    assert sorted(addresses.of(2, first)) == sorted(known)
    assert addresses.of(203, ("10.0.0.1", 443))[0] == ("10.0.0.1", 443)  # one that nobody has heard of
