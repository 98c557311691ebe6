"""teletrunk worker ..., teletrunk storage ...: who is there, who may come, and what Workers may do."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from teletrunk.cli.client import DEADLINE_S, ask, ask_fleet, every, fail
from teletrunk.cli.moments import told as moment
from teletrunk.cli.output import Json, say, show, table
from teletrunk.cli.status import state_of_service
from teletrunk.v1 import admin_pb2 as pb
from teletrunk.v1 import fleet_pb2

worker_app = typer.Typer()
storage_app = typer.Typer(no_args_is_help=True)
Service = Annotated[str, typer.Argument(help="Its id or name, as `list` shows it.")]


def _list(kind: str, as_json: bool) -> None:
    answer = ask(lambda admin: every(admin.ListServices, pb.ListServicesRequest()))
    services = [service for service in answer.services if service.kind == kind]
    wanted = pb.ListServicesResponse(services=sorted(services, key=lambda one: one.name))
    rows = [
        [
            s.id,
            s.name,
            s.address,
            s.version,
            state_of_service(s),
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


def listed(kind: str, name: str) -> pb.AttachedService | None:
    """Who has this id, or alone has this name. Ends the command where several have it."""
    services = ask(lambda admin: every(admin.ListServices, pb.ListServicesRequest())).services
    found = [each for each in services if each.kind == kind and name in (each.id, each.name)]
    found = [each for each in found if each.id == name] or found
    if len(found) > 1:
        fail(f"{len(found)} {kind}s are called {name}: say which by its id: {', '.join(each.id for each in found)}")
    return found[0] if found else None


def id_of(kind: str, name: str) -> str:
    """Of whom is not listed, what was given: a member that never came is known to the Manager by its id."""
    found = listed(kind, name)
    return found.id if found else name


def _show(kind: str, name: str, as_json: bool) -> None:
    found = listed(kind, name)
    if found is None:
        fail(f"there is no {kind} {name}: teletrunk {kind} list shows them")
    show(found, as_json, lambda: say("\n".join(_told(found))))


def _told(service: pb.AttachedService) -> list[str]:
    most = f" of {service.most_calls}" if service.most_calls else ""
    counts = f"calls: {service.active_calls}{most}, registrations: {service.registrations}"
    lines = [
        f"{service.name}  {service.kind} {service.id}  version {service.version}",
        f"address: {service.address}{' by UDP or TCP' if service.kind == 'worker' else ''}",
        *([f"address: {service.sip_tls_address} by TLS"] if service.sip_tls_address else []),
        f"state: {state_of_service(service)}, last seen {moment(service.last_seen)}",
        counts if service.kind == "worker" else f"sessions: {service.sessions}",
    ]
    if service.kind == "worker":
        lines.append(f"accounts assigned to it: {', '.join(service.account_ids) or 'none'}")
    if service.drained:
        lines.append(f"told to take no more calls (teletrunk worker drain {service.id} --off)")
    if service.certified_until:
        lines.append(f"certificate: until {moment(service.certified_until)}, enrolled {moment(service.enrolled_at)}")
        lines.append(f"came by: {service.came_by or 'an invitation'}{f' ({service.comment})' * bool(service.comment)}")
    return lines


@worker_app.command("show")
def show_worker(worker: Service, as_json: Json = False) -> None:
    """One Worker: state, drain, assignments, certificate."""
    _show("worker", worker, as_json)


@storage_app.command("show")
def show_storage(storage: Service, as_json: Json = False) -> None:
    """One Session Storage: state, sessions, certificate."""
    _show("storage", storage, as_json)


@storage_app.callback()
def storage() -> None:
    """Session Storages that have attached to the Manager."""


def _invite(kind: str, comment: str, as_json: bool) -> None:
    request = fleet_pb2.InviteRequest(kind=kind, comment=comment)
    answer = ask_fleet(lambda fleet: fleet.Invite(request, timeout=DEADLINE_S))
    until = time.strftime("%H:%M", time.localtime(answer.expires_at))

    def text() -> None:
        say(f"For one {kind}, until {until}. On its machine, once:")
        say(start_line(kind, answer.invitation))

    show(answer, as_json, text)


def start_line(kind: str, invitation: str) -> str:
    """What to type on the service's machine."""
    if kind == "worker":
        return f"TELETRUNK_INVITATION={invitation} teletrunk worker"
    needs = "TELETRUNK_STORAGE_ADDRESS=ITS_ADDRESS:5052 TELETRUNK_TELEGRAM_API_ID=... TELETRUNK_TELEGRAM_API_HASH=..."
    return f"{needs} TELETRUNK_INVITATION={invitation} teletrunk session-store"


Comment = Annotated[str, typer.Option(help="What you will know it by.")]


@worker_app.command("invite")
def invite_worker(comment: Comment = "", as_json: Json = False) -> None:
    """Prints a one-time invitation with which a Worker on another machine gets its certificate."""
    _invite("worker", comment, as_json)


@storage_app.command("invite")
def invite_storage(comment: Comment = "", as_json: Json = False) -> None:
    """Prints a one-time invitation with which a Storage on another machine gets its certificate."""
    _invite("storage", comment, as_json)


@worker_app.command("drain")
def drain(
    worker: Service,
    off: Annotated[bool, typer.Option("--off", help="Lets it take up work again.")] = False,
) -> None:
    """Lets a Worker take no more calls; it leaves when its last one has ended."""
    found = listed("worker", worker)
    request = fleet_pb2.DrainRequest(worker_id=found.id if found else worker, on=not off)
    ask_fleet(lambda fleet: fleet.Drain(request, timeout=DEADLINE_S))
    if not off:
        say(f"{worker} takes no more calls; it leaves when its last has ended.")
    elif found and found.attached:
        say(f"{worker} takes calls again.")
    else:
        say(f"{worker} may take calls again, and has left: start it (teletrunk worker on its machine, or up there).")


Name = Annotated[str, typer.Argument(help="What it shall be called; '' for what its machine is called.")]


def _rename(kind: str, service: str, name: str) -> None:
    request = fleet_pb2.RenameServiceRequest(service_id=id_of(kind, service), name=name)
    ask_fleet(lambda fleet: fleet.RenameService(request, timeout=DEADLINE_S))
    say(f"{service} is called {name or 'what its machine is called'}.")


@worker_app.command("rename")
def rename_worker(worker: Service, name: Name) -> None:
    """Calls a Worker something else than its machine is called."""
    _rename("worker", worker, name)


@storage_app.command("rename")
def rename_storage(storage: Service, name: Name) -> None:
    """Calls a Session Storage something else than its machine is called."""
    _rename("storage", storage, name)


@worker_app.command("assign")
def assign(
    account: Annotated[str, typer.Argument(help="An account id, phone or @username.")],
    workers: Annotated[list[str] | None, typer.Argument(help="Workers, by id or name; none: all may use it.")] = None,
) -> None:
    """Says which Workers may use an account."""
    ids = [id_of("worker", worker) for worker in workers or ()]
    request = fleet_pb2.AssignRequest(account=account, worker_ids=ids)
    ask_fleet(lambda fleet: fleet.Assign(request, timeout=DEADLINE_S))
    say(f"{account} is for {', '.join(workers) if workers else 'all Workers'}.")
