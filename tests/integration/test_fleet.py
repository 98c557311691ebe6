"""Mutual TLS between real processes: invitation, certificate, renewal, revocation, and what a thief can do with one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import secrets
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from teletrunk import rpc
from teletrunk.identity import Identity
from teletrunk.papers import Papers
from teletrunk.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    call_pb2,
    fleet_pb2,
    fleet_pb2_grpc,
    manager_pb2_grpc,
    session_store_pb2_grpc,
    subscription_pb2,
    subscription_pb2_grpc,
)
from teletrunk.v1 import manager_pb2 as pb
from teletrunk.v1 import session_store_pb2 as store

from tests.servers import free_port
from tests.stacks import stacks

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
        try:
            await asyncio.wait_for(self._process.wait(), PATIENCE_S)
        except TimeoutError:
            stands = await asyncio.to_thread(stacks, self._process.pid)
            self._process.kill()
            raise AssertionError(f"{self._module} did not end: {self.lines[-30:]}\n{stands}") from None
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


BANNED = ("198.51.100.7", "0.0.0.0/0", "10.0.0.0/8", "::/0", "2001:db8::/48")


async def _all_of(said: list[pb.AttachRequest]) -> AsyncIterator[pb.AttachRequest]:
    for request in said:
        yield request
    await asyncio.Event().wait()


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

    code, _ = await command(site.manager.data, "worker", "revoke", name, "--yes")
    assert code == 0
    await worker.says("manager link broke")

    async def gone() -> bool:
        return name not in await attached(site)

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
        storages = session_store_pb2_grpc.SessionStoreServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await storages.StartSignIn(store.StartSignInRequest(phone="+15550100"), timeout=5)
        assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED
        session = store.CallRequest(start=store.StartCall(session_id=secrets.token_hex(8), called="@x"))
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await storages.Call(iter([session]), timeout=5).read()
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


async def test_a_storages_certificate_calls_nothing_of_a_workers(site: Site) -> None:
    storage = await site.join("storage", "s1", await site.invitation("storage"))
    await storage.says("enrolled")
    identity = Identity("storage", service_id(storage, "storage"))
    async with site.channel(site.address, storage.data, identity, Identity("manager", "manager")) as channel:
        stub = manager_pb2_grpc.ManagerServiceStub(channel)
        calls: tuple[tuple[Any, Any], ...] = (
            (stub.Register, pb.RegisterRequest(worker_id=identity.id)),
            (stub.RouteCall, pb.RouteCallRequest(worker_id=identity.id)),
            (stub.RouteIncoming, pb.RouteIncomingRequest(worker_id=identity.id)),
            (stub.ReportCall, pb.ReportCallRequest(record=call_pb2.CallRecord(call_id="c", worker_id=identity.id))),
        )
        for method, request in calls:
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await method(request, timeout=5)
            assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_stolen_storage_certificate_without_the_vault_is_not_let_in(site: Site) -> None:
    """So it is sent no sign-ins, and takes nobody's place."""
    storage = await site.join("storage", "s1", await site.invitation("storage"))
    await site.manager.says("service attached")
    identity = Identity("storage", service_id(storage, "storage"))
    real = (await storage.says("storage listening"))["address"]
    async with site.channel(site.address, storage.data, identity, Identity("manager", "manager")) as channel:
        for proof in (b"", b"another vault's"):
            hello = pb.StorageHello(storage_id=identity.id, name="thief", address=real, vault_proof=proof)
            stream = manager_pb2_grpc.ManagerServiceStub(channel).Attach(_all_of([pb.AttachRequest(storage=hello)]))
            with pytest.raises(grpc.aio.AioRpcError, match=r"has had another vault|shows no vault"):
                await asyncio.wait_for(stream.read(), PATIENCE_S)
    assert await attached(site) == {identity.id: True}, "it has its place"

    await storage.stop()
    (storage.data / "vault.db").rename(storage.data / "lost.db")
    settings = {"STORAGE_ADDRESS": "127.0.0.1:0", "MANAGER_ADDRESS": site.address}
    again = await site.run(Process("teletrunk_session_store", storage.data, **settings))
    assert "has had another vault" in (await again.says("the manager does not take this service"))["reason"]
    code, said = await command(site.manager.data, "storage", "approve", identity.id, "--yes")
    assert code == 0, said
    await site.manager.says("service attached")
    code, said = await command(site.manager.data, "storage", "approve", "nobody", "--yes")
    assert code == 1 and "there is no Storage nobody with a certificate" in said


