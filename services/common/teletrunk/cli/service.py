"""teletrunk worker list, teletrunk storage list."""

from __future__ import annotations

import time

import typer

from teletrunk.cli.client import DEADLINE_S, ask
from teletrunk.cli.output import Json, show, table
from teletrunk.v1 import admin_pb2 as pb

worker_app = typer.Typer()
storage_app = typer.Typer(no_args_is_help=True)


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
