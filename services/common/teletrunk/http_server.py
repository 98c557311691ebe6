"""HTTP as the services serve it. Imported where something is served only: its libraries take 2 MB and more."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    generate_latest,
)
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from teletrunk.config import ConfigurationError
from teletrunk.http_connection import HttpConnection

_OF_THE_PROCESS = (GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR)  # whoever names them has them among the metrics


class _Server(uvicorn.Server):
    """Signals are ours."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def operations_app(not_ready: Callable[[], str], measure: Callable[[], None]) -> Starlette:
    """`not_ready` says why the service cannot serve now, or nothing; `measure` sets gauges before they are read."""

    async def live(request: Request) -> Response:
        return PlainTextResponse("live\n")

    async def ready(request: Request) -> Response:
        why = not_ready()
        return PlainTextResponse(f"{why or 'ready'}\n", 503 if why else 200)

    async def metrics(request: Request) -> Response:
        measure()
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/live", live), Route("/ready", ready), Route("/metrics", metrics)])


async def serve_http(address: str, name: str, app: Any, **tls: Any) -> None:
    """Serves until cancelled. Raises `ConfigurationError` with the setting's `name` when the port is taken."""
    host, _, port = address.rpartition(":")
    config = uvicorn.Config(
        app, host.strip("[]"), int(port), log_config=None, access_log=False, server_header=False, lifespan="off",
        http=HttpConnection, ws="none", timeout_keep_alive=20, limit_concurrency=500,
        h11_max_incomplete_event_size=64 * 1024, **tls,
    )  # fmt: skip
    server = _Server(config)
    try:
        await server.serve()
    except SystemExit:
        raise ConfigurationError(f"{name}: {address} is in use: stop the other process, or set another") from None
