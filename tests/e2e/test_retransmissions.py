"""A request that comes again gets the same answer, and the Manager is not asked again (RFC 3261 17.2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from sipmessage import Request
from teletrunk_sandbox.world import World

from tests import sip_wire
from tests.conformance.gateway import FRIEND, Gateway
from tests.servers import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]


@dataclass
class Counted:
    gateway: Gateway
    metrics: str

    async def questions(self, method: str) -> float:
        """How often the Manager was asked."""
        async with httpx.AsyncClient() as client:
            text = (await client.get(self.metrics)).text
        sample = f'teletrunk_question_seconds_count{{method="{method}"}} '
        return sum(float(line.removeprefix(sample)) for line in text.splitlines() if line.startswith(sample))

    async def authenticated(self, method: str, user: str = "") -> Request:
        """A request that answers its challenge, not sent yet."""
        wire, login = self.gateway.wire, self.gateway.trunk.login
        first = wire.request(method, user, login, **({"Expires": "300"} if method == "REGISTER" else {}))
        return wire.answer_challenge(first, (await wire.ask(first)).final, login, self.gateway.password)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def counted(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Counted]:
    address = f"127.0.0.1:{free_port()}"
    directory: Path = tmp_path_factory.mktemp("counted")
    async with (
        World(directory, TELETRUNK_MANAGER_METRICS_ADDRESS=address) as world,
        sip_wire.udp(("127.0.0.1", world.sip_port)) as wire,
    ):
        gateway = Gateway(world, wire)
        await gateway.furnish()
        yield Counted(gateway, f"http://{address}/metrics")


async def test_a_register_that_comes_again(counted: Counted) -> None:
    request = await counted.authenticated("REGISTER")
    before = await counted.questions("Register")
    answer = (await counted.gateway.wire.ask(request)).final
    assert answer.code == 200
    for _ in range(3):
        assert bytes(await counted.gateway.wire.repeat(request)) == bytes(answer)
    assert await counted.questions("Register") == before + 1


async def test_a_challenge_that_comes_again(counted: Counted) -> None:
    request = counted.gateway.wire.request("REGISTER", "", counted.gateway.trunk.login)
    answer = (await counted.gateway.wire.ask(request)).final
    assert answer.code == 401
    assert bytes(await counted.gateway.wire.repeat(request)) == bytes(answer)


async def test_a_refused_call_that_comes_again(counted: Counted) -> None:
    request = await counted.authenticated("INVITE", "nonsense")
    before = await counted.questions("RouteCall")
    answer = (await counted.gateway.wire.ask(request)).final
    assert answer.code == 404
    for _ in range(3):
        assert bytes(await counted.gateway.wire.repeat(request)) == bytes(answer)
    assert await counted.questions("RouteCall") == before + 1


async def test_a_call_that_comes_again_while_it_is_under_way_is_one_call(counted: Counted) -> None:
    world, wire = counted.gateway.world, counted.gateway.wire
    request = await counted.authenticated("INVITE", FRIEND)
    before, calls = await counted.questions("RouteCall"), await world.call_ids()
    asking = asyncio.create_task(wire.ask(request))
    for _ in range(5):
        await asyncio.sleep(0.01)  # repeats that meet every stage of the setting up
        wire.send(bytes(request))
    assert (await asking).status == (486, "Busy Here")
    await world.record(besides=calls)
    assert await counted.questions("RouteCall") == before + 1
    assert len(await world.call_ids() - calls) == 1
