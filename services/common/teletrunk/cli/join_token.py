"""teletrunk worker join-token, storage join-token, join-token ...: secrets by which services join by themselves."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from teletrunk.cli.client import DEADLINE_S, ask_fleet, every
from teletrunk.cli.output import Json, say, show, table
from teletrunk.cli.service import Comment, start_line, storage_app, worker_app
from teletrunk.v1 import fleet_pb2

app = typer.Typer(no_args_is_help=True)


def _join_token(kind: str, count: int, days: float, comment: str, as_json: bool) -> None:
    request = fleet_pb2.AddJoinTokenRequest(kind=kind, count=count, days=days, comment=comment)
    answer = ask_fleet(lambda fleet: fleet.AddJoinToken(request, timeout=DEADLINE_S))

    def text() -> None:
        until = f", until {_moment(answer.token.expires_at)}" if answer.token.expires_at else ""
        say(f"For {count} {kind}(s) at a time{until}. This is shown once; on each machine:")
        say(start_line(kind, answer.invitation))
        say(f"teletrunk join-token revoke {answer.token.id} ends it.")

    show(answer, as_json, text)


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))


Count = Annotated[int, typer.Option(min=1, help="How many may live by it at a time.")]
Days = Annotated[float, typer.Option(min=0, help="When it ends; 0: when it is revoked.")]


@worker_app.command("join-token")
def worker_join_token(count: Count, days: Days = 0, comment: Comment = "", as_json: Json = False) -> None:
    """Makes a secret by which Workers on other machines get their certificates, one after the other."""
    _join_token("worker", count, days, comment, as_json)


@storage_app.command("join-token")
def storage_join_token(count: Count, days: Days = 0, comment: Comment = "", as_json: Json = False) -> None:
    """Makes a secret by which Storages on other machines get their certificates, one after the other."""
    _join_token("storage", count, days, comment, as_json)


@app.callback()
def join_tokens() -> None:
    """Secrets by which services join by themselves."""


@app.command("list")
def list_join_tokens(as_json: Json = False) -> None:
    """Join tokens, and how many live by them."""
    answer = ask_fleet(lambda fleet: every(fleet.ListJoinTokens, fleet_pb2.ListJoinTokensRequest()))
    rows = [
        [
            token.id,
            token.kind,
            f"{token.members} of {token.count}",
            _moment(token.expires_at) if token.expires_at else "",
            "by the join file" if token.declared else token.comment,
        ]
        for token in answer.tokens
    ]
    show(answer, as_json, lambda: table("join tokens", ["id", "for a", "members", "until", "comment"], rows))


@app.command("revoke")
def revoke_join_token(token: Annotated[str, typer.Argument(help="Its id, as `list` shows it.")]) -> None:
    """Lets nobody else come by a join token; who came by it stays."""
    ask_fleet(lambda fleet: fleet.RevokeJoinToken(fleet_pb2.RevokeJoinTokenRequest(id=token), timeout=DEADLINE_S))
    say(f"{token} is revoked. Who came by it stays: teletrunk worker revoke ends one.")
