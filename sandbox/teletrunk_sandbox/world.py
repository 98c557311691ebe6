"""A whole small world on one machine: the three services, the local Telegram, subscribers and SIP phones.

The demo and the tests live in it. Everything is a real process; all traffic stays on loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Self

import grpc
from teletrunk import rpc
from teletrunk.cli.stack import Stack
from teletrunk.v1 import admin_pb2, admin_pb2_grpc, call_pb2, subscription_pb2_grpc

from teletrunk_sandbox import ports
from teletrunk_sandbox.actors import Actor
from teletrunk_sandbox.control import SandboxControl

_DEADLINE_S = 30.0
_PAGE = 200
_CALLS = 20  # what a Worker carries when it is told nothing else
_CALLS_A_HOST, _RTP_PORTS_A_HOST = 4, 32


class World:
    """An async context manager; everything stops with it."""

    def __init__(
        self,
        directory: Path,
        of_one: Mapping[str, dict[str, str]] | None = None,
        /,
        sip_host: str = "127.0.0.1",
        **settings: str,
    ) -> None:
        """`settings` are all services', `of_one` those of one service by its name; `sip_host` as a setting has it."""
        self.directory = directory
        self._exits = contextlib.AsyncExitStack()
        rtp = _RTP_PORTS_A_HOST * -(-int(settings.get("TELETRUNK_MAX_CALLS", _CALLS)) // _CALLS_A_HOST)
        self.sip_port = first = self._exits.enter_context(ports.held(4 + rtp))
        self.stack = Stack(
            directory / "data",
            sandbox=True,
            overrides={
                "TELETRUNK_SIP_ADDRESS": f"{sip_host}:{self.sip_port}",
                "TELETRUNK_MANAGER_ADDRESS": f"127.0.0.1:{first + 1}",  # and the next one for those that enrol
                "TELETRUNK_STORAGE_ADDRESS": f"127.0.0.1:{first + 3}",
                "TELETRUNK_RTP_PORTS": f"{first + 4}-{first + 3 + rtp}",
                **settings,
            },
            of_one=of_one,
        )

    async def __aenter__(self) -> Self:
        try:
            await self.stack.start()
        except BaseException:
            await self._exits.aclose()
            raise
        self._exits.push_async_callback(self.stack.stop)
        sandbox: dict[str, Any] = dict(self.stack.sandbox)
        try:
            self.control = await self._exits.enter_async_context(SandboxControl(sandbox["control_port"]))
            settings = self.stack.settings
            security = rpc.Security(settings.token())
            channel = await self._exits.enter_async_context(rpc.dial(settings.manager_here, security))
            self.admin: Any = admin_pb2_grpc.AdminServiceStub(channel)
            self.plans: Any = subscription_pb2_grpc.SubscriptionServiceStub(channel)
            self.subscribers = await self._exits.enter_async_context(self.people())
        except BaseException:
            await self._exits.aclose()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._exits.aclose()

    def people(self, *options: str) -> Actor:
        """One more process of subscribers; the caller enters and leaves it."""
        sandbox = self.stack.sandbox
        return Actor("subscriber", *options, "--dc", f"{sandbox['host']}:{sandbox['port']}",
                     "--rsa-key", str(sandbox["rsa_key_file"]), "--control-port", str(sandbox["control_port"]),
                     log=self.directory / "subscribers.log")  # fmt: skip

    async def add_account(self, phone: str, username: str, password: str | None = None) -> admin_pb2.Account:
        """Makes a Telegram account and signs it in at the gateway."""
        await self.control.add_user(phone, username.title(), "", username, password)
        started = await self.admin.StartAddAccount(admin_pb2.StartAddAccountRequest(phone=phone), timeout=_DEADLINE_S)
        code = str(await self.control.code(phone))
        answer = await self.admin.SubmitAccountCode(
            admin_pb2.SubmitAccountCodeRequest(sign_in_id=started.sign_in_id, code=code), timeout=_DEADLINE_S
        )
        if not answer.HasField("account"):
            answer = await self.admin.SubmitAccountPassword(
                admin_pb2.SubmitAccountPasswordRequest(sign_in_id=started.sign_in_id, password=password or ""),
                timeout=_DEADLINE_S,
            )
        account: admin_pb2.Account = answer.account
        return account

    async def add_trunk(self, account: str, **fields: Any) -> admin_pb2.AddTrunkResponse:
        answer: admin_pb2.AddTrunkResponse = await self.admin.AddTrunk(
            admin_pb2.AddTrunkRequest(account=account, **fields), timeout=_DEADLINE_S
        )
        return answer

    async def trunk(self, login: str) -> admin_pb2.Trunk:
        """As it stands now."""
        answer = await self.admin.GetTrunk(admin_pb2.GetTrunkRequest(trunk=login), timeout=_DEADLINE_S)
        trunk: admin_pb2.Trunk = answer.trunk
        return trunk

    async def remove_trunk(self, login: str) -> None:
        await self.admin.RemoveTrunk(admin_pb2.RemoveTrunkRequest(trunk=login), timeout=_DEADLINE_S)

    async def phone(
        self, trunk: admin_pb2.AddTrunkResponse, transport: str = "udp", kind: str = "sip-phone", *more: str
    ) -> Actor:
        """A SIP phone (`sip-phone` is pjsua2, or `baresip-phone`) that is registered with the trunk's login."""
        phone = await self._exits.enter_async_context(Actor(kind, *more, log=self.directory / "phones.log"))
        await phone.tell(
            "register",
            server=f"127.0.0.1:{self.sip_port}",
            login=trunk.trunk.login,
            password=trunk.password,
            transport=transport,
        )
        registered = await phone.wait("registration")
        if registered["status"] != 200:
            raise RuntimeError(f"registration failed: {registered['status']} {registered['phrase']}")
        return phone

    async def command(self, *arguments: str) -> str:
        """Runs `teletrunk ARGUMENTS` on this world; returns what it printed. Raises RuntimeError when it fails."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "teletrunk.cli.main",
            *arguments,
            env=self.stack.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(_DEADLINE_S):
            out, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(out.decode())
        return out.decode()

    async def active(self, account_id: str) -> None:
        """Waits until the account's session is up at Telegram and the Manager knows."""
        async with asyncio.timeout(_DEADLINE_S):
            while True:
                accounts = (await self.admin.ListAccounts(admin_pb2.ListAccountsRequest(), timeout=5)).accounts
                if any(a.account_id == account_id and a.state == 2 for a in accounts):
                    return
                await asyncio.sleep(0.1)

    async def call_ids(self) -> set[str]:
        """The calls that the Manager has records of."""
        found: set[str] = set()
        while True:
            page = admin_pb2.ListCallsRequest(limit=_PAGE, older_than=min(found, default=""))
            calls = (await self.admin.ListCalls(page, timeout=_DEADLINE_S)).calls
            found |= {call.call_id for call in calls}
            if len(calls) < _PAGE:
                return found

    async def record(self, besides: Collection[str] = ()) -> call_pb2.CallRecord:
        """A finished call's record; waits for one that is not in `besides`, even while the Manager is away."""
        async with asyncio.timeout(_DEADLINE_S):
            while True:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    calls = (await self.admin.ListCalls(admin_pb2.ListCallsRequest(limit=200), timeout=5)).calls
                    if fresh := [call.call_id for call in calls if call.call_id not in besides]:
                        answer = await self.admin.GetCall(admin_pb2.GetCallRequest(call_id=fresh[0]), timeout=5)
                        record: call_pb2.CallRecord = answer.record
                        return record
                await asyncio.sleep(0.1)
