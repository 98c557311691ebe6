"""Digits from a PBX: by RFC 4733 at any payload type, by INFO in both its forms, as tones; each once, and in the record
which it was only where the trunk says so."""

from __future__ import annotations

import audioop
import math
import re
import sqlite3
from array import array
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from sipmessage import Response
from teletrunk.v1 import admin_pb2, call_pb2

from tests.servers import free_port

from .conftest import Scene, a_scene
from .sound_pbx import Call, SoundPbx, sound_pbx
from .test_live_calls import live

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

KEYS = "0123456789*#ABCD"
_TONES = {key: (low, high) for low, row in zip((697, 770, 852, 941), ("123A", "456B", "789C", "*0#D"), strict=True)
          for high, key in zip((1209, 1336, 1477, 1633), row, strict=True)}  # fmt: skip
_PRESSED_BY_OPERATOR = b"7391#573*"
# Which key it was, as logs, records, SIP bodies and databases would tell it. `*` and `#` are the only ones pressed.
_TELLS_KEYS = re.compile(
    rb"(?i)(digits?|keys?|dtmf|signal|pressed|events?)\W{1,6}?[*#]|" + re.escape(_PRESSED_BY_OPERATOR)
)
_API_PORT = free_port()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    """Whose services say all that they can say."""
    settings = {"TELETRUNK_LOG_LEVEL": "DEBUG", "TELETRUNK_API_ADDRESS": f"127.0.0.1:{_API_PORT}"}
    async with a_scene(tmp_path_factory.mktemp("world"), **settings) as made:
        yield made


def digits(record: call_pb2.CallRecord | None) -> str:
    assert record is not None
    told = [re.fullmatch("digit (.) by (.*)", step.text) for step in record.steps]
    assert {found[2] for found in told if found} <= {record.media.dtmf_method}
    said = "".join(found[1] for found in told if found)
    assert record.media.dtmf_digits == len(said)
    return said


async def info(call: Call, body: bytes, kind: str) -> Response:
    return (await call.pbx.wire.ask(call.request("INFO", body, kind))).final


def tones(text: str, ms: int = 70, gap_ms: int = 60) -> bytes:
    """In A-law."""
    pcm = array("h")
    for key in text:
        low, high = (2 * math.pi * hz / 8_000 for hz in _TONES[key])
        pcm.extend(int(6_000 * (math.sin(low * n) + 0.8 * math.sin(high * n))) for n in range(8 * ms))
        pcm.extend([0] * 8 * gap_ms)
    return audioop.lin2alaw(pcm.tobytes(), 2)


async def settle(pbx: SoundPbx) -> None:
    await pbx.rtp.speak(b"\xd5" * 8_000 * 1)  # a second: the last digit is told by then


async def press_all_ways(call: Call) -> None:
    """`*` and `#` by RFC 4733 and by INFO, of which one counts; and an operator presses keys, too."""
    pbx = call.pbx
    for key in (b"*", b"#"):
        await pbx.rtp.press(KEYS.encode().index(key))
        assert (await info(call, b"Signal=" + key, "application/dtmf-relay")).code == 200
        assert (await info(call, key, "application/dtmf")).code == 200
    await pbx.scene.world.command("call", "digits", await live(pbx.scene), _PRESSED_BY_OPERATOR.decode())
    await settle(pbx)


async def told_of(scene: Scene, call_id: str) -> dict[str, bytes]:
    """All that is given of a call, and all that its three services have written anywhere."""
    world, token = scene.world, admin_pb2.AddTokenRequest(name=call_id, role="owner")
    secret = (await world.admin.AddToken(token)).secret
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {secret}"}) as client:
        rest = (await client.get(f"http://127.0.0.1:{_API_PORT}/v1/calls/{call_id}")).raise_for_status()
    with sqlite3.connect(f"file:{world.directory}/data/manager.db?mode=ro", uri=True) as database:
        row = database.execute("SELECT record FROM calls WHERE call_id = ?", [call_id]).fetchone()
    files = [path for path in world.directory.rglob("*") if path.is_file()]
    return {
        "teletrunk call show": (await world.command("call", "show", call_id)).encode(),
        "REST": rest.content,
        "the call's row": row[0],
        **{path.name: path.read_bytes() for path in files if path.stat().st_size},
    }


