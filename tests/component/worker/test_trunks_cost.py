"""What a change of one trunk costs, and whose a call is, with one trunk and with ten thousand: calls are counted."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
from collections import Counter
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs
from teletrunk_worker.sip.message import Request, parse
from teletrunk_worker.sip.transport.locate import Place

from tests import sip_wire

from .port_world import port_world
from .test_pbxs import follow, outbound, peer

MANY = 10_000
THERE = "127.0.0.74"


class Silence:
    """A name server that never answers."""

    async def places(self, host: str, port: int | None, transport: str) -> list[Place]:
        return await asyncio.get_running_loop().create_future()


@contextlib.contextmanager
def counted() -> Iterator[Counter[str]]:
    """The functions that are called meanwhile, by their names; those of C are together."""
    calls: Counter[str] = Counter()
    gc.disable()  # what it calls is not ours
    sys.setprofile(lambda frame, event, _: calls.update([frame.f_code.co_name if event == "call" else event]))
    try:
        yield calls
    finally:
        sys.setprofile(None)
        gc.enable()


@pytest.mark.parametrize("apart_by", ["address", "header"])
async def test_whose_a_call_is_costs_the_same_with_one_peer_and_with_ten_thousand(apart_by: str) -> None:
    costs = []
    for count in (1, MANY if apart_by == "address" else 2_000):
        async with port_world(resolver=Silence()) as world, sip_wire.udp(world.address, THERE) as wire:
            peers = [peer(5060, f"t{number}") for number in range(count)]
            for number, trunk in enumerate(peers):
                if apart_by == "address":
                    trunk.networks.append(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}/32")
                else:
                    trunk.networks.append(f"{THERE}/32")
                    trunk.options.pbx.header = f"X-Trunk: {number}"
            peers[-1].networks.append(f"{THERE}/32")
            follow(world, *peers)
            flow = world.port.flow_of(f"u-{THERE}-{wire.local[1]}")
            invite = parse(bytes(wire.request("INVITE", "100", "gw", X_Trunk=f"{count - 1}")))
            assert flow is not None and isinstance(invite, Request)
            with counted() as calls:
                known = world.port.pbxs.whose(invite, flow)
            assert known is not None and known.trunk.trunk_id == f"t{count - 1}"
            costs.append(calls.total())
    assert costs[0] == costs[1]


async def test_whose_a_call_is_costs_the_same_with_two_registrations_at_its_pbx_and_with_thousands() -> None:
    costs = []
    for count in (2, MANY // 2):
        async with port_world(resolver=Silence()) as world, sip_wire.udp(world.address, THERE) as wire:
            trunks = [outbound(5060) for _ in range(count)]
            for number, trunk in enumerate(trunks):
                trunk.trunk_id, trunk.login, trunk.options.pbx.username = f"t{number}", f"l{number}", f"u{number}"
                trunk.networks.append(f"{THERE}/32")
            follow(world, *trunks)
            with capture_logs():
                for pbx, _ in world.port.pbxs._all.values():
                    pbx._say(up=True, why="registered")
            flow = world.port.flow_of(f"u-{THERE}-{wire.local[1]}")
            invite = parse(bytes(wire.request("INVITE", "100", f"u{count - 1}")))
            assert flow is not None and isinstance(invite, Request)
            world.port.pbxs.whose(invite, flow)  # what is read of it is kept
            with counted() as calls:
                known = world.port.pbxs.whose(invite, flow)
            assert known is not None and known.trunk.trunk_id == f"t{count - 1}"
            costs.append(calls.total())
    assert costs[0] == costs[1]


async def test_a_change_of_one_trunk_costs_the_same_with_one_and_with_ten_thousand() -> None:
    costs = []
    for count in (1, MANY):
        async with port_world(resolver=Silence()) as world:
            peers = [peer(5060, f"t{number}") for number in range(count)]
            follow(world, *peers)
            peers[-1].networks.append(f"{THERE}/32")
            with counted() as read:
                changed = world.port.trunks.put(peers)
            with counted() as followed:
                world.port.registrar.keep(world.port.is_just, changed)
                world.port.pbxs.follow(changed)
            assert changed == [f"t{count - 1}"] and world.port.pbxs.is_at(f"login-t{count - 1}", THERE)
            costs.append((read["of"], followed.total()))
    assert costs[0] == costs[1] and costs[0][0] == 1
