"""Machines that join a Manager by files, as a chart mounts them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import secrets
import sqlite3
from pathlib import Path
from typing import Any

import grpc
from cryptography.hazmat.primitives.asymmetric import ec
from teletrunk import rpc
from teletrunk.identity import Identity
from teletrunk.papers import signing_request
from teletrunk.v1 import fleet_pb2, fleet_pb2_grpc

from tests.integration.test_fleet import Process, Site, command, service_id
from tests.servers import free_port

MODULES = {"worker": "teletrunk_worker", "storage": "teletrunk_session_store"}
LISTENS = {"worker": "SIP_ADDRESS", "storage": "STORAGE_ADDRESS"}


class Cluster(Site):
    """A Manager whose ports are known before it starts, and services that find it by files."""

    def __init__(self, directory: Path, exits: contextlib.AsyncExitStack, **settings: str) -> None:
        self.port, self.door = free_port(), free_port()
        self.token_file = directory / "join-token"
        self.authority = directory / "manager" / "authority" / "authority.pem"
        settings.setdefault("ENROLMENT_ADDRESS", f"127.0.0.1:{self.door}")
        super().__init__(directory, exits, **{"MANAGER_ADDRESS": f"127.0.0.1:{self.port}", **settings})

    def service(self, kind: str, name: str, **settings: str) -> Process:
        """Not started yet. A name that was there before is the same machine; an empty setting is not given."""
        given = {
            LISTENS[kind]: "127.0.0.1:0",
            "JOIN_TOKEN_FILE": str(self.token_file),
            "AUTHORITY_FILE": str(self.authority),
            "JOIN_ADDRESS": f"127.0.0.1:{self.door}",
        }
        return Process(
            MODULES[kind], self.directory / name, **{key: value for key, value in (given | settings).items() if value}
        )

    async def join_token(self, kind: str, count: int, *options: str) -> dict[str, Any]:
        code, text = await command(self.manager.data, kind, "join-token", "--count", str(count), "--json", *options)
        assert code == 0, text
        made: dict[str, Any] = json.loads(text)
        self.token_file.write_text(str(read(made["invitation"])["secret"]))
        return made

    async def tokens(self) -> list[dict[str, Any]]:
        code, text = await command(self.manager.data, "join-token", "list", "--json")
        assert code == 0, text
        listed: list[dict[str, Any]] = json.loads(text)["tokens"]
        return listed

    async def ask(self, secret: str, identity: Identity, kind: str = "") -> grpc.StatusCode | None:
        """What a stranger with a key of its own is answered; None: a certificate."""
        request = fleet_pb2.EnrolRequest(
            secret=secret,
            service_id=identity.id,
            signing_request=signing_request(identity, ec.generate_private_key(ec.SECP256R1())),
            kind=kind,
        )
        async with rpc.knock(f"127.0.0.1:{self.door}", self.authority.read_bytes()) as channel:
            try:
                await fleet_pb2_grpc.EnrolmentServiceStub(channel).Enrol(request, timeout=20)
            except grpc.aio.AioRpcError as error:
                return error.code()
        return None

    def rows(self, question: str) -> list[Any]:
        with contextlib.closing(sqlite3.connect(self.manager.data / "manager.db")) as database:
            return database.execute(question).fetchall()


def declared(path: Path, *entries: tuple[str, str, int]) -> None:
    """Changed as the kubelet changes a mounted Secret: at once."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps([{"kind": kind, "secret": text, "count": count} for kind, text, count in entries]))
    fresh.rename(path)


def read(invitation: str) -> dict[str, Any]:
    given: dict[str, Any] = json.loads(base64.urlsafe_b64decode(invitation))
    return given


def secret() -> str:
    return secrets.token_urlsafe(32)


async def ended(process: Process) -> int | None:
    return await asyncio.wait_for(process._process.wait(), 60)


__all__ = ("Cluster", "declared", "ended", "read", "secret", "service_id")
