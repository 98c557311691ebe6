"""Many calls at once: every pair hears its own two tones and nobody else's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from teletrunk_sandbox.actors import Actor
from teletrunk_sandbox.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

ACCOUNTS = [(f"+7999000010{n}", f"gateway{n}") for n in range(3)]
FRIENDS = [f"+7999000020{n}" for n in range(10)]
CALLS_A_PHONE = 4
TALK_S = 3.0


@dataclass
class Crowd:
    world: World
    phones: list[Actor]  # phone n is registered with the trunk of account n


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crowd(tmp_path_factory) -> AsyncIterator[Crowd]:  # type: ignore[no-untyped-def]
    async with World(tmp_path_factory.mktemp("crowd")) as world:
        phones = []
        for phone, username in ACCOUNTS:
            account = await world.add_account(phone, username)
            trunk = await world.add_trunk(phone)
            await world.active(account.account_id)
            phones.append(await world.phone(trunk))
        for index, friend in enumerate(FRIENDS):
            await world.subscribers.tell("user", phone=friend, first_name=f"Friend {index}")
        yield Crowd(world, phones)


@dataclass
class Pair:
    """One call: a phone and a friend, each with a tone of its own."""

    crowd: Crowd
    index: int
    phone: Actor
    call: int = 0

    @property
    def sip_hz(self) -> float:
        return 400.0 + 10 * self.index

    @property
    def telegram_hz(self) -> float:
        return 520.0 + 10 * self.index

    @property
    def friend(self) -> str:
        return FRIENDS[self.index]

    async def establish(self) -> None:
        friends = self.crowd.world.subscribers
        await friends.tell("behave", phone=self.friend, on_call="answer", play={"hz": self.telegram_hz})
        self.call = (await self.phone.tell("call", to=self.friend, play={"hz": self.sip_hz}))["call"]
        await self.phone.wait("established", call=self.call)

    async def check_and_hang_up(self) -> None:
        here = await self.phone.tell("heard", call=self.call)
        there = await self.crowd.world.subscribers.tell("heard", phone=self.friend)
        assert here["hz"] == pytest.approx(self.telegram_hz, abs=6.0)
        assert there["hz"] == pytest.approx(self.sip_hz, abs=6.0)
        await self.phone.tell("hangup", call=self.call)
        await self.phone.wait("ended", call=self.call)
        await self.crowd.world.subscribers.wait("ended", phone=self.friend, by="peer")


async def talk_all(pairs: list[Pair]) -> list[str]:
    """Every pair talks at the same time. Returns the account that each record names."""
    world = pairs[0].crowd.world
    before = await world.call_ids()
    await asyncio.gather(*(pair.establish() for pair in pairs))
    await asyncio.sleep(TALK_S)  # the talking itself: there is no event to wait for
    for pair in pairs:
        await pair.check_and_hang_up()
    records = []
    for _ in pairs:
        records.append(await world.record(besides=before))
        before.add(records[-1].call_id)
    assert all(record.sip_status == 200 for record in records)
    assert await world.call_ids() == before, "one record a call"
    return [record.account_id for record in records]


async def test_three_accounts_and_three_trunks_at_once(crowd: Crowd) -> None:
    accounts = await talk_all([Pair(crowd, index, phone) for index, phone in enumerate(crowd.phones)])
    assert len(set(accounts)) == len(ACCOUNTS)


async def test_ten_calls_at_once(crowd: Crowd) -> None:
    await talk_all([Pair(crowd, index, crowd.phones[index // CALLS_A_PHONE]) for index in range(10)])
