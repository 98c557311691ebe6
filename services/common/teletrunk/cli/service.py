"""teletrunk worker ..., teletrunk storage ...: who is there, who may come, who must go."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Literal

import grpc
import typer

from teletrunk.cli.client import DEADLINE_S, ask, ask_fleet, fail
from teletrunk.cli.output import Json, say, show, table
from teletrunk.config import ServiceSettings, load
from teletrunk.enrolment import Membership
from teletrunk.identity import Identity
from teletrunk.manager_way import ManagerWay
from teletrunk.security import Security
from teletrunk.v1 import admin_pb2 as pb
from teletrunk.v1 import fleet_pb2, manager_pb2

worker_app = typer.Typer()
storage_app = typer.Typer(no_args_is_help=True)
join_app = typer.Typer(no_args_is_help=True)


def _list(kind: str, as_json: bool) -> None:
    answer = ask(lambda admin: admin.ListServices(pb.ListServicesRequest(), timeout=DEADLINE_S))
    wanted = pb.ListServicesResponse(services=[service for service in answer.services if service.kind == kind])
    rows = [
        [
            s.id,
            s.name,
            s.address,
            s.version,
            "attached" if s.attached else f"away for {time.time() - s.last_seen:.0f} s",
            str(s.active_calls if kind == "worker" else s.sessions),
        ]
        for s in wanted.services
    ]
    columns = ["id", "name", "address", "version", "state", "calls" if kind == "worker" else "sessions"]
    show(wanted, as_json, lambda: table(f"{kind}s", columns, rows))


@worker_app.command("list")
def list_workers(as_json: Json = False) -> None:
    """Workers, attached and away."""
    _list("worker", as_json)


@storage_app.command("list")
def list_storages(as_json: Json = False) -> None:
    """Session Storages, attached and away."""
    _list("storage", as_json)


@storage_app.callback()
def storage() -> None:
    """Session Storages that have attached to the Manager."""


def _invite(kind: str, comment: str, as_json: bool) -> None:
    request = fleet_pb2.InviteRequest(kind=kind, comment=comment)
    answer = ask_fleet(lambda fleet: fleet.Invite(request, timeout=DEADLINE_S))
    until = time.strftime("%H:%M", time.localtime(answer.expires_at))

    def text() -> None:
        say(f"For one {kind}, until {until}. On its machine, once:")
        say(_start(kind, answer.invitation))

    show(answer, as_json, text)


def _join_token(kind: str, count: int, days: float, comment: str, as_json: bool) -> None:
    request = fleet_pb2.AddJoinTokenRequest(kind=kind, count=count, days=days, comment=comment)
    answer = ask_fleet(lambda fleet: fleet.AddJoinToken(request, timeout=DEADLINE_S))

    def text() -> None:
        until = f", until {_moment(answer.token.expires_at)}" if answer.token.expires_at else ""
        say(f"For {count} {kind}(s) at a time{until}. This is shown once; on each machine:")
        say(_start(kind, answer.invitation))
        say(f"teletrunk join-token revoke {answer.token.id} ends it.")

    show(answer, as_json, text)


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))


def _start(kind: str, invitation: str) -> str:
    """What to type on the service's machine."""
    if kind == "worker":
        return f"TELETRUNK_INVITATION={invitation} teletrunk worker"
    needs = "TELETRUNK_STORAGE_ADDRESS=ITS_ADDRESS:5052 TELETRUNK_TELEGRAM_API_ID=... TELETRUNK_TELEGRAM_API_HASH=..."
    return f"{needs} TELETRUNK_INVITATION={invitation} teletrunk session-store"


def _revoke(service_id: str) -> None:
    request = fleet_pb2.RevokeRequest(service_id=service_id)
    answer = ask_fleet(lambda fleet: fleet.Revoke(request, timeout=DEADLINE_S))
    say(f"{service_id} is revoked: its certificate is refused from now on.")
    if answer.join_token.startswith("account/"):
        say(f"It came by {answer.join_token}, and can come back by that as another one.")
    elif answer.join_token:
        say(f"It can come back as another one by its join token: teletrunk join-token revoke {answer.join_token}")


def _remove(service_id: str, yes: bool) -> None:
    if not yes:
        typer.confirm(f"{service_id} is forgotten, with its drain and assignments. Remove it?", abort=True)
    request = fleet_pb2.RemoveServiceRequest(service_id=service_id)
    ask_fleet(lambda fleet: fleet.RemoveService(request, timeout=DEADLINE_S))
    say(f"{service_id} is removed.")


