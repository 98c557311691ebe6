"""Mutual TLS between real processes: invitation, certificate, renewal, revocation, and what a thief can do with one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from teletrunk import rpc
from teletrunk.identity import Identity, Papers
from teletrunk.v1 import admin_pb2, admin_pb2_grpc, manager_pb2_grpc, session_store_pb2_grpc
from teletrunk.v1 import manager_pb2 as pb
from teletrunk.v1 import session_store_pb2 as store

PATIENCE_S = 60  # an interpreter starts in one second, on a machine that is much too busy in many
LIFE_DAYS = 12 / 86_400  # seconds: renewed twice within a test


class Process:
    """A service on a machine of its own, as far as its data directory goes."""

    def __init__(self, module: str, data: Path, **settings: str) -> None:
        self.data = data
        self._module = module
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("TELETRUNK_")}
        self._environment |= {"TELETRUNK_DATA": str(data), "TELETRUNK_TELEGRAM_API_ID": "1"}
        self._environment |= {"TELETRUNK_TELEGRAM_API_HASH": "0" * 32}
        self._environment |= {f"TELETRUNK_{name}": value for name, value in settings.items()}
        self.lines: list[dict[str, Any]] = []
        self._news = asyncio.Condition()

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", self._module, env=self._environment, stderr=asyncio.subprocess.PIPE
        )
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stderr is not None
        while line := await self._process.stderr.readline():
            async with self._news:
                said = json.loads(line) if line.startswith(b"{") else {"event": line.decode().strip()}
                self.lines.append(said)
                self._news.notify_all()

    async def says(self, event: str, patience: float = PATIENCE_S) -> dict[str, Any]:
        """The first log line of this event that has not been waited for."""
        try:
            async with asyncio.timeout(patience), self._news:
                while True:
                    for line in self.lines:
                        if line["event"].startswith(event):
                            self.lines.remove(line)
                            return line
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"{self._module} never said {event}: {self.lines}") from None

    async def stop(self) -> None:
        if self._process.returncode is None:
            self._process.terminate()
        await asyncio.wait_for(self._process.wait(), PATIENCE_S)
        await self._reader


async def command(data: Path, *arguments: str) -> tuple[int | None, str]:
    environment = {**os.environ, "TELETRUNK_DATA": str(data)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "teletrunk.cli.main", *arguments, env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    return process.returncode, out.decode()


class Site:
    """A Manager that speaks TLS, and machines that join it."""

    def __init__(self, directory: Path, exits: contextlib.AsyncExitStack, **settings: str) -> None:
        self.directory = directory
        self._exits = exits
        settings = {"TLS": "true", "MANAGER_ADDRESS": "127.0.0.1:0"} | settings
        self.manager = Process("teletrunk_manager", directory / "manager", **settings)

    async def start(self) -> None:
        await self.run(self.manager)
        self.address = (await self.manager.says("manager listening"))["address"]

    async def run(self, process: Process) -> Process:
        await process.start()
        self._exits.push_async_callback(process.stop)
        return process

    async def invitation(self, kind: str) -> str:
        code, text = await command(self.manager.data, kind, "invite", "--json")
        assert code == 0, text
        return str(json.loads(text)["invitation"])

    async def join(self, kind: str, name: str, invitation: str, **settings: str) -> Process:
        module = "teletrunk_worker" if kind == "worker" else "teletrunk_session_store"
        address = {"worker": "SIP_ADDRESS", "storage": "STORAGE_ADDRESS"}[kind]
        settings |= {address: "127.0.0.1:0", "MANAGER_ADDRESS": self.address, "INVITATION": invitation}
        return await self.run(Process(module, self.directory / name, **settings))

    def channel(self, address: str, data: Path, identity: Identity, to: Identity) -> grpc.aio.Channel:
        papers = Papers(data / "identity" / identity.kind, identity)
        return rpc.dial(address, rpc.Security("", papers), to)


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with contextlib.AsyncExitStack() as exits:
        site = Site(tmp_path, exits)
        await site.start()
        yield site


def service_id(process: Process, kind: str) -> str:
    return (process.data / "secrets" / f"{kind}.id").read_text()


async def attached(site: Site) -> dict[str, bool]:
    async with rpc.dial(f"unix:{site.manager.data / 'manager.sock'}", rpc.Security(_token(site))) as channel:
        answer = await admin_pb2_grpc.AdminServiceStub(channel).ListServices(admin_pb2.ListServicesRequest(), timeout=5)
    return {service.id: service.attached for service in answer.services}


def _token(site: Site) -> str:
    return (site.manager.data / "secrets" / "cluster.token").read_text()


async def until(condition: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():
            await asyncio.sleep(0.05)


async def test_services_join_by_invitation_once_and_are_let_go_by_revocation(site: Site) -> None:
    invitation = await site.invitation("worker")
    worker = await site.join("worker", "w1", invitation)
    assert (await worker.says("enrolled"))["id"] == service_id(worker, "worker")
    name = service_id(worker, "worker")
    await site.manager.says("service attached")
    assert (await attached(site))[name]

    thief = await site.join("worker", "w2", invitation)
    refused = await thief.says("teletrunk worker:")
    assert "the invitation was used already" in refused["event"]
    wrong = await site.join("storage", "s1", await site.invitation("worker"))
    assert "it is for a worker" in (await wrong.says("teletrunk session-store:"))["event"]

    code, _ = await command(site.manager.data, "worker", "revoke", name)
    assert code == 0
    await worker.says("manager link broke")

    async def gone() -> bool:
        return not (await attached(site))[name]

    await until(gone)
    papers = site.channel(site.address, worker.data, Identity("worker", name), Identity("manager", "manager"))
    async with papers as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await manager_pb2_grpc.ManagerServiceStub(channel).RouteCall(pb.RouteCallRequest(), timeout=5)
    assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_certificates_are_renewed_without_a_restart(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as exits:
        site = Site(tmp_path, exits, CERTIFICATE_DAYS=str(LIFE_DAYS))
        await site.start()
        worker = await site.join("worker", "w1", await site.invitation("worker"))
        storage = await site.join("storage", "s1", await site.invitation("storage"))
        for _ in range(2):
            await worker.says("certificate renewed", 30)
            await storage.says("certificate renewed", 30)
        # The Manager shows a renewed certificate too: the first one has run out by now.
        identity = Identity("worker", service_id(worker, "worker"))
        manager = Identity("manager", "manager")
        async with site.channel(site.address, worker.data, identity, manager) as channel:
            answer = manager_pb2_grpc.ManagerServiceStub(channel).Renew(pb.RenewRequest(), timeout=5)
            with pytest.raises(grpc.aio.AioRpcError, match="the signing request cannot be used"):
                await answer


async def test_a_stolen_worker_certificate_opens_nothing_else(site: Site) -> None:
    worker = await site.join("worker", "w1", await site.invitation("worker"))
    storage = await site.join("storage", "s1", await site.invitation("storage"))
    address = (await storage.says("storage listening"))["address"]
    await site.manager.says("service attached")
    await site.manager.says("service attached")
    identity = Identity("worker", service_id(worker, "worker"))
    held = Identity("storage", service_id(storage, "storage"))
    manager = Identity("manager", "manager")
    while identity.id not in (await storage.says("grants"))["workers"]:
        pass  # it has heard of the Worker when this ends

    async with site.channel(site.address, worker.data, identity, manager) as channel:
        stub = manager_pb2_grpc.ManagerServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError, match=f"the certificate is of {identity.id}, not of another"):
            await stub.RouteCall(pb.RouteCallRequest(worker_id="another"), timeout=5)
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await admin_pb2_grpc.AdminServiceStub(channel).ListTrunks(admin_pb2.ListTrunksRequest(), timeout=5)
        assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED

    async with site.channel(address, worker.data, identity, held) as channel:
        stub = session_store_pb2_grpc.SessionStoreServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await stub.StartSignIn(store.StartSignInRequest(phone="+15550100"), timeout=5)
        assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED
        session = store.CallRequest(start=store.StartCall(session_id=secrets.token_hex(8), called="@x"))
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await stub.Call(iter([session]), timeout=5).read()
        found = rpc.refusal_of(refusal.value)
        assert found is not None and found.row.id == "session-access-revoked"

    # No certificate at all, or one for another name, does not even get to speak.
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        async with site.channel(address, worker.data, identity, Identity("storage", "another")) as channel:
            await session_store_pb2_grpc.SessionStoreServiceStub(channel).Resolve(store.ResolveRequest(), timeout=3)
    assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        async with rpc.dial(site.address, rpc.Security(_token(site))) as channel:  # plain text, with the right token
            await manager_pb2_grpc.ManagerServiceStub(channel).RouteCall(pb.RouteCallRequest(), timeout=3)
    assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
