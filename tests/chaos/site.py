"""One of each service on PostgreSQL and Redis, two PBXs, and Telegram users: what a harm finds, and must leave."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from teletrunk.v1 import admin_pb2, call_pb2, subscription_pb2
from teletrunk_sandbox.actors import Actor, ActorError, Message
from teletrunk_sandbox.world import World

from tests.processes import hosts_of
from tests.servers import Postgres, Redis

DIALLING, DIALLED = "+79990000001", "+79990000011"  # the accounts: of the PBX that calls, of the one that is called
TALKER, CALLER, RINGER, WAITER, PROBE = (f"+7999100000{number}" for number in range(5))
NAMES = {TALKER: "talker", CALLER: "caller", RINGER: "ringer", WAITER: "waiter", PROBE: "probe"}
SIP_HZ, TELEGRAM_HZ = 440.0, 620.0
LINES = 4  # four calls at a time take every line, every place in a SIP host, and every place at the phones
BACK_S = 60.0
SETTLED_S = 45.0  # the longest that anything may take to be over everywhere, with a service that must come back first
SOUND_S = 8.0


@dataclass
class Talk:
    """A call that is up: the phone that it is at, and the Telegram user."""

    phone: Actor
    call: int
    friend: str
    since: float
    until: float = 0.0

    @property
    def name(self) -> str:
        return NAMES[self.friend]


class Site:
    """`round` sets four calls up, lets a harm happen, and says what became of them."""

    def __init__(self, world: World, postgres: Postgres, redis: Redis, metrics_port: int) -> None:
        self.world = world
        self.postgres = postgres
        self.redis = redis
        self._metrics = f"http://127.0.0.1:{metrics_port}/metrics"
        self.friends = world.subscribers

    async def furnish(self) -> None:
        world = self.world
        await world.plans.AddSubscription(
            subscription_pb2.AddSubscriptionRequest(name="plan", limits=subscription_pb2.Limits(lines=LINES)), timeout=5
        )
        self.accounts, phones = [], []
        for phone, username in ((DIALLING, "dialling"), (DIALLED, "dialled")):
            account = await world.add_account(phone, username)
            self.accounts.append(account.account_id)
            trunk = await world.add_trunk(phone)
            include = subscription_pb2.IncludeAccountRequest(account=phone, subscription="plan")
            await world.plans.IncludeAccount(include, timeout=5)
            await world.active(account.account_id)
            phones.append(await world.phone(trunk))
        self.dialling, self.dialled = phones
        for phone, name in NAMES.items():
            await self.friends.tell("user", phone=phone, first_name=name.title(), username=name)
        for phone, behaviour in ((TALKER, "answer"), (RINGER, "ring"), (PROBE, "decline")):
            await self.friends.tell("behave", phone=phone, on_call=behaviour, play={"hz": TELEGRAM_HZ})

    # Calls.

    async def works(self) -> None:
        """Both directions, by calls that are declined. What was harmed is back then."""
        async with asyncio.timeout(BACK_S):
            for phone in (self.dialling, self.dialled):
                while not await self._registered(phone):
                    await asyncio.sleep(0.2)
            while await self._probe_out() != 486:
                await asyncio.sleep(0.3)
            while not await self._probe_in():
                await asyncio.sleep(0.3)

    async def _registered(self, phone: Actor) -> bool:
        await phone.tell("register_again")
        return bool((await phone.wait("registration"))["status"] == 200)

    async def _probe_out(self) -> int:
        call = (await self.dialling.tell("call", to="@probe"))["call"]
        return int((await self.dialling.wait("ended", call=call))["status"])

    async def _probe_in(self) -> bool:
        await self.dialled.tell("behave", on_call="busy")
        with contextlib.suppress(ActorError):
            await self.friends.tell("call", phone=PROBE, to=DIALLED)
        await self.friends.wait("ended", phone=PROBE)
        with contextlib.suppress(ActorError):
            await self.dialled.wait("ended", call=await self._incoming(PROBE, deadline=2))
            return True
        return False

    async def _incoming(self, friend: str, deadline: float = 30.0) -> int:
        """The number of the call from this friend at the phone that is called; a probe's may come late."""
        while True:
            incoming = await self.dialled.wait("incoming", deadline=deadline)
            if incoming["caller"].startswith(f'"{NAMES[friend].title()}"'):
                return int(incoming["call"])

    async def talk_out(self) -> Talk:
        call = (await self.dialling.tell("call", to="@talker", play={"hz": SIP_HZ}))["call"]
        up = await self.dialling.wait("established", call=call)
        return Talk(self.dialling, call, TALKER, up["at"])

    async def talk_in(self) -> Talk:
        await self.dialled.tell("behave", on_call="answer", play={"hz": SIP_HZ})
        await self.friends.tell("call", phone=CALLER, to=DIALLED, play={"hz": TELEGRAM_HZ})
        call = await self._incoming(CALLER)
        await self.dialled.wait("established", call=call)
        connected = await self.friends.wait("connected", phone=CALLER)  # the phone has answered before: now they talk
        return Talk(self.dialled, call, CALLER, connected["at"])

    async def ring_out(self) -> Talk:
        call = (await self.dialling.tell("call", to="@ringer"))["call"]
        await self.dialling.wait("progress", call=call, status=180)
        return Talk(self.dialling, call, RINGER, 0.0)

    async def ring_in(self) -> Talk:
        await self.dialled.tell("behave", on_call="ring")
        await self.friends.tell("call", phone=WAITER, to=DIALLED)
        call = await self._incoming(WAITER)
        await self.friends.wait("ringing", phone=WAITER)
        return Talk(self.dialled, call, WAITER, 0.0)

    async def hears_both_ways(self, talk: Talk, since: float) -> None:
        """Each side hears the other's tone later than at `since`."""
        heard: dict[str, Message] = {}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SOUND_S):
                while True:
                    heard["phone"] = await talk.phone.tell("heard", call=talk.call)
                    heard["friend"] = await self.friends.tell("heard", phone=talk.friend)
                    if all(each["hz"] and (each["last_at"] or 0) > since + 0.3 for each in heard.values()):
                        break
                    await asyncio.sleep(0.2)
        for side, each in heard.items():
            assert (each["last_at"] or 0) > since, f"{talk.name}: the {side} hears nothing any more: {heard}"
        assert abs(heard["phone"]["hz"] - TELEGRAM_HZ) < 6 and abs(heard["friend"]["hz"] - SIP_HZ) < 6, heard

    async def hang_up(self, talk: Talk, *, by_phone: bool) -> None:
        if by_phone:
            await talk.phone.tell("hangup", call=talk.call)
        else:
            await self.friends.tell("hangup", phone=talk.friend)

    async def ended(self, talk: Talk) -> Message:
        """What the phone says of the call's end; the Telegram user has heard of it, too."""
        ended = await talk.phone.wait("ended", call=talk.call, deadline=SETTLED_S)
        talk.until = ended["at"]
        await self.friends.wait("ended", phone=talk.friend, deadline=SETTLED_S)
        return ended

    # What must be true once nobody calls.

    async def nothing_is_left(self) -> None:
        left: dict[str, Any] = {}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLED_S):
                while left := {name: found for name, found in (await self._left()).items() if found}:
                    await asyncio.sleep(0.3)
        assert not left, left
        assert await self.world.control.duplicates() == 0, "Telegram saw one session in two places"

    async def _left(self) -> dict[str, Any]:
        plans = await self._asked(
            lambda: self.world.plans.ListSubscriptions(subscription_pb2.ListSubscriptionsRequest(), timeout=5)
        )
        worker = await asyncio.to_thread(self._figures)
        return {
            "open at Telegram": [call for call in await self.world.control.calls() if call["state"] != "discarded"],
            "dialogs of the phone that calls": (await self.dialling.tell("dialogs"))["calls"],
            "dialogs of the phone that is called": (await self.dialled.tell("dialogs"))["calls"],
            "lines": [plan.lines_taken for plan in plans.subscriptions if plan.lines_taken],
            **{name: worker.get(name, "the Worker does not say") for name in ("teletrunk_calls", "teletrunk_dialogs")},
        }

    def _figures(self) -> dict[str, float]:
        with contextlib.suppress(OSError), urllib.request.urlopen(self._metrics, timeout=5) as page:
            lines = [line.split() for line in page.read().decode().splitlines() if not line.startswith("#")]
            return {words[0]: float(words[1]) for words in lines if len(words) == 2 and "{" not in words[0]}
        return {}

    async def new_records(self, before: set[str], count: int) -> dict[str, call_pb2.CallRecord]:
        """By the name of the Telegram user: as many as there were calls, and no more."""
        records: list[call_pb2.CallRecord] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLED_S):
                while len(records) < count:
                    records = await self._records_besides(before)
                    await asyncio.sleep(0.2)
        await asyncio.sleep(0.5)  # for one that is too many
        records = await self._records_besides(before)
        named = {_telegrams_end(record): record for record in records}
        assert len(records) == len(named) == count, records
        return named

    async def _records_besides(self, before: set[str]) -> list[call_pb2.CallRecord]:
        records = [await self._record(call_id) for call_id in await self._asked(self.world.call_ids) - before]
        return [record for record in records if _telegrams_end(record) != NAMES[PROBE]]

    async def _record(self, call_id: str) -> call_pb2.CallRecord:
        request = admin_pb2.GetCallRequest(call_id=call_id)
        answer = await self._asked(lambda: self.world.admin.GetCall(request, timeout=5))
        record: call_pb2.CallRecord = answer.record
        return record

    async def _asked(self, question: Callable[[], Awaitable[Any]]) -> Any:
        deadline = time.monotonic() + BACK_S
        while True:
            try:
                return await question()
            except Exception:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.2)

    # Harm.

    async def kill(self, name: str, away_s: float = 1.0) -> None:
        await self.world.stack.hold_down(name)
        await asyncio.sleep(away_s)
        self.world.stack.let_up(name)

    async def stop(self, name: str, seconds: float) -> None:
        process = self.world.stack.children[name].process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        process.send_signal(signal.SIGCONT)

    async def restart(self, name: str) -> None:
        """SIGTERM, as an update does; whoever keeps the services starts it again."""
        process = self.world.stack.children[name].process
        assert process is not None
        process.terminate()
        await process.wait()

    def _hosts(self, kind: str) -> list[int]:
        return [host.pid for host in hosts_of(self.world, kind)]

    async def signal_hosts(self, kind: str, number: signal.Signals, seconds: float = 0.0) -> None:
        pids = self._hosts(kind)
        for pid in pids:
            os.kill(pid, number)
        await asyncio.sleep(seconds)
        for pid in pids if number is signal.SIGSTOP else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    async def cut(self, seconds: float) -> None:
        """The link of both accounts to Telegram."""
        for phone in (DIALLING, DIALLED):
            await self.world.control.cut(phone, seconds)
        await asyncio.sleep(seconds)

    async def crash(self, server: Postgres | Redis, seconds: float) -> None:
        server.stop()
        await asyncio.sleep(seconds)
        server.start()

    async def freeze(self, server: Postgres | Redis, seconds: float) -> None:
        server.freeze()
        await asyncio.sleep(seconds)
        server.thaw()


def _telegrams_end(record: call_pb2.CallRecord) -> str:
    from_sip = record.direction == call_pb2.DIRECTION_SIP_TO_TELEGRAM
    return (record.called if from_sip else record.caller).lstrip("@")
