"""A plain-text gRPC channel to a service on the same machine, with the cluster token.

The command starts with it, so it imports nothing but gRPC.
"""

from __future__ import annotations

import ipaddress
from typing import Any, Final

import grpc
import grpc.aio

from teletrunk.sources import ConfigurationError

TOKEN_KEY: Final = "teletrunk-token"  # noqa: S105  the name of the header, not its value
LARGEST_MESSAGE: Final = ("grpc.max_receive_message_length", 4 << 20)
COMMON: Final = (
    # A peer that is stopped or cut off answers no ping: the stream then breaks within seconds.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    # Back within a second of the peer's return, not after minutes of doubling.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # A pod that was made anew has its old name and another address: gRPC looks again after half a minute by itself.
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
    # A port that another process holds must be an error, not a second listener.
    ("grpc.so_reuseport", 0),
    # Nobody of ours compresses, and 64 kB can be 64 MB of zeros.
    ("grpc.per_message_decompression", 0),
    ("grpc.server_handshake_timeout_ms", 5_000),
)
OPTIONS: Final = (*COMMON, LARGEST_MESSAGE)


class _Token:
    """Adds the cluster token to a call. grpc wants an interceptor of its own for each kind of call."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def add(self, continuation: Any, details: Any, request: Any) -> Any:
        metadata = grpc.aio.Metadata(*(details.metadata or ()), (TOKEN_KEY, self._token))
        return await continuation(
            grpc.aio.ClientCallDetails(
                details.method, details.timeout, metadata, details.credentials, details.wait_for_ready
            ),
            request,
        )


class _TokenUnary(_Token, grpc.aio.UnaryUnaryClientInterceptor):
    intercept_unary_unary: Any = _Token.add


class _TokenDown(_Token, grpc.aio.UnaryStreamClientInterceptor):
    intercept_unary_stream: Any = _Token.add


class _TokenBoth(_Token, grpc.aio.StreamStreamClientInterceptor):
    intercept_stream_stream: Any = _Token.add


def with_token(address: str, token: str) -> grpc.aio.Channel:
    """A channel that connects, and reconnects, by itself. The address is on this machine."""
    interceptors: list[Any] = [_TokenUnary(token), _TokenDown(token), _TokenBoth(token)]
    return grpc.aio.insecure_channel(address, options=OPTIONS, interceptors=interceptors)


def require_loopback(address: str, remedy: str = "") -> None:
    """Plain text is for one machine only. Raises `ConfigurationError`; `remedy` names what would encrypt."""
    if address.startswith("unix:"):
        return
    host = address.rpartition(":")[0].strip("[]")
    try:
        on_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        on_loopback = False
    if not on_loopback:
        usual = "TELETRUNK_TLS=on for the Manager; an invitation for the others"
        raise ConfigurationError(
            f"{address} is not a loopback address: without certificates services stay on one machine "
            f"({remedy or usual})"
        )