async def test_which_keys_are_pressed_is_written_nowhere_unless_the_trunk_says_so(scene: Scene) -> None:
    """They may be a card's or a PIN's; that they came, how and when is told. The first here: others record theirs."""
    async with sound_pbx(scene) as pbx:
        async with pbx.call() as call:
            await press_all_ways(call)
        assert pbx.record is not None and pbx.record.media.dtmf_digits == 2
        told = [step.text for step in pbx.record.steps if step.text.startswith("digit")]
        assert told == ["digit (not recorded) by rfc4733"] * 2 + ["digits (not recorded) by rfc4733"]
        hidden = await told_of(scene, pbx.record.call_id)
        assert {"worker.log", "manager.log", "session-store.log", "manager.db"} <= hidden.keys()
        assert [where for where, text in hidden.items() if _TELLS_KEYS.search(text)] == []

        await pbx.change("--record-digits")
        async with pbx.call() as call:
            await press_all_ways(call)
        assert digits(pbx.record) == "*#" and pbx.record is not None
        assert f"digits {_PRESSED_BY_OPERATOR.decode()} by rfc4733" in [step.text for step in pbx.record.steps]
        told_now = await told_of(scene, pbx.record.call_id)
        found = {where for where, text in told_now.items() if _TELLS_KEYS.search(text)}
        assert found >= {"teletrunk call show", "REST", "the call's row", "worker.log"}, (
            "the search finds what is there"
        )
        assert "digits: recorded" in await scene.world.command("trunk", "show", pbx.login)


async def test_all_sixteen_by_rfc_4733_at_any_payload_type_each_once(scene: Scene) -> None:
    async with sound_pbx(scene, record_digits=True) as pbx:
        offer = pbx.rtp.offer(
            "8 PCMA/8000", "127 telephone-event/8000", payload_types="8 127", more=["a=fmtp:127 0-15"]
        )
        async with pbx.call(offer) as call:
            assert b"telephone-event" in call.answer.body
            for event in range(16):
                await pbx.rtp.press(event, 127)
            await pbx.rtp.press(1, 127, durations=(160, 480, 320, 640, 800))  # out of their order
            await pbx.rtp.press(1, 127, durations=(800,))  # the same again, of which only the end comes
            await settle(pbx)
        assert digits(pbx.record) == KEYS + "11"
        assert pbx.record is not None and pbx.record.media.dtmf_method == "rfc4733"


async def test_by_info_in_both_forms_and_what_is_no_digit_is_refused(scene: Scene) -> None:
    async with sound_pbx(scene, record_digits=True) as pbx:
        async with pbx.call() as call:
            for key in "19*#AD":
                assert (
                    await info(call, f"Signal={key}\r\nDuration=100\r\n".encode(), "application/dtmf-relay")
                ).code == 200
            assert (await info(call, b"Signal= 5\nDuration= 250\n", "application/dtmf-relay")).code == 200
            assert (await info(call, b"Signal=11\r\nDuration=250\r\n", "application/dtmf-relay")).code == 200
            for body in (b"7", b"10\r\n"):
                assert (await info(call, body, "application/dtmf")).code == 200
            refused = await info(call, b"Signal=?\r\n", "application/dtmf-relay")
            assert (refused.code, refused.phrase) == (400, "Bad Request: no digit in the body")
            await settle(pbx)
        assert digits(pbx.record) == "19*#AD5#7*"


async def test_a_digit_of_a_call_s_last_moment_is_counted(scene: Scene) -> None:
    async with sound_pbx(scene, record_digits=True) as pbx:
        async with pbx.call() as call:
            assert (await info(call, b"Signal=5\r\nDuration=100\r\n", "application/dtmf-relay")).code == 200
        assert digits(pbx.record) == "5"


async def test_a_pbx_that_sends_a_digit_by_two_methods_has_pressed_it_once(scene: Scene) -> None:
    async with sound_pbx(scene, record_digits=True) as pbx:
        for option, wanted in (("any", "12"), ("rfc4733", "12"), ("info", "34")):
            await pbx.change("--dtmf", option)
            async with pbx.call() as call:
                assert (b"telephone-event" in call.answer.body) is (option != "info")
                for event, key in ((1, b"3"), (2, b"4")):
                    await pbx.rtp.press(event)
                    assert (await info(call, b"Signal=" + key, "application/dtmf-relay")).code == 200
                await settle(pbx)
            assert digits(pbx.record) == wanted, option


async def test_in_the_sound_itself_when_the_trunk_is_set_so(scene: Scene) -> None:
    async with sound_pbx(scene, record_digits=True) as pbx:
        async with pbx.call():
            await pbx.rtp.speak(tones("123"))
            await settle(pbx)
        assert digits(pbx.record) == "", "nobody listens for them unless the trunk says so"
        await pbx.change("--dtmf", "inband")
        async with pbx.call() as call:
            assert b"telephone-event" not in call.answer.body
            await pbx.rtp.speak(tones(KEYS + "1122"))
            await settle(pbx)
        assert digits(pbx.record) == KEYS + "1122"
        assert "DTMF: inband" in await scene.world.command("trunk", "show", pbx.login)
