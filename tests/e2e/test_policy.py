"""Whom the edge lets in: trusted addresses, bans, a Worker without registrations, a Worker that drains."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from teletrunk_sandbox.world import World

from tests import sip_wire

from .conftest import FRIEND, GATEWAY, Scene
from .test_calls import place_call, talk
from .test_refusals import carries

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

OFFICE, STRANGER = "127.0.0.9", "127.0.0.66"


async def test_a_trunk_is_used_from_its_trusted_addresses_only(scene: Scene) -> None:
    login, password = scene.trunk.trunk.login, scene.trunk.password
    await scene.world.command("trunk", "trust", login, f"{OFFICE}/32", "2001:db8::/32")
    try:
        async with sip_wire.udp(scene.edge, STRANGER) as stranger, sip_wire.udp(scene.edge, OFFICE) as office:
            carries(await stranger.register(login, password), "ip-not-allowed")
            carries(await stranger.register(login, "guess"), "wrong-password")
            assert (await office.register(login, password)).status == (200, "OK")
            carries(await stranger.invite(FRIEND, login, password), "ip-not-allowed")
    finally:
        await scene.world.command("trunk", "trust", login)
    async with sip_wire.udp(scene.edge, "127.0.0.67") as stranger:
        assert (await stranger.register(login, password)).status == (200, "OK")


async def test_an_address_that_guesses_is_banned_and_others_are_not(scene: Scene) -> None:
    login, password = scene.trunk.trunk.login, scene.trunk.password
    async with sip_wire.udp(scene.edge, "127.0.0.77") as guesser, sip_wire.udp(scene.edge, "127.0.0.78") as neighbour:
        for guess in range(5):
            expected = "wrong-password" if guess % 2 else "login-not-found"
            name = login if guess % 2 else f"guess{guess}"
            carries(await guesser.register(name, "guess"), expected)
        refused = await guesser.register(login, password)
        assert refused.final.code == 403 and "banned" in refused.final.phrase
        assert 1700 < int(refused.header("Retry-After")[0]) <= 1800
        assert refused.header("Warning") == ['399 teletrunk "ip-not-allowed"']
        assert (await neighbour.register(login, password)).status == (200, "OK")


async def test_a_worker_without_registrations_says_so(tmp_path: Path) -> None:
    async with World(tmp_path, TELETRUNK_ALLOW_REGISTRATION="false") as world:
        await world.add_account(GATEWAY, "gateway")
        trunk = await world.add_trunk(GATEWAY)
        async with sip_wire.udp(("127.0.0.1", world.sip_port)) as wire:
            carries(await wire.register(trunk.trunk.login, trunk.password), "registration-type-not-allowed")


async def test_a_worker_that_drains_finishes_its_calls_and_leaves(scene: Scene) -> None:
    login, password = scene.trunk.trunk.login, scene.trunk.password
    call = await place_call(scene)
    await scene.phone.wait("established", call=call)
    worker = next(service.id for service in await scene.world.stack.attached() if service.kind == "worker")
    await scene.world.command("worker", "drain", worker)
    async with sip_wire.udp(scene.edge) as wire:
        async with asyncio.timeout(5):
            while (refused := await wire.register(login, password)).final.code != 403:
                await asyncio.sleep(0.05)
        carries(refused, "worker-off", ": it takes no more calls")
        assert refused.header("Retry-After") == ["60"]
        refused = await wire.invite(FRIEND, login, password)
        carries(refused, "worker-restarting", ": it takes no more calls")
        assert refused.header("Retry-After") == ["30"]
    await talk(scene, call)
    process = scene.world.stack.children["worker"].process
    assert process is not None and process.returncode is None
    await scene.phone.tell("hangup", call=call)
    await scene.friends.wait("ended", phone=FRIEND, by="peer")
    assert await asyncio.wait_for(process.wait(), 10) == 0
    assert (await scene.record()).sip_status == 200
