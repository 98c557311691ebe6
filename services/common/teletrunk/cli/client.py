"""How the command talks to the Manager."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, NoReturn, TypeVar

import grpc
import grpc.aio
import typer

from teletrunk.channel import require_loopback, with_token
from teletrunk.cli.failed import Failed
from teletrunk.cli.output import plain
from teletrunk.cli.place import Place

Answer = TypeVar("Answer")
Admin = Any  # the generated stub's asynchronous form
_DETAILS = "grpc-status-details-bin"
_PAGE = 500  # the longest page of a list
# Of an answer's list: an item's key, and the request's field that takes the last one.
_BEFORE_NEXT = (
    ("accounts", "account_id", "after"),
    ("trunks", "login", "after"),
    ("bans", "network", "after"),
    ("calls", "call_id", "older_than"),
)
DEADLINE_S = 60.0  # longer than the Manager gives a Storage for a sign-in


class Wrong(Exception):
    """What a person typed is wrong, and may be typed once more."""


def ask(work: Callable[[Admin], Awaitable[Answer]], correctable: str = "") -> Answer:
    """Runs `work` with the Manager's AdminService. A failure is one line on standard error and exit code 1.

    Raises `Wrong` for a failure that begins with `correctable`.
    """
    from teletrunk.v1.admin_pb2_grpc import AdminServiceStub

    return _ask(AdminServiceStub, work, correctable)


def ask_fleet(work: Callable[[Admin], Awaitable[Answer]]) -> Answer:
    """The same with the Manager's FleetService."""
    from teletrunk.v1.fleet_pb2_grpc import FleetServiceStub

    return _ask(FleetServiceStub, work)


def ask_live_calls(work: Callable[[Admin], Awaitable[Answer]]) -> Answer:
    """The same with the Manager's LiveCallService."""
    from teletrunk.v1.live_calls_pb2_grpc import LiveCallServiceStub

    return _ask(LiveCallServiceStub, work)


def ask_subscriptions(work: Callable[[Admin], Awaitable[Answer]]) -> Answer:
    """The same with the Manager's SubscriptionService."""
    from teletrunk.v1.subscription_pb2_grpc import SubscriptionServiceStub

    return _ask(SubscriptionServiceStub, work)


async def every(method: Callable[..., Awaitable[Any]], request: Any) -> Any:
    """Page after page of a list, as one answer."""
    whole = page = await method(request, timeout=DEADLINE_S)
    while goes_on(request, page):
        page = await method(request, timeout=DEADLINE_S)
        whole.MergeFrom(page)
    whole.next = ""
    return whole


def goes_on(request: Any, page: Any) -> bool:
    """Whether there may be more than this page of a list; then the request asks for the next one.

    A Manager of a version before knows no `next`, and goes on after the last item of a full page.
    """
    if page.next:
        request.page = page.next
        return True
    for name, key, field in _BEFORE_NEXT:
        if field not in request.DESCRIPTOR.fields_by_name or name not in page.DESCRIPTOR.fields_by_name:
            continue
        items = getattr(page, name)
        if not request.page and len(items) >= (request.limit or _PAGE):
            setattr(request, field, getattr(items[-1], key))
            return True
    return False


def _ask(stub: Callable[[Any], Any], work: Callable[[Admin], Awaitable[Answer]], correctable: str = "") -> Answer:
    place = Place.read()
    try:
        return asyncio.run(reached(place, stub, work))
    except Failed as error:
        text = str(error)
    except grpc.aio.AioRpcError as error:
        text = explained(error, place.manager_address)
    except OSError as error:
        text = f"{error.filename}: {error.strerror}"
    if not correctable or not text.startswith(correctable):
        fail(text)
    raise Wrong(text)


async def reached(place: Place, stub: Callable[[Any], Any], work: Callable[[Admin], Awaitable[Answer]]) -> Answer:
    """Runs `work` with the Manager: of this machine by gRPC, or far away by REST. Raises `Failed` and gRPC's error."""
    if place.api_url:
        from teletrunk.cli.remote import remote_work  # an HTTP client is slow to import

        return await remote_work(place, work)
    # Made here when there is none, so that the token's directory gets this mode and not the usual one.
    place.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    require_loopback(place.manager_here)
    async with with_token(place.manager_here, place.token()) as channel:
        return await work(stub(channel))


def explained(error: grpc.aio.AioRpcError, address: str) -> str:
    """What went wrong between the command and the Manager, in one line."""
    if any(key == _DETAILS for key, _ in error.trailing_metadata() or ()):
        from teletrunk import rpc  # heavy, and needed only for a refusal

        if (refusal := rpc.refusal_of(error)) is not None:
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


def confirm(question: str, yes: bool) -> None:
    """Asks before what cannot be taken back. `yes` is --yes; without a terminal nobody can answer, so it is needed."""
    if yes:
        return
    if not sys.stdin.isatty():
        fail(f"{question} Nobody can be asked here: say --yes")
    typer.confirm(question, abort=True)


def confirm_at_terminal(question: str, yes: bool) -> None:
    """Asks whoever can be asked; scripts have never been."""
    if not yes and sys.stdin.isatty():
        typer.confirm(question, abort=True)


Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
