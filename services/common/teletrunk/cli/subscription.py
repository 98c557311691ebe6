"""teletrunk subscription ...: how much accounts may call."""

from __future__ import annotations

import datetime
from enum import StrEnum
from typing import Annotated

import typer

from teletrunk.cli.client import DEADLINE_S, Yes, ask_subscriptions, confirm_at_terminal, every, fail
from teletrunk.cli.moments import End
from teletrunk.cli.output import Json, counted, say, show, table
from teletrunk.v1 import subscription_pb2 as pb

app = typer.Typer(no_args_is_help=True)

_DAY_S = 86_400
Name = Annotated[str, typer.Argument(help="The subscription's name or id.")]
Lines = Annotated[int | None, typer.Option(min=0, help="Calls at the same time.")]
Total = Annotated[int | None, typer.Option(min=0, help="Seconds of talk within the window.")]
Failed = Annotated[int | None, typer.Option(min=0, help="Calls without an answer within the window.")]
Window = Annotated[float | None, typer.Option(min=0.0001, help="Days that the two above look back; 30 if not given.")]
Longest = Annotated[int | None, typer.Option(min=1, help="Seconds after which a call is ended.")]


class Limit(StrEnum):
    lines = "lines"
    valid_until = "valid-until"
    total_seconds = "total-seconds"
    failed_calls = "failed-calls"
    call_seconds = "call-seconds"


def _limits(
    lines: int | None,
    until: datetime.datetime | None,
    total: int | None,
    failed: int | None,
    window: float | None,
    longest: int | None,
) -> pb.Limits:
    return pb.Limits(
        lines=lines,
        valid_until=until.timestamp() if until else None,
        total_seconds=total,
        failed_calls=failed,
        window_seconds=round(window * _DAY_S) if window else None,
        call_seconds=longest,
    )


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What you will know it by.")],
    lines: Lines = None,
    valid_until: End = None,
    total_seconds: Total = None,
    failed_calls: Failed = None,
    window_days: Window = None,
    call_seconds: Longest = None,
    as_json: Json = False,
) -> None:
    """Makes a plan. What is not given is not limited."""
    limits = _limits(lines, valid_until, total_seconds, failed_calls, window_days, call_seconds)
    request = pb.AddSubscriptionRequest(name=name, limits=limits)
    answer = ask_subscriptions(lambda service: service.AddSubscription(request, timeout=DEADLINE_S))
    show(
        answer,
        as_json,
        lambda: say(
            f"{name}: {_told(answer.subscription.limits)}. Next: teletrunk subscription include {name} ACCOUNT"
        ),
    )


@app.command()
def change(
    subscription: Name,
    lines: Lines = None,
    valid_until: End = None,
    total_seconds: Total = None,
    failed_calls: Failed = None,
    window_days: Window = None,
    call_seconds: Longest = None,
    unlimited: Annotated[
        list[Limit] | None, typer.Option(help="A limit that is taken away; may be given again.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Changes the limits that are given; the others stay."""
    found = _one(subscription)
    limits = pb.Limits()
    limits.CopyFrom(found.limits)
    limits.MergeFrom(_limits(lines, valid_until, total_seconds, failed_calls, window_days, call_seconds))
    for limit in unlimited or ():
        limits.ClearField(limit.value.replace("-", "_"))  # type: ignore[arg-type]  # they are its fields' names
    request = pb.ChangeSubscriptionRequest(subscription=subscription, limits=limits, version=found.version)
    answer = ask_subscriptions(lambda service: service.ChangeSubscription(request, timeout=DEADLINE_S))
    show(answer, as_json, lambda: say(f"{subscription}: {_told(answer.subscription.limits)}."))


def _all() -> pb.ListSubscriptionsResponse:
    request = pb.ListSubscriptionsRequest()
    answer: pb.ListSubscriptionsResponse = ask_subscriptions(lambda service: every(service.ListSubscriptions, request))
    return answer


def _one(name: str) -> pb.Subscription:
    found = next((s for s in _all().subscriptions if name in (s.name, s.subscription_id)), None)
    if found is None:
        fail(f"there is no subscription {name}: teletrunk subscription list shows them")
    return found


@app.command("list")
def list_subscriptions(as_json: Json = False) -> None:
    """All plans, with the lines that are taken now."""
    answer = _all()
    rows = [
        [s.name, _told(s.limits), str(s.lines_taken), ", ".join(s.account_ids) or "-"] for s in answer.subscriptions
    ]
    show(answer, as_json, lambda: table("subscriptions", ["name", "limits", "lines taken", "accounts"], rows))


@app.command("show")
def show_subscription(subscription: Name, as_json: Json = False) -> None:
    """One plan."""
    found = _one(subscription)
    taken = counted(found.lines_taken, "line")
    text = f"{found.name}: {_told(found.limits)}; {taken} taken; {', '.join(found.account_ids)}"
    show(found, as_json, lambda: say(text))


@app.command()
def include(
    subscription: Name, account: Annotated[str, typer.Argument(help="An account id, phone or @username.")]
) -> None:
    """Puts an account under a plan, in place of the one that it has."""
    request = pb.IncludeAccountRequest(account=account, subscription=subscription)
    ask_subscriptions(lambda service: service.IncludeAccount(request, timeout=DEADLINE_S))
    say(f"{account} calls under {subscription} now.")


@app.command()
def exclude(account: Annotated[str, typer.Argument(help="An account id, phone or @username.")]) -> None:
    """Takes an account out of its plan: it calls without limits."""
    request = pb.IncludeAccountRequest(account=account)
    ask_subscriptions(lambda service: service.IncludeAccount(request, timeout=DEADLINE_S))
    say(f"{account} is in no plan now.")


@app.command()
def remove(subscription: Name, yes: Yes = False, as_json: Json = False) -> None:
    """Removes a plan; its accounts call without limits then."""
    found = _one(subscription)
    accounts = counted(len(found.account_ids), "account")
    confirm_at_terminal(f"{found.name} has {accounts}, which will call without limits. Remove it?", yes)
    request = pb.RemoveSubscriptionRequest(subscription=subscription)
    answer = ask_subscriptions(lambda service: service.RemoveSubscription(request, timeout=DEADLINE_S))
    show(answer, as_json, lambda: say("Removed."))


def _told(limits: pb.Limits) -> str:
    told = []
    if limits.HasField("lines"):
        told.append(counted(limits.lines, "line"))
    if limits.HasField("valid_until"):
        told.append(f"until {datetime.datetime.fromtimestamp(limits.valid_until):%Y-%m-%d %H:%M}")
    days = counted(limits.window_seconds / _DAY_S, "day")
    if limits.HasField("total_seconds"):
        told.append(f"{limits.total_seconds} s of talk in {days}")
    if limits.HasField("failed_calls"):
        told.append(f"{counted(limits.failed_calls, 'failed call')} in {days}")
    if limits.HasField("call_seconds"):
        told.append(f"{limits.call_seconds} s a call")
    return ", ".join(told) or "no limits"
