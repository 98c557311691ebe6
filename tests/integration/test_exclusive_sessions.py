"""Two Storages on one vault: exactly one runs the session, whatever happens to it, and Telegram never sees both."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest_asyncio
from teletrunk import rpc
from teletrunk.cli.stack import Child
from teletrunk.v1 import manager_pb2, session_store_pb2_grpc
from teletrunk.v1 import session_store_pb2 as pb
from teletrunk_sandbox.control import SandboxControl

from tests.cable import cable
from tests.servers import Postgres, free_port

PHONE = "+79990000301"
TOKEN = "t" * 32
TAKE_OVER_S = 60.0


class Twin:
    """One of the two Storages."""

    def __init__(self, directory: Path, name: str, environment: dict[str, str]) -> None:
        own = {"TELETRUNK_DATA": str(directory / name), "TELETRUNK_STORAGE_ADDRESS": f"127.0.0.1:{free_port()}"}
        self.address = own["TELETRUNK_STORAGE_ADDRESS"]
        (directory / name).mkdir()
        self.child = Child(name, ["-m", "teletrunk_session_store"], environment | own, directory / f"{name}.log")

    async def start(self) -> None:
        await self.child.start()

    def signal(self, number: signal.Signals) -> None:
        assert self.child.process is not None
        self.child.process.send_signal(number)

    @contextlib.asynccontextmanager
    async def stub(self) -> AsyncIterator[session_store_pb2_grpc.SessionStoreServiceAsyncStub]:
        async with rpc.dial(self.address, rpc.Security(TOKEN)) as channel:
            yield session_store_pb2_grpc.SessionStoreServiceStub(channel)

    async def states(self) -> list[int]:
        with contextlib.suppress(grpc.aio.AioRpcError):
            async with self.stub() as stub:
                answer = await stub.ListSessions(pb.ListSessionsRequest(), timeout=2, wait_for_ready=True)
                return [session.state for session in answer.sessions]
        return []


class Pair:
    def __init__(self, control: SandboxControl, twins: list[Twin]) -> None:
        self.control = control
        self.twins = twins

    async def running(self) -> list[Twin]:
        active = [manager_pb2.SESSION_STATE_ACTIVE]
        return [twin for twin in self.twins if await twin.states() == active]

    async def runs(self, twin: Twin) -> None:
        """Waits until this one, and nobody else, runs the session."""
        async with asyncio.timeout(TAKE_OVER_S):
            while await self.running() != [twin]:
                assert await self.control.duplicates() == 0
                await asyncio.sleep(0.2)
        assert len(await self.control.connections(PHONE)) == 1


@contextlib.asynccontextmanager
async def two_storages(tmp_path: Path, *vaults: str) -> AsyncIterator[Pair]:
    """Each reaches the vault by its own URL; the first runs the session."""
    base = {name: value for name, value in os.environ.items() if not name.startswith("TELETRUNK_")}
    arguments = ["-m", "teletrunk_sandbox", "dc", "--state", str(tmp_path / "dc")]
    sandbox = Child("sandbox", arguments, base, tmp_path / "dc.log")
    await sandbox.start(stdout=asyncio.subprocess.PIPE)
    assert sandbox.process is not None and sandbox.process.stdout is not None
    dc = json.loads(await asyncio.wait_for(sandbox.process.stdout.readline(), 20))
    environment = base | {
        "TELETRUNK_CLUSTER_TOKEN": TOKEN,
        "TELETRUNK_VAULT_KEY": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
        "TELETRUNK_TELEGRAM_SERVER": f"{dc['host']}:{dc['port']}",
        "TELETRUNK_TELEGRAM_RSA_KEY_FILE": str(dc["rsa_key_file"]),
        "TELETRUNK_MANAGER_ADDRESS": f"127.0.0.1:{free_port()}",
    }
    twins = [
        Twin(tmp_path, name, environment | {"TELETRUNK_VAULT_URL": vault})
        for name, vault in zip(("one", "two"), vaults, strict=True)
    ]
    async with SandboxControl(dc["control_port"]) as control:
        await twins[0].start()
        await control.add_user(PHONE, "Gateway")
        async with twins[0].stub() as stub:
            started = await stub.StartSignIn(pb.StartSignInRequest(phone=PHONE), timeout=20, wait_for_ready=True)
            code = await control.code(PHONE)
            await stub.SubmitCode(pb.SubmitCodeRequest(sign_in_id=started.sign_in_id, code=code), timeout=20)
        await twins[1].start()
        pair = Pair(control, twins)
        await pair.runs(twins[0])
        yield pair
        for twin in twins:
            with contextlib.suppress(ProcessLookupError):
                twin.signal(signal.SIGCONT)
            await twin.child.stop()
    await sandbox.stop()


@pytest_asyncio.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    vault = f"sqlite+aiosqlite:///{tmp_path / 'vault.db'}"
    async with two_storages(tmp_path, vault, vault) as pair:
        yield pair


async def test_a_killed_storage_is_followed_by_the_other_once_its_lease_is_over(pair: Pair) -> None:
    one, two = pair.twins
    one.signal(signal.SIGKILL)
    await pair.runs(two)
    await one.start()
    async with asyncio.timeout(TAKE_OVER_S):
        while not await one.states():
            await asyncio.sleep(0.2)
    assert await pair.running() == [two]
    assert await pair.control.duplicates() == 0


async def test_a_stopped_storage_wakes_up_without_its_session(pair: Pair) -> None:
    one, two = pair.twins
    one.signal(signal.SIGSTOP)
    async with asyncio.timeout(TAKE_OVER_S):
        while await two.states() != [manager_pb2.SESSION_STATE_ACTIVE]:
            assert await pair.control.duplicates() == 0
            await asyncio.sleep(0.2)
    assert await pair.control.duplicates() == 0
    one.signal(signal.SIGCONT)
    await pair.runs(two)
    assert await pair.control.duplicates() == 0


async def test_a_storage_that_leaves_in_order_hands_over_at_once(pair: Pair) -> None:
    one, two = pair.twins
    loop = asyncio.get_running_loop()
    began = loop.time()
    await one.child.stop()
    await pair.runs(two)
    assert loop.time() - began < 45  # its pause between two attempts, not the other's whole lease on top
    assert await pair.control.duplicates() == 0


async def test_a_storage_that_is_cut_off_from_the_vault_lets_go_in_time(tmp_path: Path, postgres: Postgres) -> None:
    """Telegram it still reaches: only its own watch over the lease makes it leave before the other comes."""
    vault = await postgres.database()
    async with cable(postgres.port) as cut_off:
        by_cable = vault.replace(f":{postgres.port}/", f":{cut_off.port}/")
        assert by_cable != vault
        async with two_storages(tmp_path, by_cable, vault) as pair:
            two = pair.twins[1]
            with cut_off.cut():
                async with asyncio.timeout(TAKE_OVER_S):
                    while await two.states() != [manager_pb2.SESSION_STATE_ACTIVE]:
                        assert await pair.control.duplicates() == 0
                        await asyncio.sleep(0.1)
                assert await pair.control.duplicates() == 0
            await pair.runs(two)
            assert await pair.control.duplicates() == 0
