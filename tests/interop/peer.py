"""What is asked of every peer: calls both ways with sound, an end from either side, hold and resume."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from teletrunk.v1 import admin_pb2, call_pb2, trunk_pb2
from teletrunk_sandbox.actors import Actor, ActorError, Message

from .conftest import FRIEND, GATEWAY, Site

SIP_HZ, TELEGRAM_HZ = 440.0, 620.0
NEAR_HZ = 5.0  # which tone it is, not how clean: right after a hold, delay is still being worked off
_TALK_S = 2.5
_SETTLE_S = 0.3
_PATIENCE_S = 15.0
_UP_S = 40.0
_SILENT_DBFS = -45.0


class Ear:
    """One end's hearing: only what comes from now on is judged."""

    def __init__(self, actor: Actor, **which: Any) -> None:
        self._actor = actor
        self._which = which

    async def begun(self) -> float:
        """Seconds of sound since the first was heard; waits for it."""
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                with contextlib.suppress(ActorError):  # it has no sound yet
                    told = await self._tell(0.0)
                    if told["onset_at"] is not None:
                        return float(told["seconds"])
                await asyncio.sleep(0.2)

    async def hear(self, seconds: float) -> Message:
        begun = await self.begun()
        await asyncio.sleep(seconds)  # the listening itself: there is no event to wait for
        return await self._tell(begun + _SETTLE_S)

    async def _tell(self, skip_s: float) -> Message:
        return await self._actor.tell("heard", skip_s=skip_s, **self._which)


class Peer:
    """A PBX or phone that is registered at the only trunk of the site."""

    def __init__(self, site: Site, phone: Actor, to: str = "@friend") -> None:
        """`to` is what is dialled on `phone` to reach the friend."""
        self.site = site
        self.phone = phone
        self._to = to

    async def calls(self, caller: str) -> int:
        """A call between the phone and the friend that is up on both sides, placed by `pbx` or `telegram`."""
        return await (self._dials() if caller == "pbx" else self._is_dialled())

    async def _dials(self) -> int:
        await self.site.friends.tell("behave", phone=FRIEND, on_call="answer", play={"hz": TELEGRAM_HZ})
        call = int((await self.phone.tell("call", to=self._to, play={"hz": SIP_HZ}))["call"])
        await self.phone.wait("established", call=call)
        await self.site.friends.wait("connected", phone=FRIEND)
        return call

    async def _is_dialled(self) -> int:
        await self.phone.tell("behave", on_call="answer", play={"hz": SIP_HZ})
        await self.site.friends.tell("call", phone=FRIEND, to=GATEWAY, play={"hz": TELEGRAM_HZ})
        call = int((await self.phone.wait("incoming"))["call"])
        await self.phone.wait("established", call=call)
        await self.site.friends.wait("connected", phone=FRIEND)
        return call

    async def talk(self, call: int, seconds: float = _TALK_S) -> None:
        """Each hears the other's tone."""
        here, there = await asyncio.gather(
            Ear(self.phone, call=call).hear(seconds), Ear(self.site.friends, phone=FRIEND).hear(seconds)
        )
        assert here["hz"] == pytest.approx(TELEGRAM_HZ, abs=NEAR_HZ)
        assert there["hz"] == pytest.approx(SIP_HZ, abs=NEAR_HZ)

    async def hold(self, call: int) -> None:
        """Returns once the phone hears nothing any more."""
        await self.phone.tell("hold", call=call)
        async with asyncio.timeout(_PATIENCE_S):
            while not is_silent(await Ear(self.phone, call=call).hear(1.5)):
                pass

    async def resume(self, call: int) -> None:
        """Returns once each hears the other again."""
        await self.phone.tell("resume", call=call)
        async with asyncio.timeout(_PATIENCE_S):
            for ear in (Ear(self.phone, call=call), Ear(self.site.friends, phone=FRIEND)):
                while is_silent(await ear.hear(1.0)):
                    pass

    async def end(self, call: int, by: str) -> call_pb2.CallRecord:
        """Hangs up at one end; both ends and the record must say so."""
        if by == "pbx":
            await self.phone.tell("hangup", call=call)
            assert (await self.site.friends.wait("ended", phone=FRIEND, by="peer"))["reason"] == "hangup"
        else:
            await self.site.friends.tell("hangup", phone=FRIEND)
            await self.phone.wait("ended", call=call)
        record = await self.site.record()
        assert (record.sip_status, record.ended_by) == (200, by)
        return record


class TrunkPeer(Peer):
    """One that may be at a trunk which no PBX registers at."""

    def __init__(self, site: Site, phone: Actor, login: str, to: str) -> None:
        super().__init__(site, phone, to)
        self.login = login

    async def change(self, **options: Any) -> None:
        wanted = trunk_pb2.TrunkOptions(**options)
        request = admin_pb2.ChangeTrunkRequest(trunk=self.login, options=wanted, changed_options=list(options))
        await self.site.world.admin.ChangeTrunk(request, timeout=5)

    async def until(self, up: bool) -> str:
        """Waits until the trunk stands like this; returns why."""
        states = []
        try:
            async with asyncio.timeout(_UP_S):
                while True:
                    states = list((await self.site.world.trunk(self.login)).states)
                    if states and states[0].up is up:
                        return str(states[0].why)
                    await asyncio.sleep(0.1)
        except TimeoutError:
            pytest.fail(f"it is not {'up' if up else 'down'}: {states}")


def is_silent(heard: Message) -> bool:
    return heard["hz"] == 0.0 or heard["level_dbfs"] < _SILENT_DBFS


class Trials:
    """The tests of one peer. A class of its module takes them over and says how the peer comes to be there."""

    registered: Callable[[Site], AbstractAsyncContextManager[Peer]]

    @pytest.mark.parametrize("ends", ["pbx", "telegram"])
    @pytest.mark.parametrize("caller", ["pbx", "telegram"])
    async def test_a_call_with_sound(self, peer: Peer, caller: str, ends: str) -> None:
        call = await peer.calls(caller)
        await peer.talk(call)
        await peer.end(call, ends)

    @pytest.mark.parametrize("caller", ["pbx", "telegram"])
    async def test_hold_and_resume(self, peer: Peer, caller: str) -> None:
        call = await peer.calls(caller)
        await peer.talk(call)
        await peer.hold(call)
        await peer.resume(call)
        await peer.talk(call)
        await peer.end(call, "pbx")


class Brief:
    """A call with sound each way, of either kind of caller."""

    registered: Callable[[Site], AbstractAsyncContextManager[Peer]]

    @pytest.mark.parametrize("caller", ["pbx", "telegram"])
    async def test_a_call_with_sound(self, peer: Peer, caller: str) -> None:
        call = await peer.calls(caller)
        await peer.talk(call)
        await self.hung_up(peer, call, "telegram" if caller == "pbx" else "pbx")

    async def hung_up(self, peer: Peer, call: int, by: str) -> None:
        await peer.end(call, by)
