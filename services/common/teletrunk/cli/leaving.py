"""teletrunk worker revoke|remove|leave, and the same for storages: how services stop being members."""

from __future__ import annotations

from typing import Literal

from teletrunk.cli.client import DEADLINE_S, Yes, ask_fleet, confirm, fail
from teletrunk.cli.output import say
from teletrunk.cli.service import Service, id_of, listed, storage_app, worker_app
from teletrunk.v1 import fleet_pb2, manager_pb2


def _revoke(kind: str, service: str, yes: bool) -> None:
    found = listed(kind, service)
    if found and not found.certified_until:
        fail(f"{service} has come without a certificate, so there is none to refuse: stop it, then remove it")
    service_id = found.id if found else service
    confirm(f"The certificate of {service} will be refused at once, and its calls end. Revoke it?", yes)
    request = fleet_pb2.RevokeRequest(service_id=service_id)
    answer = ask_fleet(lambda fleet: fleet.Revoke(request, timeout=DEADLINE_S))
    say(f"{service_id} is revoked: its certificate is refused from now on.")
    if answer.join_token.startswith("account/"):
        say(f"It came by {answer.join_token}, and can come back by that as another one.")
    elif answer.join_token:
        say(f"It can come back as another one by its join token: teletrunk join-token revoke {answer.join_token}")


def _remove(kind: str, service: str, yes: bool) -> None:
    service_id = id_of(kind, service)
    confirm(f"{service} is forgotten, with its drain and assignments. Remove it?", yes)
    request = fleet_pb2.RemoveServiceRequest(service_id=service_id)
    ask_fleet(lambda fleet: fleet.RemoveService(request, timeout=DEADLINE_S))
    say(f"{service_id} is removed.")


def _leave(kind: Literal["worker", "storage"]) -> None:
    import asyncio

    import grpc

    from teletrunk import running
    from teletrunk.config import ServiceSettings, load
    from teletrunk.enrolment import Enrolled
    from teletrunk.identity import Identity
    from teletrunk.manager_way import ManagerWay
    from teletrunk.security import Security

    settings = load(ServiceSettings)
    name = settings.data / "secrets" / f"{kind}.id"
    if not name.exists():
        fail(f"{settings.data} is not the data directory of a {kind}: set TELETRUNK_DATA")
    running.hold_alone(settings.data, "worker" if kind == "worker" else "session-store")  # or it would come back
    membership = Enrolled(settings, Identity(kind, name.read_text()))
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


@worker_app.command("remove")
def remove_worker(worker: Service, yes: Yes = False) -> None:
    """Forgets a Worker that is gone for good."""
    _remove("worker", worker, yes)


@storage_app.command("remove")
def remove_storage(storage: Service, yes: Yes = False) -> None:
    """Forgets a Storage that is gone for good; not while it alone has an account's session."""
    _remove("storage", storage, yes)


@worker_app.command("leave")
def leave_worker() -> None:
    """On a Worker's own machine: it leaves for good. A Worker that only stops stays a member."""
    _leave("worker")


@storage_app.command("leave")
def leave_storage() -> None:
    """On a Storage's own machine: it leaves for good. A Storage that only stops stays a member."""
    _leave("storage")


@worker_app.command("revoke")
def revoke_worker(worker: Service, yes: Yes = False) -> None:
    """Ends a Worker's certificate at once."""
    _revoke("worker", worker, yes)


@storage_app.command("approve")
def approve_storage(storage: Service, yes: Yes = False) -> None:
    """Lets a Storage come back with another vault than the one that it had."""
    storage_id = id_of("storage", storage)
    confirm(f"Whoever comes as {storage} next brings its vault, and is sent sign-ins. Approve it?", yes)
    request = fleet_pb2.ApproveStorageRequest(storage_id=storage_id)
    ask_fleet(lambda fleet: fleet.ApproveStorage(request, timeout=DEADLINE_S))
    say(f"{storage} may come with another vault.")


@storage_app.command("revoke")
def revoke_storage(storage: Service, yes: Yes = False) -> None:
    """Ends a Storage's certificate at once."""
    _revoke("storage", storage, yes)
