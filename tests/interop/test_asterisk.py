"""Asterisk as the PBX that registers, a phone behind it: modest over TCP, and with all that it can ask for over UDP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from teletrunk_sandbox.actors import Actor

from . import asterisk
from .conftest import FRIEND, Site
from .peer import Peer, Trials

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

PLAIN = {"codecs": "alaw,ulaw", "ice": "no", "reliable": "no", "timers": "no"}
# 90 s is the shortest that RFC 4028 allows; the refresh comes at half of it.
DEMANDING = {"codecs": "opus,g722,alaw", "ice": "yes", "reliable": "required", "timers": "always"}
_REFRESH_S = 45
_PHONE = "127.0.0.5"  # Asterisk tells trunk and phone apart by their addresses


@dataclass(frozen=True)
class Pbx:
    peer: Peer
    asterisk: asterisk.Asterisk


async def pbx(site: Site, transport: str, choices: dict[str, str]) -> AsyncIterator[Pbx]:
    added = await site.trunk()
    there = (site.world.sip_port, added.trunk.login, added.password)
    async with (
        asterisk.running(*there, transport=transport, **choices) as process,
        Actor("sip-phone", "--address", _PHONE) as phone,
    ):
        await process.registered()
        host, port = process.address
        await phone.tell("register", server=f"{host}:{port}", login="phone", password="")
        assert (await phone.wait("registration"))["status"] == 200
        yield Pbx(Peer(site, phone, to=FRIEND), process)


class TestTcp(Trials):
    @pytest_asyncio.fixture(scope="class", loop_scope="module")
    async def peer(self, site: Site) -> AsyncIterator[Peer]:
        async for found in pbx(site, "tcp", PLAIN):
            yield found.peer


class TestUdp(Trials):
    """opus and g722 before alaw, ICE candidates, reliable provisional answers, session timers."""

    @pytest_asyncio.fixture(scope="class", loop_scope="module")
    async def demanding(self, site: Site) -> AsyncIterator[Pbx]:
        async for found in pbx(site, "udp", DEMANDING):
            yield found

    @pytest_asyncio.fixture(scope="class", loop_scope="module")
    async def peer(self, demanding: Pbx) -> Peer:
        return demanding.peer

    async def test_a_session_is_refreshed(self, demanding: Pbx) -> None:
        """RFC 4028: nobody ends the call, and the sound goes on. (Our own offers are of half an hour.)"""
        peer, process = demanding.peer, demanding.asterisk
        await process.command("pjsip set logger on")
        call = await peer.calls("pbx")
        await peer.talk(call)
        before = await process.said()
        await asyncio.sleep(_REFRESH_S + 5)  # the timer itself
        since = (await process.said())[len(before) :]
        assert "\nUPDATE sip:" in since or "\nINVITE sip:" in since, since
        await peer.talk(call)
        await peer.end(call, "pbx")
        await process.command("pjsip set logger off")
