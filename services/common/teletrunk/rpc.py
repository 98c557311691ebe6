"""gRPC as all three services use it: who may listen where, deadlines, refusals on the wire."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from teletrunk import causes
from teletrunk.channel import COMMON, LARGEST_MESSAGE, OPTIONS, require_loopback, with_token
from teletrunk.errors import TABLE, Refusal
from teletrunk.front_door import CALLS_AN_ADDRESS, FrontDoor
from teletrunk.identity import MANAGER, Identity
from teletrunk.metrics import REFUSALS
from teletrunk.security import Gate, Rights, Security
from teletrunk.sources import ConfigurationError, free_socket
from teletrunk.v1.call_pb2 import REFUSAL_CAUSE_UNSPECIFIED, RefusalCause

DEADLINE_S: Final = 5.0
_DOMAIN = "teletrunk"
# Streams count as calls for as long as they are held: each Worker's and Storage's link, and every phone call. Sized for
# a hundred Workers, twenty Storages and some thousand phone calls at a Storage; a connection is one peer's.
MOST_CALLS: Final = 4_096
MOST_CALLS_A_CONNECTION: Final = 1_024
_ROOM: Final = (*COMMON, LARGEST_MESSAGE, ("grpc.max_concurrent_streams", MOST_CALLS_A_CONNECTION))
# Strangers come with one short message each, and go.
MOST_STRANGERS: Final = 256
_LITTLE_ROOM: Final = (
    *COMMON,
    ("grpc.max_receive_message_length", 64 << 10),
    ("grpc.max_concurrent_streams", CALLS_AN_ADDRESS),
    ("grpc.max_connection_idle_ms", 10_000),
    ("grpc.max_connection_age_ms", 60_000),
    ("grpc.max_connection_age_grace_ms", 10_000),
)


def dial(address: str, security: Security, to: Identity = MANAGER) -> grpc.aio.Channel:
    """A channel that connects, and reconnects, by itself; `to` is who must be there when certificates are used."""
    if security.papers is None or address.startswith("unix:"):
        require_loopback(address)
        return with_token(address, security.token)
    key, certificate, authority = security.papers.load()
    credentials = grpc.ssl_channel_credentials(authority, key, certificate)
    options = (*OPTIONS, ("grpc.ssl_target_name_override", to.server_name))
    return grpc.aio.secure_channel(address, credentials, options=options)


class Server:
    """A gRPC server with its gate and grpc.health.v1. With papers it speaks mutual TLS."""

    def __init__(
        self,
        address: str,
        security: Security,
        rights: Rights | None = None,
        is_current: Callable[[Identity], bool] = lambda identity: True,
        *,
        front_door: bool = False,
    ) -> None:
        """A front door asks no certificate of those who come: they come to get one. It offers nothing else, and
        methods with one message each way only."""
        if security.papers is None:
            require_loopback(address)
        self._address = address
        self._papers = security.papers
        self._front_door = front_door
        gate = FrontDoor() if front_door else Gate(security.token, rights or {}, is_current)
        self._server = grpc.aio.server(
            interceptors=(gate,),
            options=_LITTLE_ROOM if front_door else _ROOM,
            maximum_concurrent_rpcs=MOST_STRANGERS if front_door else MOST_CALLS,
        )
        self._health = health.aio.HealthServicer()
        if not front_door:
            health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self.port = 0

    def add(self, register: Callable[[Any, grpc.aio.Server], object], servicer: object) -> None:
        register(servicer, self._server)

    def listen_here(self, path: Path) -> None:
        """Also listens on a UNIX socket, in plain text with the token: for commands on this machine.

        Raises `ConfigurationError` when the path is too long for one.
        """
        self._server.add_insecure_port(f"unix:{free_socket(path)}")

    async def start(self) -> None:
        """Raises `ConfigurationError` when the port is taken."""
        try:
            self.port = self._bind()
        except RuntimeError:
            raise ConfigurationError(
                f"{self._address} is in use: stop the other process, or set another address"
            ) from None
        await self._server.start()
        await self._health.set("", health_pb2.HealthCheckResponse.SERVING)

    async def show(self, service: str) -> None:
        """Lets the health service answer for this name too."""
        await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)

    def _bind(self) -> int:
        if self._papers is None:
            return int(self._server.add_insecure_port(self._address))
        papers = self._papers
        shown: tuple[bytes, bytes, bytes] = papers.load()

        def current() -> grpc.ServerCertificateConfiguration | None:
            """Asked at each handshake: a renewed certificate is shown from the next one on."""
            nonlocal shown
            fresh = papers.load()
            if fresh == shown:
                return None
            shown = fresh
            return _configuration(fresh)

        credentials = grpc.dynamic_ssl_server_credentials(
            _configuration(shown),
            current,  # type: ignore[arg-type]  # None means that nothing has changed, says the documentation
            not self._front_door,
        )
        return int(self._server.add_secure_port(self._address, credentials))

    async def stop(self, grace: float = 1.0) -> None:
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace)


def knock(address: str, authority: bytes) -> grpc.aio.Channel:
    """A channel to a Manager's front door, for a service without a certificate."""
    options = (*OPTIONS, ("grpc.ssl_target_name_override", MANAGER.server_name))
    return grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(authority), options=options)