def _leave(kind: Literal["worker", "storage"]) -> None:
    settings = load(ServiceSettings)
    name = settings.data / "secrets" / f"{kind}.id"
    if not name.exists():
        fail(f"{settings.data} is not the data directory of a {kind}: set TELETRUNK_DATA")
    membership = Membership(settings, Identity(kind, name.read_text()))
    if not membership.papers.valid:
        fail(f"this {kind} has no certificate: teletrunk {kind} remove {name.read_text()} on the Manager's machine")

    async def leave() -> None:
        way = ManagerWay(membership.managers, Security("", membership.papers))
        try:
            await way.stub.Leave(manager_pb2.LeaveRequest(), timeout=DEADLINE_S)
        finally:
            await way.close()

    try:
        asyncio.run(leave())
    except grpc.aio.AioRpcError as error:
        fail(error.details() or error.code().name)
    say(f"This {kind} is no member any more.")


Comment = Annotated[str, typer.Option(help="What you will know it by.")]
ServiceId = Annotated[str, typer.Argument(help="Its id, as `list` shows it.")]


@worker_app.command("invite")
def invite_worker(comment: Comment = "", as_json: Json = False) -> None:
    """Prints a one-time invitation with which a Worker on another machine gets its certificate."""
    _invite("worker", comment, as_json)


@storage_app.command("invite")
def invite_storage(comment: Comment = "", as_json: Json = False) -> None:
    """Prints a one-time invitation with which a Storage on another machine gets its certificate."""
    _invite("storage", comment, as_json)


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


@join_app.callback()
def join_tokens() -> None:
    """Secrets by which services join by themselves."""


@join_app.command("list")
def list_join_tokens(as_json: Json = False) -> None:
    """Join tokens, and how many live by them."""
    answer = ask_fleet(lambda fleet: fleet.ListJoinTokens(fleet_pb2.ListJoinTokensRequest(), timeout=DEADLINE_S))
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


@join_app.command("revoke")
def revoke_join_token(token: Annotated[str, typer.Argument(help="Its id, as `list` shows it.")]) -> None:
    """Lets nobody else come by a join token; who came by it stays."""
    ask_fleet(lambda fleet: fleet.RevokeJoinToken(fleet_pb2.RevokeJoinTokenRequest(id=token), timeout=DEADLINE_S))
    say(f"{token} is revoked. Who came by it stays: teletrunk worker revoke ends one.")


Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@worker_app.command("remove")
def remove_worker(service_id: ServiceId, yes: Yes = False) -> None:
    """Forgets a Worker that is gone for good."""
    _remove(service_id, yes)


@storage_app.command("remove")
def remove_storage(service_id: ServiceId, yes: Yes = False) -> None:
    """Forgets a Storage that is gone for good; not while it alone has an account's session."""
    _remove(service_id, yes)


@worker_app.command("leave")
def leave_worker() -> None:
    """On a Worker's own machine: it leaves for good. A Worker that only stops stays a member."""
    _leave("worker")


@storage_app.command("leave")
def leave_storage() -> None:
    """On a Storage's own machine: it leaves for good. A Storage that only stops stays a member."""
    _leave("storage")


@worker_app.command("revoke")
def revoke_worker(service_id: ServiceId) -> None:
    """Ends a Worker's certificate at once."""
    _revoke(service_id)


@storage_app.command("revoke")
def revoke_storage(service_id: ServiceId) -> None:
    """Ends a Storage's certificate at once."""
    _revoke(service_id)


@worker_app.command("drain")
def drain(
    worker: ServiceId,
    off: Annotated[bool, typer.Option("--off", help="Lets it take up work again.")] = False,
) -> None:
    """Lets a Worker take no more calls; it leaves when its last one has ended."""
    ask_fleet(lambda fleet: fleet.Drain(fleet_pb2.DrainRequest(worker_id=worker, on=not off), timeout=DEADLINE_S))
    say(f"{worker} takes calls again." if off else f"{worker} takes no more calls; it leaves when its last has ended.")


@worker_app.command("assign")
def assign(
    account: Annotated[str, typer.Argument(help="An account id, phone or @username.")],
    workers: Annotated[list[str] | None, typer.Argument(help="Worker ids; none: all Workers may use it.")] = None,
) -> None:
    """Says which Workers may use an account."""
    request = fleet_pb2.AssignRequest(account=account, worker_ids=workers or [])
    ask_fleet(lambda fleet: fleet.Assign(request, timeout=DEADLINE_S))
    say(f"{account} is for {', '.join(workers) if workers else 'all Workers'}.")
