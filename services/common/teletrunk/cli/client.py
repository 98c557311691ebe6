"""How the command talks to the Manager."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeVar

import grpc
import typer

from teletrunk import rpc
from teletrunk.cli.output import plain
from teletrunk.cli.remote import Failed, RemoteSettings, remote_work
from teletrunk.config import ServiceSettings, load
from teletrunk.v1 import admin_pb2_grpc, fleet_pb2_grpc, subscription_pb2_grpc

Answer = TypeVar("Answer")
Admin = Any  # the generated stub's asynchronous form
DEADLINE_S = 60.0  # longer than the Manager gives a Storage for a sign-in


def ask(work: Callable[[Admin], Awaitable[Answer]]) -> Answer:
    """Runs `work` with the Manager's AdminService. A failure is one line on standard error and exit code 1."""
    return _ask(admin_pb2_grpc.AdminServiceStub, work)


def ask_fleet(work: Callable[[Admin], Awaitable[Answer]]) -> Answer:
    """The same with the Manager's FleetService."""
    return _ask(fleet_pb2_grpc.FleetServiceStub, work)


def ask_subscriptions(work: Callable[[Admin], Awaitable[Answer]]) -> Answer:
    """The same with the Manager's SubscriptionService."""
    return _ask(subscription_pb2_grpc.SubscriptionServiceStub, work)


async def every(method: Callable[..., Awaitable[Any]], request: Any, items: str, key: str) -> Any:
    """Page after page of a list, as one answer. `items` is its field in the answer, `key` what pages go by."""
    answer = await method(request, timeout=DEADLINE_S)
    page = getattr(answer, items)
    while page:  # how long pages are is the Manager's affair: an empty one is the end
        request.after = getattr(page[-1], key)
        page = getattr(await method(request, timeout=DEADLINE_S), items)
        getattr(answer, items).extend(page)
    return answer


def _ask(stub: Callable[[Any], Any], work: Callable[[Admin], Awaitable[Answer]]) -> Answer:
    remote = load(RemoteSettings)
    settings = load(ServiceSettings)

    async def run() -> Answer:
        # Made here when there is none, so that the token's directory gets this mode and not the usual one.
        settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        async with rpc.dial(settings.manager_here, rpc.Security(settings.token())) as channel:
            return await work(stub(channel))

    try:
        return asyncio.run(run() if remote.api_url is None else remote_work(remote, work))
    except Failed as error:
        fail(str(error))
    except grpc.aio.AioRpcError as error:
        fail(_explained(error, settings.manager_address))
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")


def _explained(error: grpc.aio.AioRpcError, address: str) -> str:
    refusal = rpc.refusal_of(error)
    if refusal is not None:
        return f"{refusal.phrase}. {refusal.row.remedy}"
    if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return f"the Manager at {address} does not answer: is it running? (teletrunk up)"
    if error.code() is grpc.StatusCode.UNAUTHENTICATED:
        return f"the Manager at {address} belongs to another data directory: set TELETRUNK_DATA"
    return error.details() or error.code().name


def fail(text: str) -> NoReturn:
    """One line on standard error, exit code 1."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"teletrunk: {plain(text)}\n")
    raise typer.Exit(1)
