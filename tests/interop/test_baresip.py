"""baresip, over UDP and TCP: what tests/e2e/test_baresip.py does not ask of it."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from teletrunk_sandbox import baresip_phone

from .conftest import FRIEND, Site
from .peer import NEAR_HZ, SIP_HZ, Ear, Peer

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(
        not baresip_phone.installed() and "TELETRUNK_CI" not in os.environ, reason="baresip-core is not installed"
    ),
]


_RATES = re.compile(rb"audio=\d+/(\d+) ")
_PATIENCE_S = 30.0


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["udp", "tcp"])
async def peer(site: Site, request: pytest.FixtureRequest) -> AsyncIterator[Peer]:
    yield Peer(site, await site.world.phone(await site.trunk(), transport=request.param, kind="baresip-phone"))


async def receives(peer: Peer, bits: int) -> None:
    """Waits until so many bits of sound a second come in, as its status line has it.

    After a hold, baresip 1.0 writes no more of what it hears into its file: there is no frequency to be told.
    """
    log = peer.site.world.directory / "phones.log"
    async with asyncio.timeout(_PATIENCE_S):
        while abs(int(_RATES.findall(log.read_bytes()[-4_000:])[-1]) - bits) > bits / 10:
            await asyncio.sleep(0.5)


@pytest.mark.parametrize("caller", ["pbx", "telegram"])
async def test_hold_and_resume(peer: Peer, caller: str) -> None:
    call = await peer.calls(caller)
    await peer.talk(call)
    await peer.phone.tell("hold")
    await receives(peer, 0)
    await peer.phone.tell("resume")
    await receives(peer, 64_000)
    heard = await Ear(peer.site.friends, phone=FRIEND).hear(2.5)
    assert heard["hz"] == pytest.approx(SIP_HZ, abs=NEAR_HZ)
    await peer.end(call, "telegram")
