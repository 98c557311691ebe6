"""teletrunk token ..., webhook ...: who may do what by the REST API, and who hears what was done."""

from __future__ import annotations

import time
from typing import Annotated, Final, Literal

import typer

from teletrunk.cli.client import DEADLINE_S, ask, every
from teletrunk.cli.moments import End, unix
from teletrunk.cli.output import Json, say, show, table
from teletrunk.v1 import admin_pb2 as pb

token_app = typer.Typer(no_args_is_help=True)
webhook_app = typer.Typer(no_args_is_help=True)

Role = Literal["owner", "administrator", "viewer"]


_OWN: Final = "\nIt reaches what it makes itself, and accounts that are shared with it (teletrunk account share)."


@token_app.command("add")
def add_token(
    name: Annotated[str, typer.Argument(help="The administrator's name.")],
    role: Annotated[Role, typer.Option(help="Each may do what those after it may.")] = "administrator",
    everything: Annotated[bool, typer.Option("--all", help="A viewer who sees everything: a dashboard.")] = False,
    valid_until: End = None,
    inherit: Annotated[bool, typer.Option("--inherit", help="It gets what the name has from before.")] = False,
    as_json: Json = False,
) -> None:
    """Makes a key to the REST API. It is shown this once.

    It reaches what it makes itself and what is shared with it; that of an owner, everything.
    """
    scope = "all" if everything else ""
    request = pb.AddTokenRequest(name=name, role=role, scope=scope, expires_at=unix(valid_until), inherit=inherit)
    answer = ask(lambda admin: admin.AddToken(request, timeout=DEADLINE_S))
    own = "" if role == "owner" or everything else _OWN
    show(answer, as_json, lambda: say(f"{name} is {role} with the token\n{answer.secret}{own}"))


@token_app.command("list")
def list_tokens(as_json: Json = False) -> None:
    """All tokens, without the secrets."""
    answer = ask(lambda admin: every(admin.ListTokens, pb.ListTokensRequest()))
    rows = [
        [t.name, t.role, t.scope, _day(t.created_at), _minute(t.last_used_at, "never"), _minute(t.expires_at, "-")]
        for t in answer.tokens
    ]
    show(answer, as_json, lambda: table("tokens", ["name", "role", "scope", "since", "last used", "until"], rows))


def _day(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(at))


def _minute(at: float, none: str) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at)) if at else none


@token_app.command("remove")
def remove_token(name: Annotated[str, typer.Argument(help="The administrator's name.")]) -> None:
    """Ends a token at once."""
    left = ask(lambda admin: admin.RemoveToken(pb.RemoveTokenRequest(name=name), timeout=DEADLINE_S))
    say(f"{name}'s token is worth nothing any more.")
    if left.accounts or left.trunks:
        say(f"{name}'s accounts ({left.accounts}) and trunks ({left.trunks}) go on: remove them, or switch them off.")


@webhook_app.command("add")
def add_webhook(
    url: Annotated[str, typer.Argument(help="http:// or https:// address.")], as_json: Json = False
) -> None:
    """Sends events to an address. The secret that signs them is shown this once.

    Events: calls that begin, are answered and end (with the record), registrations and sessions that are lost or back,
    services that go and come, bans, limits of plans.
    """
    answer = ask(lambda admin: admin.AddWebhook(pb.AddWebhookRequest(url=url), timeout=DEADLINE_S))
    text = f"{answer.webhook.webhook_id} sends to {url}\nsecret  {answer.secret}"
    show(answer, as_json, lambda: say(text))


@webhook_app.command("list")
def list_webhooks(as_json: Json = False) -> None:
    """All webhooks, how many events wait for each, and how many were given up."""
    answer = ask(lambda admin: every(admin.ListWebhooks, pb.ListWebhooksRequest()))
    rows = [[hook.webhook_id, hook.url, str(hook.waiting), str(hook.failed)] for hook in answer.webhooks]
    show(answer, as_json, lambda: table("webhooks", ["id", "url", "waiting", "failed"], rows))


@webhook_app.command("test")
def test_webhook(webhook: Annotated[str, typer.Argument(help="Its id.")], as_json: Json = False) -> None:
    """Sends it an event `ping` now and shows how that is answered; exit code 1 when it is not acknowledged."""
    answer = ask(lambda admin: admin.TestWebhook(pb.TestWebhookRequest(webhook_id=webhook), timeout=DEADLINE_S))
    told = f"Acknowledged: HTTP {answer.status}" if answer.delivered else f"Not acknowledged: {answer.failure}"
    show(answer, as_json, lambda: say(f"{told}, after {answer.took_ms:.0f} ms."))
    raise typer.Exit(0 if answer.delivered else 1)


@webhook_app.command("failures")
def list_failures(
    webhook: Annotated[str, typer.Option(help="Only those of this one: its id.")] = "", as_json: Json = False
) -> None:
    """Events that could not be delivered: when and why the last time, and when it is tried again."""
    request = pb.ListWebhookFailuresRequest(webhook_id=webhook)
    answer = ask(lambda admin: every(admin.ListWebhookFailures, request))
    rows = [
        [f.webhook_id, f.event, str(f.attempts), _minute(f.last_at, ""), f.failure, _minute(f.next_at, "given up")]
        for f in answer.failures
    ]
    columns = ["webhook", "event", "attempts", "last", "failure", "next"]
    show(answer, as_json, lambda: table("failures", columns, rows))


@webhook_app.command("remove")
def remove_webhook(webhook: Annotated[str, typer.Argument(help="Its id.")]) -> None:
    """Stops sending; what has not been sent yet is dropped."""
    ask(lambda admin: admin.RemoveWebhook(pb.RemoveWebhookRequest(webhook_id=webhook), timeout=DEADLINE_S))
    say("Removed.")
