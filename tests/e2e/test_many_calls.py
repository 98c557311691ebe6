"""One call after another: a SIP host must not run out of anything (a conference bridge has 254 places)."""

from __future__ import annotations

from pathlib import Path

import pytest
from teletrunk_sandbox.world import World

from tests import sip_wire
from tests.conformance.gateway import Gateway

pytestmark = pytest.mark.e2e
CALLS = 300


async def test_a_host_carries_any_number_of_calls(tmp_path: Path) -> None:
    async with World(tmp_path) as world, sip_wire.udp(("127.0.0.1", world.sip_port)) as wire:
        gateway = Gateway(world, wire)
        await gateway.furnish()
        for number in range(CALLS):
            assert (await gateway.invite()).exchange.status == (486, "Busy Here"), number
