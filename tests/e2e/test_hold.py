"""Changes within a call: hold in all its forms with silence or music, another address, a delayed offer, timers,
and why it ends."""

from __future__ import annotations

import asyncio
import re

import pytest
from teletrunk_sandbox.actors import Message

from tests.rtp_wire import rtp

from .conftest import FRIEND, Scene
from .sound_pbx import KILOHERTZ, Call, SoundPbx, sound_pbx

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

_QUIET_DBFS = -60.0


async def hears(pbx: SoundPbx, seconds: float = 2.0) -> Message:
    """What Telegram hears from now on, once what was said before is through."""
    friends = pbx.scene.friends
    await asyncio.sleep(1.0)
    begun = (await friends.tell("heard", phone=FRIEND, skip_s=0.0))["seconds"]
    await asyncio.sleep(seconds)
    return await friends.tell("heard", phone=FRIEND, skip_s=begun)


async def hold(call: Call, version: int, **how: str) -> None:
    answer = await call.offer_again(call.pbx.rtp.offer(version=version, **how))
    assert answer.code == 200, answer.phrase
    found = re.search(rb"a=(sendrecv|sendonly|recvonly|inactive)", answer.body)
    assert found and (found[1] == b"sendrecv") is (how == {})


FORMS: list[dict[str, str]] = [
    {"direction": "sendonly"},
    {"direction": "inactive"},
    {"direction": "recvonly"},
    {"address": "0.0.0.0", "direction": "sendonly"},  # RFC 2543's hold, as it is sent today
]


@pytest.mark.parametrize("sound", ["silence", "music"])
async def test_hold_and_resume_in_every_form(scene: Scene, sound: str) -> None:
    async with sound_pbx(scene) as pbx:
        await pbx.change("--hold", sound)
        tone = KILOHERTZ * 1_000
        async with pbx.call(play={"hz": 620}) as call:
            version = 1
            for form in FORMS:
                await pbx.rtp.speak(tone)
                await hold(call, version := version + 1, **form)
                heard = await hears(pbx)
                assert (heard["level_dbfs"] > _QUIET_DBFS) is (sound == "music"), (form, heard)
                await hold(call, version := version + 1)
                before = len(pbx.rtp.heard)
                await pbx.rtp.speak(tone)
                assert len(pbx.rtp.heard) - before > 25, "it is sent sound again"
        assert pbx.record is not None and pbx.record.sip_status == 200


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
async def test_sound_goes_to_another_address_and_by_another_codec(scene: Scene, method: str) -> None:
    async with sound_pbx(scene) as pbx, rtp() as elsewhere:
        async with pbx.call(play={"hz": 620}) as call:
            answer = await call.offer_again(elsewhere.offer("0 PCMU/8000", payload_types="0", version=2), method)
            assert answer.code == 200
            elsewhere.towards(answer)
            await elsewhere.speak(b"\xff" * 12_000, payload_type=0)
            assert len(elsewhere.heard) > 40 and {packet.payload_type for packet in elsewhere.heard[5:]} == {0}
            before = len(pbx.rtp.heard)
            await elsewhere.speak(b"\xff" * 8_000, payload_type=0)
            assert len(pbx.rtp.heard) == before, "nothing goes to the old address"
        assert pbx.record is not None and pbx.record.media.codec == "PCMU/8000"


async def test_an_invite_that_leaves_the_offer_to_us_is_offered_the_trunks_codecs(scene: Scene) -> None:
    async with sound_pbx(scene) as pbx:
        await pbx.change("--codecs", "PCMU,GSM")
        await scene.friends.tell("behave", phone=FRIEND, on_call="answer", play={"hz": 620})
        invite, answer = await pbx.invite(b"")
        assert answer.code == 200 and re.search(rb"m=audio \d+ RTP/AVP 0 3 ", answer.body)
        call = Call(pbx, invite, answer)
        call.acknowledge(invite, answer, pbx.rtp.offer("3 GSM/8000", payload_types="3"))
        pbx.rtp.towards(answer)
        await scene.friends.wait("connected", phone=FRIEND)
        await pbx.rtp.speak(b"\xd5" * 8_000, payload_type=13)  # what it says does not matter here
        assert {packet.payload_type for packet in pbx.rtp.heard} == {3}
        await pbx.wire.ask(call.request("BYE"))
        assert (await scene.record()).media.codec == "GSM/8000"


async def test_a_session_that_would_be_refreshed_too_often_is_told_the_least(scene: Scene) -> None:
    async with sound_pbx(scene) as pbx:
        first = pbx.wire.request("INVITE", "%40friend", pbx.login, Supported="timer", Session_Expires="30")
        first = pbx.with_body(first, pbx.rtp.offer())
        challenge = (await pbx.wire.ask(first)).final
        answer = (await pbx.wire.ask(pbx.wire.answer_challenge(first, challenge, pbx.login, pbx.password), 20)).final
        assert (answer.code, answer.headers.get("Min-SE")) == (422, "90")
        await scene.record()


@pytest.mark.parametrize(
    ("reason", "cause", "told"),
    [
        ('SIP;cause=200;text="Bye, Q.850;cause=41", Q.850 ;text="Network; out";cause=38', ", Q.850 cause 38",
         "disconnect"),
        ('Q.850;cause="', "", "hangup"),
    ],
)  # fmt: skip
async def test_what_broke_behind_the_pbx_is_no_hang_up(scene: Scene, reason: str, cause: str, told: str) -> None:
    async with sound_pbx(scene) as pbx:
        async with pbx.call() as call:
            assert (await pbx.wire.ask(call.request("BYE", Reason=reason))).final.code == 200
            call.over = True
        assert pbx.record is not None and pbx.record.ended_by == "pbx"
        assert f"BYE{cause}" in [step.text for step in pbx.record.steps]
        assert pbx.record.telegram_reason == told


async def test_who_has_passed_a_call_on_to_us_stands_in_its_record(scene: Scene) -> None:
    async with sound_pbx(scene) as pbx:
        await scene.friends.tell("behave", phone=FRIEND, on_call="decline")
        first = pbx.wire.request("INVITE", "%40friend", pbx.login, Diversion="<sip:201@pbx>;reason=no-answer")
        first = pbx.with_body(first, pbx.rtp.offer())
        challenge = (await pbx.wire.ask(first)).final
        answer = (await pbx.wire.ask(pbx.wire.answer_challenge(first, challenge, pbx.login, pbx.password), 20)).final
        assert answer.code == 486
        assert "diverted by 201, no-answer" in [step.text for step in (await scene.record()).steps]
