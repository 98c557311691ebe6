"""Two of each service on one PostgreSQL and one Redis, a local Telegram, and two PBXs that never stop calling."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import secrets
import signal
import time
from pathlib import Path
from typing import Any

import grpc
from teletrunk import rpc
from teletrunk.cli.stack import Child
from teletrunk.v1 import admin_pb2, admin_pb2_grpc, subscription_pb2, subscription_pb2_grpc
from teletrunk_sandbox import ports
from teletrunk_sandbox.actors import Actor
from teletrunk_sandbox.control import SandboxControl

from tests import sip_wire
from tests.servers import Postgres, Redis, free_port

FRIEND = "+79990000002"
ACCOUNTS = ("+79990000001", "+79990000011")
PLAN_LINES = 3
REST_S = 120.0  # after the last harm everything works again within this
_TOKEN = "c" * 32
_RTP_PORTS = 32  # of a Worker with four calls
_DECLINED = (486, "Busy Here")


class Cluster:
    """Everything as processes; `harm` hurts one of them and lets it come back."""

    def __init__(self, directory: Path, postgres: Postgres, redis: Redis) -> None:
        self._directory = directory
        self._postgres = postgres
        self._redis = redis
        self._exits = contextlib.AsyncExitStack()
        self.children: dict[str, Child] = {}
        self.acknowledged: set[str] = set()
        self.answers: dict[str, int] = {}
        self._load: list[asyncio.Task[None]] = []
        self._number = 0

    async def start(self) -> None:
        base = {name: value for name, value in os.environ.items() if not name.startswith("TELETRUNK_")}
        arguments = ["-m", "teletrunk_sandbox", "dc", "--state", str(self._directory / "dc")]
        sandbox = Child("dc", arguments, base, self._directory / "dc.log")
        await sandbox.start(stdout=asyncio.subprocess.PIPE)
        self._exits.push_async_callback(sandbox.stop)
        assert sandbox.process is not None and sandbox.process.stdout is not None
        dc: dict[str, Any] = json.loads(await asyncio.wait_for(sandbox.process.stdout.readline(), 20))
        self.control = await self._exits.enter_async_context(SandboxControl(dc["control_port"]))
        await self._start_services(base, dc)
        self.friends = await self._exits.enter_async_context(
            Actor("subscriber", "--dc", f"{dc['host']}:{dc['port']}", "--rsa-key", str(dc["rsa_key_file"]),
                  "--control-port", str(dc["control_port"]), log=self._directory / "friends.log")
        )  # fmt: skip
        await self.friends.tell("user", phone=FRIEND, first_name="Friend", username="friend")
        await self.friends.tell("behave", phone=FRIEND, on_call="decline")
        await self._furnish()

    async def _start_services(self, base: dict[str, str], dc: dict[str, Any]) -> None:
        key = self._directory / "manager.key"
        key.write_bytes(secrets.token_bytes(32))
        self.manager_addresses = [f"127.0.0.1:{free_port()}" for _ in "ab"]
        self.sip_ports = [free_port() for _ in "ab"]
        shared = base | {
            "TELETRUNK_CLUSTER_TOKEN": _TOKEN,
            "TELETRUNK_DATABASE_URL": await self._postgres.database(),
            "TELETRUNK_REDIS_URL": self._redis.url,
            "TELETRUNK_KEY_FILE": str(key),
            "TELETRUNK_VAULT_URL": await self._postgres.database(),
            "TELETRUNK_VAULT_KEY": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
            "TELETRUNK_TELEGRAM_SERVER": f"{dc['host']}:{dc['port']}",
            "TELETRUNK_TELEGRAM_RSA_KEY_FILE": str(dc["rsa_key_file"]),
            "TELETRUNK_MANAGER_ADDRESS": ",".join(self.manager_addresses),
            "TELETRUNK_NEVER_BANNED": "127.0.0.0/8",
        }
        for number, letter in enumerate("ab"):
            own = {"TELETRUNK_MANAGER_ADDRESS": self.manager_addresses[number]}
            await self._start(f"manager-{letter}", "teletrunk_manager", shared | own)
        for number, letter in enumerate("ab"):
            own = {"TELETRUNK_STORAGE_ADDRESS": f"127.0.0.1:{free_port()}"}
            await self._start(f"storage-{letter}", "teletrunk_session_store", shared | own)
            rtp = ports.hold(_RTP_PORTS)
            own = {
                "TELETRUNK_SIP_ADDRESS": f"127.0.0.1:{self.sip_ports[number]}",
                "TELETRUNK_RTP_PORTS": f"{rtp}-{rtp + _RTP_PORTS - 1}",
                "TELETRUNK_MAX_CALLS": "4",
                "TELETRUNK_FIRST_ANSWER_SECONDS": "6",
            }
            await self._start(f"worker-{letter}", "teletrunk_worker", shared | own)

    async def _start(self, name: str, module: str, environment: dict[str, str]) -> None:
        data = self._directory / name
        own = environment | {"TELETRUNK_DATA": str(data)}
        child = self.children[name] = Child(name, ["-m", module], own, self._directory / f"{name}.log")
        await child.start()
        self._exits.push_async_callback(child.stop)

    async def _furnish(self) -> None:
        """An account and a trunk for each PBX, all under one plan."""
        self.trunks: list[tuple[str, str]] = []
        await self.asked(lambda a, p: p.AddSubscription(
            subscription_pb2.AddSubscriptionRequest(name="plan", limits=subscription_pb2.Limits(lines=PLAN_LINES)),
            timeout=5))  # fmt: skip
        for number, phone in enumerate(ACCOUNTS):
            await self.control.add_user(phone, "Gateway", "", f"gateway{number}", None)
            start = admin_pb2.StartAddAccountRequest(phone=phone)
            started = await self.asked(lambda a, p, start=start: a.StartAddAccount(start, timeout=20))
            code = admin_pb2.SubmitAccountCodeRequest(
                sign_in_id=started.sign_in_id, code=str(await self.control.code(phone))
            )
            await self.asked(lambda a, p, code=code: a.SubmitAccountCode(code, timeout=20))
            add = admin_pb2.AddTrunkRequest(account=phone)
            made = await self.asked(lambda a, p, add=add: a.AddTrunk(add, timeout=5))
            self.trunks.append((made.trunk.login, made.password))
            include = subscription_pb2.IncludeAccountRequest(account=phone, subscription="plan")
            await self.asked(lambda a, p, include=include: p.IncludeAccount(include, timeout=5))

    async def stop(self) -> None:
        for task in self._load:
            task.cancel()
        await asyncio.gather(*self._load, return_exceptions=True)
        for child in self.children.values():
            self._signal(child, signal.SIGCONT)
        await self._exits.aclose()

    # Asking.

    async def asked(self, work: Any, patience: float = 60.0) -> Any:
        """`work(admin, plans)` at any Manager that answers."""
        deadline = time.monotonic() + patience
        while True:
            address = random.choice(self.manager_addresses)
            async with rpc.dial(address, rpc.Security(_TOKEN)) as channel:
                try:
                    admin = admin_pb2_grpc.AdminServiceStub(channel)
                    return await work(admin, subscription_pb2_grpc.SubscriptionServiceStub(channel))
                except grpc.aio.AioRpcError:
                    if time.monotonic() > deadline:
                        raise
            await asyncio.sleep(0.2)

    # Load.

    def begin_load(self) -> None:
        loop = asyncio.get_running_loop()
        self._load = [loop.create_task(self._call_on(0)), loop.create_task(self._call_on(1)),
                      loop.create_task(self._change_on())]  # fmt: skip

    async def end_load(self) -> None:
        for task in self._load:
            task.cancel()
        await asyncio.gather(*self._load, return_exceptions=True)
        self._load = []

    async def _call_on(self, number: int) -> None:
        async with sip_wire.udp(("127.0.0.1", self.sip_ports[number])) as wire:
            while True:
                status = await self.call(wire, number)
                self.answers[" ".join(map(str, status))] = self.answers.get(" ".join(map(str, status)), 0) + 1
                await asyncio.sleep(0.1)

    async def call(self, wire: sip_wire.SipWire, number: int) -> tuple[int, str]:
        """A registration and a call to the friend, as a PBX makes them; what the call was answered with."""
        login, password = self.trunks[number]
        try:
            registered = await wire.register(login, password)
            if registered.final.code != 200:
                return registered.status
            return (await wire.invite(FRIEND, login, password, patience=30)).status
        except TimeoutError:
            return 0, "no answer"

    async def _change_on(self) -> None:
        while True:
            self._number += 1
            name = f"change-{self._number}"
            request = subscription_pb2.AddSubscriptionRequest(name=name)
            address = random.choice(self.manager_addresses)
            async with rpc.dial(address, rpc.Security(_TOKEN)) as channel:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    await subscription_pb2_grpc.SubscriptionServiceStub(channel).AddSubscription(request, timeout=3)
                    self.acknowledged.add(name)
            await asyncio.sleep(0.2)

    # Harm.

    async def harm(self, dice: random.Random) -> str:
        """Kills or stops one part; returns what was done. It is back when this returns."""
        victim = dice.choice([*self.children, "redis", "postgres"])
        seconds = dice.choice([0.5, 2.0, 6.0])
        if victim in self.children and dice.random() < 0.5:
            child = self.children[victim]
            self._signal(child, signal.SIGKILL)
            assert child.process is not None
            await child.process.wait()
            await asyncio.sleep(seconds)
            await child.start()
            return f"{victim} killed for {seconds} s"
        if victim in self.children:
            # A Storage is sometimes stopped for longer than its lease.
            seconds = 25.0 if victim.startswith("storage") and dice.random() < 0.5 else seconds
            self._signal(self.children[victim], signal.SIGSTOP)
            await asyncio.sleep(seconds)
            self._signal(self.children[victim], signal.SIGCONT)
            return f"{victim} stopped for {seconds} s"
        server = self._redis if victim == "redis" else self._postgres
        if dice.random() < 0.5:
            server.stop()
            await asyncio.sleep(seconds)
            server.start()
            return f"{victim} crashed for {seconds} s"
        server.freeze()
        await asyncio.sleep(seconds)
        server.thaw()
        return f"{victim} stopped for {seconds} s"

    def _signal(self, child: Child, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            if child.process is not None:
                child.process.send_signal(number)

    # What must be true.

    async def works(self) -> None:
        """Both PBXs get a call through to the friend, who declines it."""
        for number, port in enumerate(self.sip_ports):
            async with asyncio.timeout(REST_S), sip_wire.udp(("127.0.0.1", port)) as wire:
                while await self.call(wire, number) != _DECLINED:
                    await asyncio.sleep(0.2)

    async def lines_at_rest(self) -> int:
        """The plan's counter once nobody calls; a dead Worker's lines lapse."""
        deadline = time.monotonic() + 30
        while True:
            taken = next(plan.lines_taken for plan in await self._plans() if plan.name == "plan")
            if not taken or time.monotonic() > deadline:
                return int(taken)
            await asyncio.sleep(0.5)

    async def missing_changes(self) -> set[str]:
        return self.acknowledged - {plan.name for plan in await self._plans()}

    async def _plans(self) -> list[subscription_pb2.Subscription]:
        found: list[subscription_pb2.Subscription] = []
        page = subscription_pb2.ListSubscriptionsRequest()
        while True:
            answer = await self.asked(lambda a, p, page=page: p.ListSubscriptions(page, timeout=10))
            found += answer.subscriptions
            if not answer.next:
                return found
            page = subscription_pb2.ListSubscriptionsRequest(page=answer.next)

    async def missing_records(self) -> set[str]:
        """Calls that a Worker has begun and that have no record, once there was time to deliver it."""
        deadline = time.monotonic() + 30
        while True:
            missing = self._begun() - await self.recorded()
            if not missing or time.monotonic() > deadline:
                return missing
            await asyncio.sleep(0.5)

    def _begun(self) -> set[str]:
        begun = set()
        for letter in "ab":
            for line in (self._directory / f"worker-{letter}.log").read_text(errors="replace").splitlines():
                with contextlib.suppress(ValueError):
                    said = json.loads(line)
                    if said.get("event") == "call begins":
                        begun.add(said["call_id"])
        assert begun, "no Worker has begun a call, or they say it in other words"
        return begun

    async def recorded(self) -> set[str]:
        found: set[str] = set()
        while True:
            page = admin_pb2.ListCallsRequest(limit=500, older_than=min(found, default=""))
            calls = (await self.asked(lambda a, p, page=page: a.ListCalls(page, timeout=10))).calls
            found |= {call.call_id for call in calls}
            if len(calls) < 500:
                return found
