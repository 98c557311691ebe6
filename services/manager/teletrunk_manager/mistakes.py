"""Mistakes of a person at the command line, and how they reach them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from teletrunk import rpc
from teletrunk.errors import Refusal
from teletrunk.metrics import QUESTIONS
from teletrunk.remedies import Part, command_line

_LINK_BROKE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class Mistake(Exception):
    """One line that says what to do, in parts, and the gRPC status that fits it."""

    code = grpc.StatusCode.INVALID_ARGUMENT

    def __init__(self, *parts: Part, code: grpc.StatusCode | None = None) -> None:
        super().__init__(command_line(parts))
        self.parts = parts
        self.code = code or self.code


class Unknown(Mistake):
    """What was named does not exist."""

    code = grpc.StatusCode.NOT_FOUND


class Taken(Mistake):
    """Another has that name."""

    code = grpc.StatusCode.ALREADY_EXISTS


class NotYours(Mistake):
    """Somebody else's right."""

    code = grpc.StatusCode.PERMISSION_DENIED


class NotNow(Mistake):
    """The system is not in a state for it."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class TooOften(Mistake):
    """Later it may be done."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED

    def __init__(self, what: str, seconds: int) -> None:
        super().__init__(f"too many {what}: wait {seconds} seconds")


class InProcess:
    """The context of a caller without a wire: mistakes reach it as they are, to be told in its own words."""


def explaining(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Decorates a unary servicer method: mistakes, refusals and a Storage's own words reach the caller."""

    async def serve(self: Any, request: Any, context: Any) -> Any:
        try:
            with QUESTIONS.labels(method.__name__).time():
                return await method(self, request, context)
        except Mistake as mistake:
            if isinstance(context, InProcess):
                raise
            await context.abort(mistake.code, str(mistake))
        except Refusal as refusal:
            await rpc.abort(context, refusal)
        except grpc.aio.AioRpcError as error:
            await _pass_on(error, context)

    return serve


async def _pass_on(error: grpc.aio.AioRpcError, context: Any) -> None:
    refusal = rpc.refusal_of(error)
    if refusal is None and error.code() in _LINK_BROKE:
        refusal = Refusal("storage-unreachable")
    if refusal is not None:
        await rpc.abort(context, refusal)
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "that Session Storage is too old for this: update it")
    await context.abort(error.code(), error.details() or "")
