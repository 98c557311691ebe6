"""A backup of an installation that runs, restored beside it: its sessions run there only once the old one is gone."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from teletrunk import rpc
from teletrunk.cli.stack import Child, Stack
from teletrunk.v1 import admin_pb2, admin_pb2_grpc, manager_pb2, session_store_pb2, session_store_pb2_grpc
from teletrunk_sandbox import ports
from teletrunk_sandbox.actors import Actor
from teletrunk_sandbox.world import World
from teletrunk_session_store.vault.adoption import COPIED, RESTORED

from tests.servers import free_port

from .conftest import FRIEND, GATEWAY

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

PATIENCE_S = 60
RTP_PORTS = 160  # of a Worker with twenty calls
HELD_S = 5.0


class Restored:
    """The new installation: other ports, the same Telegram."""

    def __init__(self, data: Path, world: World, manager_port: int) -> None:
        self.sip_port = free_port()
        rtp = ports.hold(RTP_PORTS)
        known = world.stack.environment.items()
        same = {name: value for name, value in known if "_TELEGRAM_" in name or "_TLS" in name}
        self.stack = Stack(data, sandbox=False, overrides=same | {
            "TELETRUNK_SIP_ADDRESS": f"127.0.0.1:{self.sip_port}",
            "TELETRUNK_MANAGER_ADDRESS": f"127.0.0.1:{manager_port}",
            "TELETRUNK_STORAGE_ADDRESS": f"127.0.0.1:{free_port()}",
            "TELETRUNK_RTP_PORTS": f"{rtp}-{rtp + RTP_PORTS - 1}",
        })  # fmt: skip

    async def command(self, *arguments: str) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "teletrunk.cli.main", *arguments, env=self.stack.environment,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        out, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        return process.returncode or 0, out.decode()

    async def account(self) -> admin_pb2.Account:
        settings = self.stack.settings
        async with rpc.dial(settings.manager_here, rpc.Security(settings.token())) as channel:
            admin: Any = admin_pb2_grpc.AdminServiceStub(channel)
            answer = await admin.ListAccounts(admin_pb2.ListAccountsRequest(), timeout=PATIENCE_S)
            account: admin_pb2.Account = answer.accounts[0]
            return account

    async def account_with(self, state: int, reason: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                account = await self.account()
                if (account.state, account.reason) == (state, reason):
                    return
                await asyncio.sleep(0.2)


@pytest.mark.parametrize("tls", ["false", "true"])
async def test_a_restored_copy_runs_no_session_while_the_old_installation_is_there(tls: str, tmp_path: Path) -> None:
    passphrase, file = tmp_path / "passphrase", tmp_path / "backup"
    passphrase.write_text("correct horse battery staple\n")
    port = ports.hold(2)  # the new Manager's, and the next one for those that enrol
    async with World(tmp_path, TELETRUNK_TLS=tls) as world:
        account = await world.add_account(GATEWAY, "gateway")
        trunk = await world.add_trunk(GATEWAY)
        await world.active(account.account_id)
        if tls == "true":  # the old Manager's name leads to the new one by then, as when a machine is replaced
            world.stack.environment["TELETRUNK_PUBLIC_MANAGER_ADDRESS"] = f"127.1:{port}"
        await world.command("backup", str(file), "--passphrase-file", str(passphrase))

        new = Restored(tmp_path / "new", world, port)
        code, said = await new.command("restore", str(file), "--passphrase-file", str(passphrase))
        assert code == 0 and "teletrunk storage adopt" in said, said
        await new.stack.start()
        try:
            await new.account_with(manager_pb2.SESSION_STATE_CONNECTING, RESTORED)
            await _only_the_old_one(world)
            code, said = await new.command("storage", "adopt", "--yes")
            assert (code, said.count("\n")) == (2, 1), said
            old = world.stack.environment
            assert f"a Manager at {old['TELETRUNK_MANAGER_ADDRESS']}" in said
            assert f"a Session Storage at {old['TELETRUNK_STORAGE_ADDRESS']}" in said
            assert f"a Session Storage on {world.stack.data}" in said

            for name in ("manager", "worker"):
                await world.stack.hold_down(name)
            storage = world.stack.children["session-store"]
            assert storage.process is not None
            storage.process.send_signal(signal.SIGSTOP)  # it will wake up: what is stopped is not gone
            code, said = await new.command("storage", "adopt", "--yes")
            assert code == 2 and "a Manager at" not in said and "a Session Storage at" in said, said
            assert await world.control.duplicates() == 0

            await world.stack.hold_down("session-store")
            code, said = await new.command("storage", "adopt")
            assert code == 2 and "Nobody answers" in said and "adopt --yes" in said, said
            await new.account_with(manager_pb2.SESSION_STATE_CONNECTING, RESTORED)
            code, said = await new.command("storage", "adopt", "--yes")
            assert code == 0, said
            await new.account_with(manager_pb2.SESSION_STATE_ACTIVE, "")
            assert len(await world.control.connections(GATEWAY)) == 1
            assert (await new.command("storage", "adopt"))[0] == 0, "once more does no harm"
            await _call(world, new, trunk)
            assert await world.control.duplicates() == 0
        finally:
            await new.stack.stop()


async def _only_the_old_one(world: World) -> None:
    """For a while: Telegram sees the connection that it saw before, and no other."""
    before = await world.control.connections(GATEWAY)
    assert len(before) == 1
    until = asyncio.get_running_loop().time() + HELD_S
    while asyncio.get_running_loop().time() < until:
        assert await world.control.connections(GATEWAY) == before
        await asyncio.sleep(0.2)
    assert await world.control.duplicates() == 0


async def _call(world: World, new: Restored, trunk: admin_pb2.AddTrunkResponse) -> None:
    """A phone with the old password calls a Telegram user through the new installation, and both hear each other."""
    await world.subscribers.tell("user", phone=FRIEND, first_name="Friend", username="friend")
    await world.subscribers.tell("behave", phone=FRIEND, on_call="answer", play={"hz": 620.0})
    async with Actor("sip-phone", log=world.directory / "phones.log") as phone:
        login, password = trunk.trunk.login, trunk.password
        server = f"127.0.0.1:{new.sip_port}"
        await phone.tell("register", server=server, login=login, password=password, transport="udp")
        assert (await phone.wait("registration"))["status"] == 200
        call = (await phone.tell("call", to="@friend", play={"hz": 440.0}))["call"]
        await phone.wait("established", call=call)
        await asyncio.sleep(3)  # the talking itself: there is no event to wait for
        assert (await phone.tell("heard", call=call))["hz"] == pytest.approx(620.0, abs=6.0)
        assert (await world.subscribers.tell("heard", phone=FRIEND))["hz"] == pytest.approx(440.0, abs=6.0)
        await phone.tell("hangup", call=call)
        await phone.wait("ended", call=call)


async def test_a_copied_data_directory_runs_no_session_beside_the_original(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        account = await world.add_account(GATEWAY, "gateway")
        await world.active(account.account_id)
        async with _copy_started(world, tmp_path / "copy") as storage:
            async with asyncio.timeout(PATIENCE_S):
                while [session.reason for session in await _sessions(storage)] != [COPIED]:
                    await asyncio.sleep(0.2)
            await _only_the_old_one(world)
            with pytest.raises(grpc.aio.AioRpcError, match="nobody can be signed in yet"):
                await storage.StartSignIn(session_store_pb2.StartSignInRequest(phone=GATEWAY), timeout=PATIENCE_S)


async def _sessions(storage: Any) -> list[manager_pb2.SessionReport]:
    request = session_store_pb2.ListSessionsRequest()
    answer = await storage.ListSessions(request, timeout=PATIENCE_S, wait_for_ready=True)
    return list(answer.sessions)


@contextlib.asynccontextmanager
async def _copy_started(world: World, copy: Path) -> AsyncIterator[Any]:
    """A Session Storage on what `cp -a` made of the running one's data directory."""
    shutil.copytree(world.stack.data, copy, ignore=lambda _, names: [name for name in names if name.endswith(".sock")])
    address = f"127.0.0.1:{free_port()}"
    own = {"TELETRUNK_DATA": str(copy), "TELETRUNK_STORAGE_ADDRESS": address,
           "TELETRUNK_MANAGER_ADDRESS": f"127.0.0.1:{free_port()}"}  # fmt: skip
    child = Child("copy", ["-m", "teletrunk_session_store"], dict(world.stack.environment) | own, copy / "copy.log")
    await child.start()
    try:
        token = (copy / "secrets" / "cluster.token").read_text()
        async with rpc.dial(address, rpc.Security(token)) as channel:
            yield session_store_pb2_grpc.SessionStoreServiceStub(channel)
    finally:
        await child.stop()
