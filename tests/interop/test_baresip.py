"""baresip, over UDP and TCP: what tests/e2e/test_baresip.py does not ask of it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from teletrunk_sandbox import baresip_phone

from .conftest import Site
from .peer import Peer

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(
        not baresip_phone.installed() and "TELETRUNK_CI" not in os.environ, reason="baresip-core is not installed"
    ),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["udp", "tcp"])
async def peer(site: Site, request: pytest.FixtureRequest) -> AsyncIterator[Peer]:
    yield Peer(site, await site.world.phone(await site.trunk(), transport=request.param, kind="baresip-phone"))


@pytest.mark.parametrize("caller", ["pbx", "telegram"])
async def test_hold_and_resume(peer: Peer, caller: str) -> None:
    call = await peer.calls(caller)
    await peer.talk(call)
    await peer.hold(call)
    await peer.resume(call)
    await peer.talk(call)
    await peer.end(call, "telegram")
