"""Links that are cut, not closed: rows 4, 8, 21 and 26 with every process alive, and nobody told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from teletrunk_sandbox.world import World

from tests import sip_wire
from tests.cable import Cable, cable
from tests.servers import free_port

from .gateway import Gateway, Report
from .test_telegram_to_sip import reads, rings

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]
SILENCE_S = 6.0
FORGOTTEN_S = 30.0  # the Manager lets a service go that has been silent for 12 to 15 s


@dataclass
class Wiring:
    worker_to_manager: Cable
    storage_to_manager: Cable
    to_storage: Cable


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def wiring() -> AsyncIterator[Wiring]:
    manager, storage = free_port(), free_port()
    async with cable(manager) as one, cable(manager) as two, cable(storage) as three:
        yield Wiring(one, two, three)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory, wiring: Wiring) -> AsyncIterator[Gateway]:
    directory: Path = tmp_path_factory.mktemp("wired")
    of_one = {
        "worker": {"TELETRUNK_MANAGER_ADDRESS": f"127.0.0.1:{wiring.worker_to_manager.port}"},
        "session-store": {
            "TELETRUNK_MANAGER_ADDRESS": f"127.0.0.1:{wiring.storage_to_manager.port}",
            "TELETRUNK_PUBLIC_STORAGE_ADDRESS": f"127.0.0.1:{wiring.to_storage.port}",
        },
    }
    shared = {
        "TELETRUNK_MANAGER_ADDRESS": f"127.0.0.1:{wiring.worker_to_manager.to}",
        "TELETRUNK_STORAGE_ADDRESS": f"127.0.0.1:{wiring.to_storage.to}",
    }
    async with (
        World(directory, of_one, **shared) as world,
        sip_wire.udp(("127.0.0.1", world.sip_port)) as wire,
    ):
        gateway = Gateway(world, wire)
        await gateway.furnish()
        yield gateway


async def test_manager_unreachable(gateway: Gateway, wiring: Wiring, report: Report) -> None:
    with wiring.worker_to_manager.cut():
        report.carries(await gateway.register(), "manager-unreachable", within=SILENCE_S)
        report.carries(await gateway.invite(), "manager-unreachable", within=SILENCE_S)
    report.back(await gateway.back_in_service())


async def test_storage_off(gateway: Gateway, wiring: Wiring, report: Report) -> None:
    with wiring.storage_to_manager.cut():
        async with asyncio.timeout(FORGOTTEN_S):
            while (answer := await gateway.register()).exchange.final.code == 200:
                await asyncio.sleep(0.5)
        report.carries(await gateway.invite(), "storage-unreachable", within=SILENCE_S)
        report.carries(answer, "storage-off", within=SILENCE_S)
    report.back(await gateway.back_in_service())


async def test_storage_unreachable(gateway: Gateway, wiring: Wiring, report: Report) -> None:
    with wiring.to_storage.cut():
        report.carries(await gateway.invite(), "storage-unreachable", within=SILENCE_S)
    report.back(await gateway.back_in_service())


async def test_worker_unavailable(gateway: Gateway, wiring: Wiring, report: Report) -> None:
    with wiring.to_storage.cut():
        await reads(gateway, report, "worker-unavailable", within=20)
    await gateway.back_in_service()
    report.back(await rings(gateway))
