"""Codecs of a trunk: all that there are, in its order, both ways; wide-band stays wide; packet lengths."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from teletrunk import codecs
from teletrunk_worker.sip import sdp

from tests.rtp_wire import RtpWire
from tests.sip_wire import PATIENCE_S, response_to

from .conftest import FRIEND, GATEWAY, Scene
from .sound_pbx import KILOHERTZ, SoundPbx, sound_pbx

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

_MAPS = {"PCMU": "0 PCMU/8000", "GSM": "3 GSM/8000", "PCMA": "8 PCMA/8000", "G722": "9 G722/8000",
         "CN": "13 CN/8000", "ILBC": "97 iLBC/8000", "SPEEX": "98 speex/16000", "OPUS": "99 opus/48000/2"}  # fmt: skip
_IN_LIBRARY = """
import os, pjsua2 as pj
settings = pj.EpConfig()
settings.logConfig.level = settings.logConfig.consoleLevel = 0
endpoint = pj.Endpoint()
endpoint.libCreate()
endpoint.libInit(settings)
print("CODECS", *{codec.codecId.partition("/")[0].upper() for codec in endpoint.codecEnum2()}, flush=True)
os._exit(0)
"""


def offer(pbx: SoundPbx, *names: str, **more: object) -> bytes:
    maps = [_MAPS[name] for name in names]
    numbers = " ".join(one.split()[0] for one in maps)
    return pbx.rtp.offer(*maps, payload_types=numbers, **more)  # type: ignore[arg-type]


def named(body: bytes) -> list[str]:
    [sound] = sdp.sounds(body)
    return [name.upper() for name in sound.codecs if name != "telephone-event"]


async def test_what_a_trunk_may_be_set_to_is_what_the_sip_library_has() -> None:
    said = subprocess.run([sys.executable, "-c", _IN_LIBRARY], capture_output=True, text=True, check=True).stdout
    line = next(line for line in said.splitlines() if line.startswith("CODECS"))
    assert set(line.split()[1:]) - {"L16"} == set(codecs.CODECS)


async def test_every_codec_is_answered_and_offered_in_the_trunks_order(scene: Scene) -> None:
    async with sound_pbx(scene) as pbx:
        for first in codecs.CODECS:
            order = [first, *(name for name in codecs.CODECS if name != first)]
            await pbx.change("--codecs", ",".join(order))
            async with pbx.call(offer(pbx, "OPUS", *reversed(codecs.CODECS))) as call:
                assert named(call.answer.body)[0] == first
            assert pbx.record is not None
            assert pbx.record.media.codec.partition("/")[0].upper() == first
        await scene.friends.tell("call", phone=FRIEND, to=GATEWAY)
        invite = await pbx.wire.next_request("INVITE", 20)
        assert list(dict.fromkeys(named(invite.body))) == order
        pbx.wire.send(bytes(response_to(invite, 200, "OK", pbx.wire, offer(pbx, "GSM"))))
        await scene.friends.wait("connected", phone=FRIEND)
        await scene.friends.tell("hangup", phone=FRIEND)
        assert (await scene.record()).media.codec == "GSM/8000"


async def test_a_codec_that_nobody_has_is_refused_with_those_that_there_are(scene: Scene) -> None:
    async with sound_pbx(scene) as pbx:
        with pytest.raises(RuntimeError, match="the Workers' SIP library has no OPUS: there are PCMA, PCMU, G722"):
            await pbx.change("--codecs", "opus,PCMA")
        with pytest.raises(RuntimeError, match="unknown codec MP3: there are PCMA, PCMU, G722, GSM, ILBC, SPEEX"):
            await pbx.change("--codecs", "mp3")


async def test_wide_band_sound_stays_wide_in_both_directions(scene: Scene) -> None:
    """A tone of 5 kHz, which no narrow-band call carries."""
    trunk = await scene.world.add_trunk(GATEWAY)
    await scene.only_trunk(trunk)
    await scene.world.command("trunk", "change", trunk.trunk.login, "--codecs", "G722,PCMA")
    phone = await scene.world.phone(trunk, "udp", "sip-phone", "--rate", "16000")
    await phone.tell("codecs", names=["G722", "PCMA"])
    await scene.friends.tell("behave", phone=FRIEND, on_call="answer", play={"hz": 5_000})
    call = (await phone.tell("call", to="@friend", play={"hz": 5_200}))["call"]
    await phone.wait("established", call=call)
    await asyncio.sleep(4.0)
    here = await phone.tell("heard", call=call, skip_s=1.0)
    there = await scene.friends.tell("heard", phone=FRIEND, skip_s=1.0)
    await phone.tell("hangup", call=call)
    record = await scene.record()
    assert record.media.codec == "G722/16000"
    assert here["hz"] == pytest.approx(5_000, abs=5) and here["level_dbfs"] > -25, here
    assert there["hz"] == pytest.approx(5_200, abs=5) and there["level_dbfs"] > -25, there


def _lengths(rtp: RtpWire) -> list[int]:
    """Of what was heard in PCMA, but the first packets."""
    return [len(packet.payload) for packet in rtp.heard[3:] if packet.payload_type == 8]


@pytest.mark.parametrize("ptime", [10, 30, 60])
async def test_packets_are_as_long_as_the_trunk_says_in_both_directions(scene: Scene, ptime: int) -> None:
    async with sound_pbx(scene) as pbx:
        await pbx.change("--ptime-ms", str(ptime))
        asked = offer(pbx, "PCMA", more=["a=ptime:20", "a=maxptime:150"])
        async with pbx.call(asked, play={"hz": 620}) as call:
            assert f"a=ptime:{ptime}\r\n".encode() in call.answer.body
            async with asyncio.timeout(PATIENCE_S):
                while len(lengths := _lengths(pbx.rtp)) < 10:
                    await pbx.rtp.speak(b"\xd5" * 1_440, frame=8 * ptime)
        assert set(lengths) == {8 * ptime}
        with pytest.raises(RuntimeError, match="15 ms is no length for a packet: use 10, 20"):
            await pbx.change("--ptime-ms", "15")


async def test_a_pbx_that_sends_comfort_noise_while_nobody_speaks_is_heard_again(scene: Scene) -> None:
    """RFC 3389. In its place there is silence at Telegram, which has noise of its own."""
    async with sound_pbx(scene) as pbx:
        async with pbx.call(offer(pbx, "PCMA", "CN")):
            await pbx.rtp.speak(KILOHERTZ * 500)
            for _ in range(10):
                pbx.rtp.send(13, b"\x3c")
                pbx.rtp.timestamp += 800
                await asyncio.sleep(0.1)
            before = (await scene.friends.tell("heard", phone=FRIEND, skip_s=0.0))["seconds"]
            await pbx.rtp.speak(KILOHERTZ * 2_000)
            heard = await scene.friends.tell("heard", phone=FRIEND, skip_s=before + 0.5)
        assert abs(heard["hz"] - 1_000) < 20 and heard["level_dbfs"] > -30, heard
        assert pbx.record is not None and pbx.record.media.codec == "PCMA/8000"