async def test_a_stolen_worker_certificate_takes_nobodys_lines_and_bans_single_addresses(site: Site) -> None:
    worker = await site.join("worker", "w1", await site.invitation("worker"))
    await worker.says("enrolled")
    identity = Identity("worker", service_id(worker, "worker"))
    await worker.stop()
    local = rpc.dial(f"unix:{site.manager.data / 'manager.sock'}", rpc.Security(_token(site)))
    plans = subscription_pb2_grpc.SubscriptionServiceStub(local)
    limits = subscription_pb2.Limits(lines=1)
    added = await plans.AddSubscription(subscription_pb2.AddSubscriptionRequest(name="one", limits=limits), timeout=5)
    forged = pb.Line(subscription_id=added.subscription.subscription_id, call_id="forged", proof=bytes(32))
    said = [
        pb.AttachRequest(worker=pb.WorkerHello(worker_id=identity.id, sip_address="127.0.0.1:5060", name="thief")),
        pb.AttachRequest(heartbeat=pb.Heartbeat(lines=[forged])),
        *(pb.AttachRequest(banned=pb.Ban(network=n, until=time.time() + 9e9, times=4_000_000_000)) for n in BANNED),
        *(pb.AttachRequest(banned=pb.Ban(network=f"10.0.{n >> 8}.{n & 255}", until=2e9, times=1)) for n in range(400)),
        pb.AttachRequest(heartbeat=pb.Heartbeat()),
    ]
    async with site.channel(site.address, worker.data, identity, Identity("manager", "manager")) as channel:
        stream = manager_pb2_grpc.ManagerServiceStub(channel).Attach(_all_of(said))
        pulses = 0
        while pulses < 2:
            answer = await stream.read()
            assert isinstance(answer, pb.AttachResponse)
            pulses += answer.WhichOneof("kind") == "pulse"
        (plan,) = (await plans.ListSubscriptions(subscription_pb2.ListSubscriptionsRequest(), timeout=5)).subscriptions
        listed = await fleet_pb2_grpc.FleetServiceStub(local).ListBans(fleet_pb2.ListBansRequest(), timeout=5)
        stream.cancel()
    await local.close()
    assert plan.lines_taken == 0
    bans = {ban.network: ban for ban in listed.bans}
    assert "198.51.100.7" in bans and not any("/" in network for network in bans)
    assert bans["198.51.100.7"].times == 1 and bans["198.51.100.7"].until < time.time() + 2_000
    assert len(bans) == 300


async def test_a_storage_that_nobody_reaches_is_told_so_and_is_not_listed(site: Site) -> None:
    port = free_port()
    announced = f"127.0.0.1:{port}"
    storage = await site.join("storage", "s1", await site.invitation("storage"), PUBLIC_STORAGE_ADDRESS=announced)
    reason = (await storage.says("the manager does not take this service"))["reason"]
    assert f"cannot reach this Session Storage at {announced}" in reason
    assert "TELETRUNK_STORAGE_ADDRESS" in reason and "TELETRUNK_PUBLIC_STORAGE_ADDRESS" in reason
    assert await attached(site) == {}
    real = (await storage.says("storage listening"))["address"]
    async with led_to(port, real):
        await site.manager.says("service attached")
    said = [line["event"] for line in storage.lines]
    assert "the manager does not take this service" not in said, "once is enough"


async def test_a_storage_is_reached_as_itself_only(site: Site) -> None:
    """Whoever answers at the address must have that Storage's certificate."""
    first = await site.join("storage", "s1", await site.invitation("storage"))
    address = (await first.says("storage listening"))["address"]
    await site.manager.says("service attached")
    second = await site.join("storage", "s2", await site.invitation("storage"), PUBLIC_STORAGE_ADDRESS=address)
    assert address in (await second.says("the manager does not take this service"))["reason"]


@contextlib.asynccontextmanager
async def led_to(port: int, address: str) -> AsyncIterator[None]:
    """A port that leads to this address, as a router's would."""
    host, _, to = address.rpartition(":")

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(host, int(to))
        await asyncio.gather(carry(reader, far_writer), carry(far_reader, writer))

    server = await asyncio.start_server(connected, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()


async def test_invitations_are_listed_and_taken_back(site: Site) -> None:
    for comment in ("front", "back"):
        assert (await command(site.manager.data, "worker", "invite", "--comment", comment))[0] == 0
    invitation = await site.invitation("storage")
    code, text = await command(site.manager.data, "invitation", "list", "--json")
    listed = json.loads(text)["invitations"]
    assert (code, sorted((each["kind"], each["comment"]) for each in listed)) == (
        0,
        [("storage", ""), ("worker", "back"), ("worker", "front")],
    )
    (wanted,) = [each["id"] for each in listed if each["kind"] == "storage"]
    assert (await command(site.manager.data, "invitation", "revoke", wanted))[0] == 0
    late = await site.join("storage", "s1", invitation)
    assert "invitation" in (await late.says("teletrunk session-store:"))["event"]
    assert (await command(site.manager.data, "invitation", "revoke", wanted))[0] == 1
    _, text = await command(site.manager.data, "invitation", "list")
    assert "front" in text and wanted not in text


async def test_an_invitation_is_all_that_a_service_needs(site: Site) -> None:
    """Where the Manager is, it is told, and remembers."""
    code, text = await command(site.manager.data, "storage", "invite")
    assert code == 0 and "TELETRUNK_MANAGER_ADDRESS" not in text
    for needed in ("TELETRUNK_STORAGE_ADDRESS=", "TELETRUNK_TELEGRAM_API_ID=", "TELETRUNK_TELEGRAM_API_HASH="):
        assert needed in text
    invitation = re.search(r"TELETRUNK_INVITATION=(\S+) teletrunk session-store", text)
    assert invitation is not None
    settings = {"STORAGE_ADDRESS": "127.0.0.1:0"}
    storage = Process("teletrunk_session_store", site.directory / "s1", INVITATION=invitation[1], **settings)
    await site.run(storage)
    await site.manager.says("service attached")
    await storage.stop()
    assert (storage.data / "identity" / "storage" / "managers").read_text() == site.address
    await site.run(Process("teletrunk_session_store", site.directory / "s1", **settings))
    await site.manager.says("service attached")
