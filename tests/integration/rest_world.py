"""The REST API of a real Manager, and a webhook's ear."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
from teletrunk.v1 import admin_pb2 as admin

from tests.integration.manager_world import World
from tests.servers import free_port

_BEAT_S = 3.0  # as services do


class Api:
    def __init__(self, world: World, port: int) -> None:
        self.world = world
        self.url = f"http://127.0.0.1:{port}"
        self.tokens: dict[str, str] = {}

    async def token(self, name: str, role: str, scope: str = "") -> str:
        request = admin.AddTokenRequest(name=name, role=role, scope=scope)
        self.tokens[name] = (await self.world.wire.admin.AddToken(request)).secret
        return self.tokens[name]

    async def ask(
        self, verb: str, path: str, who: str = "root", key: str = "", body: dict[str, Any] | None = None
    ) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self.tokens.get(who, who)}"} | ({"Idempotency-Key": key} if key else {})
        async with httpx.AsyncClient(base_url=self.url, headers=headers) as client:
            answer = await client.request(verb, path, json=body)
        return answer.status_code, answer.json() if answer.content else {}


@contextlib.asynccontextmanager
async def rest_api(data: Path, **settings: str) -> AsyncIterator[Api]:
    port = free_port()
    api_settings = {"TELETRUNK_API_ADDRESS": f"127.0.0.1:{port}", "TELETRUNK_WEBHOOKS_TO_PRIVATE": "true"}
    world = World(data, **api_settings, **settings)
    await world.start()
    beating = asyncio.create_task(_beating(world))
    api = Api(world, port)
    await api.token("root", "owner")
    try:
        yield api
    finally:
        beating.cancel()
        await world.stop()


async def _beating(world: World) -> None:
    while True:
        await asyncio.sleep(_BEAT_S)
        world.worker.repeat()
        world.storage.repeat()


class Ear:
    """What a webhook is told. The first answers are refusals."""

    def __init__(self, refuse: int = 0) -> None:
        self.heard: list[tuple[dict[str, str], str]] = []
        self._refuse = refuse
        self.news = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head.splitlines()[1:])}
        body = (await reader.readexactly(int(headers["content-length"]))).decode()
        self.heard.append((headers, body))
        status = b"500 No" if len(self.heard) <= self._refuse else b"204 No Content"
        writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()
        self.news.set()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Gives its address."""
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
        finally:
            server.close()

    async def hears(self, count: int = 1) -> dict[str, Any]:
        """The event that is the COUNTth letter."""
        async with asyncio.timeout(20):
            while len(self.heard) < count:
                self.news.clear()
                await self.news.wait()
        event: dict[str, Any] = json.loads(self.heard[count - 1][1])
        return event