def _configuration(papers: tuple[bytes, bytes, bytes]) -> grpc.ServerCertificateConfiguration:
    key, certificate, authority = papers
    return grpc.ssl_server_certificate_configuration([(key, certificate)], authority)


def is_wildcard(address: str) -> bool:
    """Whether it says to listen everywhere, which is nowhere to go to."""
    return address.rpartition(":")[0].strip("[]") in ("", "0.0.0.0", "::")  # noqa: S104


async def abort(context: grpc.aio.ServicerContext[Any, Any], refusal: Refusal) -> None:
    """Ends the call with the row's gRPC status and its id as google.rpc.ErrorInfo."""
    REFUSALS.labels(refusal.row.id).inc()
    metadata = {"detail": refusal.detail, "cause": RefusalCause.Name(refusal.cause)}
    info = error_details_pb2.ErrorInfo(reason=refusal.row.id, domain=_DOMAIN, metadata=metadata)
    details = [_packed(info)]
    if refusal.retry_after:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromSeconds(refusal.retry_after)
        details.append(_packed(retry))
    code = refusal.row.grpc_status.value[0]
    status = status_pb2.Status(code=code, message=refusal.phrase, details=details)
    await context.abort_with_status(rpc_status.to_status(status))


def _packed(message: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def refusal_of(error: grpc.aio.AioRpcError) -> Refusal | None:
    """The refusal that the peer sent, or None when the link itself (or the peer's code) failed."""
    status = rpc_status.from_call(error)
    return refusal_in(status) if status is not None else None


def refusal_in(status: status_pb2.Status) -> Refusal | None:
    """The refusal that a status carries, if it does."""
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    found: error_details_pb2.ErrorInfo | None = None
    for detail in status.details:
        if detail.Unpack(info) and info.domain == _DOMAIN and info.reason in TABLE:
            found = info
        else:
            detail.Unpack(retry)
    if found is None:
        return None
    return Refusal(found.reason, found.metadata["detail"], retry.retry_delay.seconds, _cause(found))


def _cause(info: error_details_pb2.ErrorInfo) -> RefusalCause.ValueType:
    """A peer of another version may say none, or one that we do not know."""
    named = info.metadata["cause"]
    code = RefusalCause.Value(named) if named in RefusalCause.keys() else REFUSAL_CAUSE_UNSPECIFIED  # noqa: SIM118
    return causes.known(info.reason, code)


def refusing(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Decorates a unary servicer method: a `Refusal` raised in it reaches the caller as its row."""

    async def serve(self: Any, request: Any, context: Any) -> Any:
        try:
            return await method(self, request, context)
        except Refusal as refusal:
            await abort(context, refusal)

    return serve


async def abort_bad_input(context: Any, text: str) -> None:
    """For mistakes of a person at the command line: one line that says what to do."""
    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)


__all__: Sequence[str] = (
    "DEADLINE_S", "Security", "Server", "abort", "abort_bad_input", "dial", "is_wildcard", "knock", "refusal_in",
    "refusal_of",
    "refusing", "require_loopback",
)  # fmt: skip
