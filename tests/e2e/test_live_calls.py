"""Calls that are up, as those who look after them see them: keys pressed towards the PBX, and an end from above."""

from __future__ import annotations

import asyncio
import audioop
import json
import re
from collections.abc import Callable

import pytest
from sipmessage import Request
from teletrunk_worker.legs.inband import Inband

from .conftest import FRIEND, Scene
from .sound_pbx import SoundPbx, sound_pbx

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

KEYS = "12#D"
EVENTS = "0123456789*#ABCD"
PATIENCE_S = 15.0


async def live(scene: Scene) -> str:
    """The id of the one call that talks, once a heartbeat has told of it."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            calls = json.loads(await scene.world.command("call", "live", "--json"))["calls"]
            if len(calls) == 1 and calls[0].get("answered_at"):
                assert (calls[0]["called"], calls[0]["direction"]) == ("@friend", "DIRECTION_SIP_TO_TELEGRAM")
                return str(calls[0]["call_id"])


async def until(said: Callable[[], str], keys: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while said() != keys:
            await asyncio.sleep(0.05)


def by_rfc4733(pbx: SoundPbx) -> str:
    events = {packet.timestamp: packet.payload[0] for packet in pbx.rtp.heard if packet.payload_type == 101}
    return "".join(EVENTS[event] for event in events.values())


def in_the_sound(pbx: SoundPbx) -> str:
    ear = Inband(8_000)
    sound = [audioop.alaw2lin(packet.payload, 2) for packet in pbx.rtp.heard if packet.payload_type == 8]
    return "".join(map(ear.hear, sound))


@pytest.mark.parametrize("method", ["any", "rfc4733", "inband"])
async def test_keys_reach_the_pbx_in_its_sound(scene: Scene, method: str) -> None:
    async with sound_pbx(scene) as pbx:
        await pbx.change("--dtmf", method)
        async with pbx.call(play={"hz": 300}):
            call = await live(scene)
            await scene.world.command("call", "digits", call[-6:], KEYS.lower())
            heard = in_the_sound if method == "inband" else by_rfc4733
            await until(lambda: heard(pbx), KEYS)
        assert pbx.record is not None
        steps = [step.text for step in pbx.record.steps]
        assert f"digits (not recorded) by {'inband' if method == 'inband' else 'rfc4733'}" in steps


@pytest.mark.parametrize("method", ["any", "info"])
async def test_keys_reach_the_pbx_by_info(scene: Scene, method: str) -> None:
    """As the trunk says, or as the PBX has named no telephone-event."""
    async with sound_pbx(scene) as pbx:
        await pbx.change("--dtmf", method)
        async with pbx.call(pbx.rtp.offer("8 PCMA/8000", payload_types="8")):
            await scene.world.command("call", "digits", await live(scene), "1,#")
            infos: dict[str, Request] = {}  # by CSeq: one that was answered late has been sent again
            while len(infos) < 2:
                info = await pbx.wire.next_request("INFO", PATIENCE_S)
                infos.setdefault(info.headers["CSeq"], info)
                pbx.wire.answer(info, 200, "OK")
            signals = [re.search(rb"Signal=(.)", info.body) for info in infos.values()]
            assert [found[1] for found in signals if found] == [b"1", b"#"]
            assert {info.headers["Content-Type"] for info in infos.values()} == {"application/dtmf-relay"}


async def test_an_operator_ends_a_call_on_both_sides(scene: Scene) -> None:
    async with sound_pbx(scene) as pbx:
        async with pbx.call() as call:
            await scene.world.command("call", "hang-up", await live(scene))
            bye = await pbx.wire.next_request("BYE", PATIENCE_S)
            pbx.wire.answer(bye, 200, "OK")
            assert any("Ended by an operator" in reason for reason in bye.headers.getlist("Reason"))
            await scene.friends.wait("ended", phone=FRIEND, by="peer")
            call.over = True
        assert pbx.record is not None
        assert (pbx.record.ended_by, pbx.record.error_id) == ("gateway", "ended-by-operator")


async def test_what_cannot_be_asked_of_a_call_is_told(scene: Scene) -> None:
    with pytest.raises(RuntimeError, match="there is no call nonsense now: teletrunk call live shows them"):
        await scene.world.command("call", "hang-up", "nonsense")
    async with sound_pbx(scene) as pbx, pbx.call():
        call = await live(scene)
        with pytest.raises(RuntimeError, match="press 1 to 32 of"):
            await scene.world.command("call", "digits", call, "12x")
