"""Who sends nothing, or not all, holds no place at an HTTP port for long; and nobody holds them all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from teletrunk import http_connection
from teletrunk.http_server import operations_app, serve_http

from tests.servers import free_port

WHOLE = b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n"
PATIENCE_S = 1.5


async def reads(request: Request) -> Response:
    return PlainTextResponse(await request.body())


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[int]:
    chosen = free_port()
    app = operations_app(str, lambda: None)
    app.add_route("/reads", reads, ["POST"])
    serving = asyncio.create_task(serve_http(f"127.0.0.1:{chosen}", "X", app))
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(OSError):
                (await opened(chosen))[1].close()
                break
            await asyncio.sleep(0.05)
    try:
        yield chosen
    finally:
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving


@pytest_asyncio.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(http_connection, "REQUEST_S", PATIENCE_S)
    async with served() as chosen:
        yield chosen


async def opened(port: int, source: str = "127.0.0.1") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))


async def is_served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    writer.write(WHOLE)
    async with asyncio.timeout(10):
        return (await reader.readuntil(b"live\n")).startswith(b"HTTP/1.1 200")


async def is_closed(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionError):
            await reader.read()
    return True


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "begun", [b"", b"GET /live HT", b"POST /live HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx"]
)
async def test_who_does_not_finish_a_request_is_closed(port: int, begun: bytes) -> None:
    reader, writer = await opened(port)
    writer.write(begun)
    assert await is_closed(reader)
    writer.close()


@pytest.mark.asyncio
async def test_a_byte_at_a_time_gains_no_time_after_a_request_either(port: int) -> None:
    reader, writer = await opened(port)
    assert await is_served(reader, writer) and await is_served(reader, writer)
    closed = asyncio.create_task(is_closed(reader))
    for byte in b"GET /" + b"x" * 1_000:
        if closed.done():
            break
        writer.write(bytes([byte]))
        await asyncio.sleep(PATIENCE_S / 10)
    assert closed.done(), "it would have gone on for a minute"
    writer.close()


@pytest.mark.asyncio
async def test_half_a_request_behind_a_whole_one_gains_no_time(port: int) -> None:
    """It has come with the one before, and is read when that has its answer."""
    reader, writer = await opened(port)
    writer.write(WHOLE + b"POST /reads HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx")
    async with asyncio.timeout(10):
        await reader.readuntil(b"live\n")
    assert await is_closed(reader)
    writer.close()


@pytest.mark.asyncio
async def test_one_port_s_connections_take_nothing_from_another(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An API's clients and the probes of /live may come from one address."""
    monkeypatch.setattr(http_connection, "REQUEST_S", 30.0)
    monkeypatch.setattr(http_connection, "MOST_OF_ADDRESS", 5)
    held = [await opened(port) for _ in range(5)]
    async with served() as other:
        assert await is_served(*await opened(other))
    for _, writer in held:
        writer.close()


@pytest.mark.asyncio
async def test_one_address_leaves_room_for_others(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connection, "REQUEST_S", 30.0)
    monkeypatch.setattr(http_connection, "MOST_OF_ADDRESS", 20)
    held = [await opened(port, "127.0.0.7") for _ in range(20)]
    assert await is_closed((await opened(port, "127.0.0.7"))[0])
    assert await is_served(*await opened(port, "127.0.0.8"))
    for _, writer in held:
        writer.close()
    async with asyncio.timeout(10):
        while any(network == "127.0.0.7" for _, network in http_connection._held):
            await asyncio.sleep(0.02)
    assert await is_served(*await opened(port, "127.0.0.7"))
