"""Net::SIP, a stack in Perl that knows MD5 alone and holds a call in the old way, with 0.0.0.0 for an address."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from . import net_sip
from .conftest import Site
from .peer import SIP_HZ, Peer, Trials

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]


@contextlib.asynccontextmanager
async def registered(site: Site) -> AsyncIterator[Peer]:
    trunk = (added := await site.trunk()).trunk
    host, port = site.sip
    async with net_sip.phone(SIP_HZ) as phone:
        await phone.tell(
            "register", server=f"{host}:{port}", login=trunk.login, password=added.password, transport="udp"
        )
        assert (await phone.wait("registration"))["status"] == 200
        yield Peer(site, phone)


class TestNetSip(Trials):
    registered = staticmethod(registered)
