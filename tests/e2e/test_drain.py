"""A Worker that leaves, or has no room: it lets nobody in, and takes no call that another could carry."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import grpc
import pytest
from teletrunk.errors import TABLE
from teletrunk.v1 import admin_pb2
from teletrunk_sandbox.world import World

from tests import sip_wire
from tests.conformance.gateway import FRIEND, OWN, Gateway

from .test_refusals import carries

pytestmark = pytest.mark.e2e

SECOND_FRIEND = "+79990000007"


async def call_up(gateway: Gateway) -> None:
    """A call to the friend, which the wire's PBX then has."""
    wire, login = gateway.wire, gateway.trunk.login
    await gateway.world.subscribers.tell("behave", phone=FRIEND, on_call="answer")
    first = wire.request("INVITE", FRIEND, login)
    invite = wire.answer_challenge(first, (await wire.ask(first)).final, login, gateway.password)
    answer = (await wire.ask(invite)).final
    assert answer.code == 200
    wire.acknowledge(invite, answer)


async def the_friend_hangs_up(gateway: Gateway) -> None:
    await gateway.world.subscribers.tell("hangup", phone=FRIEND)
    gateway.wire.answer(await gateway.wire.next_request("BYE"), 200, "OK")


def told_to_end(world: World, service: str) -> asyncio.subprocess.Process:
    process = world.stack.children[service].process
    assert process is not None
    process.send_signal(signal.SIGTERM)
    return process


async def reads_worker_unavailable(gateway: Gateway) -> None:
    people, own = gateway.world.subscribers, (await gateway.account(OWN)).user_id
    await people.tell("user", phone=SECOND_FRIEND, first_name="Second", username="second")
    await people.tell("call", phone=SECOND_FRIEND, to="@gateway")
    said = await people.wait("message", deadline=10, phone=SECOND_FRIEND, from_user_id=own)
    assert said["text"].startswith(f"503 {TABLE['worker-unavailable'].phrase}")
    assert gateway.wire.requests.empty(), "the PBX was not rung"


async def test_a_change_of_the_configuration_does_not_undo_the_end_of_a_worker(tmp_path: Path) -> None:
    async with (
        World(tmp_path, TELETRUNK_DRAIN_SECONDS="60") as world,
        sip_wire.udp(("127.0.0.1", world.sip_port)) as wire,
    ):
        gateway = Gateway(world, wire)
        await gateway.furnish()
        await call_up(gateway)
        process = told_to_end(world, "worker")
        async with asyncio.timeout(5):
            while (refused := (await gateway.register()).exchange).final.code == 200:
                pass
        carries(refused, "worker-off", ": it takes no more calls")
        for _ in range(2):  # each makes a new configuration
            await world.add_trunk(OWN)
        carries((await gateway.register()).exchange, "worker-off", ": it takes no more calls")
        carries((await gateway.invite()).exchange, "worker-restarting", ": it takes no more calls")
        await reads_worker_unavailable(gateway)
        assert process.returncode is None
        await the_friend_hangs_up(gateway)
        assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_a_storage_that_leaves_keeps_its_calls_until_they_end(tmp_path: Path) -> None:
    async with (
        World(tmp_path, TELETRUNK_DRAIN_SECONDS="60") as world,
        sip_wire.udp(("127.0.0.1", world.sip_port)) as wire,
    ):
        gateway = Gateway(world, wire)
        await gateway.furnish()
        await call_up(gateway)
        process = told_to_end(world, "session-store")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(process.wait(), 3)
        assert wire.requests.empty(), "the call goes on"
        (storage,) = [service for service in await world.stack.attached() if service.kind == "storage"]
        assert storage.draining
        with pytest.raises(grpc.aio.AioRpcError, match="every Session Storage is about to end"):
            await world.admin.StartAddAccount(admin_pb2.StartAddAccountRequest(phone=SECOND_FRIEND), timeout=5)
        await the_friend_hangs_up(gateway)
        assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_a_worker_without_room_takes_no_call_from_telegram(tmp_path: Path) -> None:
    async with (
        World(tmp_path, TELETRUNK_MAX_CALLS="1") as world,
        sip_wire.udp(("127.0.0.1", world.sip_port)) as wire,
    ):
        gateway = Gateway(world, wire)
        await gateway.furnish()
        await call_up(gateway)
        await reads_worker_unavailable(gateway)
