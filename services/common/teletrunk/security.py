"""Which calls between services are let in.

On one machine: plain text on loopback (or a UNIX socket) with the cluster token. Beyond it: mutual TLS, where
each service is who its certificate says, and may call only what its kind may.
"""

from __future__ import annotations

import contextlib
import hmac
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import grpc

from teletrunk.channel import TOKEN_KEY
from teletrunk.identity import Identity
from teletrunk.places import Places

if TYPE_CHECKING:
    from teletrunk.papers import Papers

MOST_OF_SERVICE: Final = 1_024  # calls of one service at a time: a quarter of what a port takes
_FREE = "/grpc.health.v1.Health/Check"  # not Watch: it would hold a place for ever

# Method prefix to the kinds that may call it; the longest prefix counts. What none names is for the machine itself.
Rights = Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Security:
    """How this process proves itself to others: with the token, or, once it has papers, with its certificate."""

    token: str = field(repr=False)
    papers: Papers | None = None


def identity_of(context: Any) -> Identity | None:
    """Who calls, by the certificate; None for a call from this machine with the token."""
    for name in context.auth_context().get("x509_subject_alternative_name", ()):
        if identity := Identity.parse(name.decode(errors="replace")):
            return identity
    return None


def is_encrypted(context: Any) -> bool:
    return b"ssl" in context.auth_context().get("transport_security_type", ())


class Gate(grpc.aio.ServerInterceptor):
    """Stands before every method of a server; health checks are free.

    `is_current` says whether an identity still counts (it may have been revoked).
    """

    def __init__(self, token: str, rights: Rights, is_current: Callable[[Identity], bool]) -> None:
        self._token = token.encode()
        self._rights = rights
        self._is_current = is_current
        self._inside: Places[Identity] = Places()

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = await continuation(details)
        if handler is None or details.method == _FREE:
            return handler
        return _guarded(handler, details.method, self._inside_of)

    @contextlib.asynccontextmanager
    async def _inside_of(self, method: str, context: Any) -> AsyncIterator[None]:
        """Nobody fills a port for all others, over however many connections."""
        await self._check(method, context)
        identity = identity_of(context)
        if identity is None:  # of this machine
            yield
            return
        if not self._inside.take(identity, MOST_OF_SERVICE):
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "this service has too many calls at a time")
        try:
            yield
        finally:
            self._inside.give_back([identity])

    async def _check(self, method: str, context: Any) -> None:
        if not is_encrypted(context):
            given = dict(context.invocation_metadata() or ()).get(TOKEN_KEY, "")
            if not hmac.compare_digest(str(given).encode(), self._token):
                await context.abort(grpc.StatusCode.UNAUTHENTICATED, "the cluster token is missing or wrong")
            return
        identity = identity_of(context)
        if identity is None or not self._is_current(identity):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "the certificate is not, or no longer, accepted")
        elif identity.kind not in self._allowed(method):
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, f"a {identity.kind} may not call {method}")

    def _allowed(self, method: str) -> frozenset[str]:
        matching = [prefix for prefix in self._rights if method.startswith(prefix)]
        return self._rights[max(matching, key=len)] if matching else frozenset()


def _guarded(
    handler: Any, method: str, admitted: Callable[[str, Any], contextlib.AbstractAsyncContextManager[None]]
) -> Any:
    """The same handler behind the gate: only there the caller's certificate is known."""
    if handler.response_streaming:
        stream = handler.stream_stream or handler.unary_stream

        async def streaming(request: Any, context: Any) -> AsyncIterator[Any]:
            async with admitted(method, context):
                async for response in stream(request, context):
                    yield response

        kind = "stream_stream" if handler.request_streaming else "unary_stream"
        return handler._replace(**{kind: streaming})
    single = handler.stream_unary or handler.unary_unary

    async def answering(request: Any, context: Any) -> Any:
        async with admitted(method, context):
            return await single(request, context)

    return handler._replace(**{"stream_unary" if handler.request_streaming else "unary_unary": answering})
