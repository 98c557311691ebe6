"""Asterisk as the PBX that registers, a phone behind it: modest over TCP, and with all that it can ask for over UDP."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import time
from collections.abc import AsyncIterator

import pytest
from teletrunk.v1 import trunk_pb2
from teletrunk_sandbox.actors import Actor

from . import asterisk
from .conftest import FRIEND, GATEWAY, Site
from .peer import TELEGRAM_HZ, Trials, TrunkPeer

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

PLAIN = {"codecs": "alaw,ulaw", "ice": "no", "reliable": "no", "timers": "no"}
# 90 s is the shortest that RFC 4028 allows; the refresh comes at half of it.
DEMANDING = {"codecs": "opus,g722,alaw", "ice": "yes", "reliable": "required", "timers": "always"}
_REFRESH_S = 45
KEYS = "73*9"
_PATIENCE_S = 15.0
_PHONE = "127.0.0.5"  # Asterisk tells trunk and phone apart by their addresses


class Pbx(TrunkPeer):
    """A phone behind it."""

    def __init__(self, site: Site, phone: Actor, process: asterisk.Asterisk, login: str) -> None:
        super().__init__(site, phone, login, to=FRIEND)
        self.process = process


@contextlib.asynccontextmanager
async def registered(site: Site, transport: str, choices: dict[str, str]) -> AsyncIterator[Pbx]:
    added = await site.trunk()
    worker, login, password = site.world.sip_port, added.trunk.login, added.password
    files = asterisk.REGISTERS
    async with (
        asterisk.running(worker, login, password, files, None, None, transport=transport, **choices) as process,
        Actor("sip-phone", "--address", _PHONE) as phone,
    ):
        await process.registered()
        host, port = process.address
        await phone.tell("register", server=f"{host}:{port}", login="phone", password="")
        assert (await phone.wait("registration"))["status"] == 200
        yield Pbx(site, phone, process, added.trunk.login)


class TestTcp(Trials):
    registered = staticmethod(functools.partial(registered, transport="tcp", choices=PLAIN))

    async def test_a_menu_of_the_pbx_passes_a_call_from_telegram_on(self, peer: Pbx) -> None:
        """Asterisk's Transfer() is a REFER; the phone hears Telegram, and is heard there."""
        await peer.change(number_on_pbx="700")
        try:
            call = await peer.calls("telegram")
            await peer.talk(call)
            record = await peer.end(call, "telegram")
        finally:
            await peer.change(number_on_pbx="")
        assert "REFER 202" in [step.text for step in record.steps]

    @pytest.mark.parametrize("method", ["rfc4733", "info", "inband"])
    async def test_a_menu_of_the_pbx_reads_keys_and_ours_are_pressed_by_it(self, peer: Pbx, method: str) -> None:
        """Keys by the call's API are what Read() returns; what SendDTMF() presses is in the record."""
        dtmf = trunk_pb2.DtmfMethod.Value(f"DTMF_METHOD_{method.upper()}")
        await peer.change(number_on_pbx=f"71{method}", dtmf=dtmf, record_digits=True)
        await asyncio.sleep(1.0)  # what the Manager promises: a change is with the Workers within a second
        began = time.time()
        try:
            await peer.site.friends.tell("call", phone=FRIEND, to=GATEWAY, play={"hz": TELEGRAM_HZ})
            await peer.site.friends.wait("connected", phone=FRIEND)
            await peer.site.world.command("call", "digits", await live(peer, began), KEYS)
            await peer.site.friends.wait("ended", phone=FRIEND, by="peer")
            record = await peer.site.record()
        finally:
            await peer.change(number_on_pbx="", dtmf=trunk_pb2.DTMF_METHOD_UNSPECIFIED, record_digits=False)
        assert f"the menu has read {KEYS}" in await peer.process.said()
        assert [step.text for step in record.steps if step.text.startswith("digit ")] == [
            f"digit {key} by {method}" for key in KEYS
        ]


async def live(peer: Pbx, since: float) -> str:
    """The id of the call that was answered after that, once a heartbeat has told of it."""
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            calls = json.loads(await peer.site.world.command("call", "live", "--json"))["calls"]
            if talking := [call["call_id"] for call in calls if call.get("answered_at", 0) > since]:
                return str(talking[0])


class TestUdp(Trials):
    """opus and g722 before alaw, ICE candidates, reliable provisional answers, session timers."""

    registered = staticmethod(functools.partial(registered, transport="udp", choices=DEMANDING))

    async def test_a_session_is_refreshed(self, peer: Pbx) -> None:
        """RFC 4028: nobody ends the call, and the sound goes on. (Our own offers are of half an hour.)"""
        process = peer.process
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
