"""What watches a service asks by HTTP: /live, /ready and /metrics."""

from __future__ import annotations

from collections.abc import Callable


async def serve_operations(
    address: str | None, name: str, not_ready: Callable[[], str], measure: Callable[[], None]
) -> None:
    """Serves until cancelled; nothing without an address, which the setting `name` gives.

    `not_ready` says why the service cannot serve now, or nothing; `measure` sets gauges before they are read.
    Raises `ConfigurationError` when the port is taken.
    """
    if address is not None:
        from teletrunk.http_server import operations_app, serve_http

        await serve_http(address, name, operations_app(not_ready, measure))
