"""SRTP per trunk: off, optional, required; what is refused is said, and what is agreed is encrypted."""

from __future__ import annotations

import asyncio

import pytest
from teletrunk import causes

from tests import sip_wire

from .conftest import FRIEND, GATEWAY, Scene
from .sound_pbx import Call, sound_pbx

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

_KEYS = ("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz",)
_OFF = "No common codec: offered SRTP (RTP/SAVP); this trunk has it off"
_NEEDED = "No common codec: offered RTP/AVP; this trunk requires SRTP (RTP/SAVP with a=crypto)"
_DTLS = "No common codec: offered UDP/TLS/RTP/SAVPF; the gateway has RTP/AVP and RTP/SAVP with a=crypto"
_READ = "No common codec: this trunk requires SRTP, whose keys can be read over UDP: use TLS"


async def test_what_a_trunk_does_not_allow_is_refused_with_the_reason(scene: Scene) -> None:
    async with sound_pbx(scene) as pbx:
        secure, clear = pbx.rtp.offer(profile="RTP/SAVP", more=_KEYS), pbx.rtp.offer()
        both = clear + secure[secure.index(b"m=audio") :]
        dtls = pbx.rtp.offer(profile="UDP/TLS/RTP/SAVPF", more=["a=fingerprint:sha-256 AA:BB"])
        for policy, offer, phrase in (
            ("off", secure, _OFF),
            ("off", dtls, _DTLS),
            ("required-insecure", clear, _NEEDED),
            ("required", secure, _READ),
        ):
            await pbx.change("--srtp", policy)
            _, answer = await pbx.invite(offer)
            assert answer.code == 488 and answer.phrase.startswith(phrase), (policy, answer.phrase)
            await scene.record()
        for policy, taken in (("off", b"RTP/AVP"), ("required-insecure", b"RTP/SAVP")):
            await pbx.change("--srtp", policy)
            async with pbx.call(both) as call:
                media = [line for line in call.answer.body.splitlines() if line.startswith(b"m=")]
                assert [line.split()[2] for line in media if line.split()[1] != b"0"] == [taken]
            assert pbx.record is not None
            assert pbx.record.media.srtp_suite == ("" if policy == "off" else "AES_CM_128_HMAC_SHA1_80")
        async with pbx.call(secure) as call:
            refused = await call.offer_again(pbx.rtp.offer(version=2))
            assert (refused.code, refused.phrase) == (488, _NEEDED), "nor does a call fall back to it later"


async def test_a_call_from_telegram_to_a_trunk_whose_keys_could_be_read_says_so(scene: Scene) -> None:
    """The PBX hears nothing of it: it is not the one to blame."""
    async with sound_pbx(scene) as pbx:
        await pbx.change("--srtp", "required")
        silent = (await scene.world.add_trunk(GATEWAY)).trunk.login
        await scene.friends.tell("call", phone=FRIEND, to=GATEWAY)
        message = await scene.friends.wait("message", deadline=20, phone=FRIEND, from_user_id=scene.account.user_id)
        record = await scene.record()
        assert message["text"].startswith("488 No common codec\nCall again later."), message["text"]
        assert "teletrunk" not in message["text"] and "SRTP" not in message["text"], "the caller may be anybody"
        assert (record.sip_status, record.error_id) == (488, "no-common-codec")
        assert record.cause == causes.SRTP_KEYS_READABLE.code and f"No common codec: {record.error_detail}".startswith(
            _READ
        )
        assert pbx.wire.requests.empty()
        ladder = "\n".join(step.text for step in record.steps)
        assert f"{pbx.login} is not rung: 488 {_READ}" in ladder
        assert f"{silent} is not rung: no PBX is registered with it here" in ladder
        await scene.world.remove_trunk(silent)
        said = await scene.world.command("explain", "--call", "last")
        assert "--srtp required-insecure" in said and "--codecs" not in said


async def test_an_answer_in_clear_that_is_refused_is_not_told_as_the_pbxs_refusal(scene: Scene) -> None:
    async with sound_pbx(scene) as pbx:
        await pbx.change("--srtp", "required-insecure")
        assert (await pbx.wire.register(pbx.login, pbx.password)).final.code == 200
        await scene.friends.tell("call", phone=FRIEND, to=GATEWAY)
        rung = await pbx.wire.next_request("INVITE")
        pbx.wire.send(bytes(sip_wire.response_to(rung, 200, "OK", pbx.wire, pbx.rtp.offer())))
        assert (await pbx.wire.next_request("BYE")).call_id == rung.call_id
        record = await scene.record()
        assert (record.ended_by, record.error_id, record.sip_status) == ("gateway", "no-common-codec", 488)
        assert record.cause == causes.SRTP_NOT_ANSWERED.code
        ladder = "\n".join(step.text for step in record.steps)
        assert "its answer is refused: No common codec: answered in clear" in ladder


async def test_keys_that_are_none_cost_no_host_its_life(scene: Scene) -> None:
    """A host's library reads them only where the trunk has SRTP."""
    suite, key = "AES_CM_128_HMAC_SHA1_80", _KEYS[0].rpartition(":")[2]
    attributes = [
        "", "1", f"1 {suite}", f"1 {suite} inline:", f"1 {suite} inline:AAAA", f"1 {suite} inline:{key}{key}",
        f"1 {suite} inline:{'A' * 1_500}", f"1 {suite} inline:{'=' * 40}", f"1 {suite} inline:!\"%&/()",
        f"1 {suite} inline:{key}|2^20|1:4|{'9' * 300}", f"1 {'X' * 1_000} inline:{key}",
        f"{'9' * 400} {suite} inline:{key}",
        f"-1 {suite} inline:{key}", f"0 {suite} inline:{key}", f"1 AES_CM_256_HMAC_SHA1_80 inline:{key}",
        f"1 NULL inline:{key}", f"1  {suite}  inline:{key}", f"1 {suite} uri:{key}",
    ]  # fmt: skip
    async with sound_pbx(scene) as pbx:
        await pbx.change("--srtp", "optional")
        await scene.friends.tell("behave", phone=FRIEND, on_call="answer")
        for attribute in attributes:
            for profile in ("RTP/SAVP", "RTP/AVP"):
                offer = pbx.rtp.offer(profile=profile, more=[f"a=crypto:{attribute}"])
                invite, answer = await pbx.invite(offer)
                assert answer.code in (200, 400, 406, 415, 488, 500), (attribute, answer.code)
                assert "SIP host" not in answer.phrase, (attribute, answer.phrase)
                if answer.code == 200:
                    call = Call(pbx, invite, answer)
                    call.acknowledge(invite, answer)
                    await pbx.wire.ask(call.request("BYE"))
                await scene.record()
        many = [f"a=crypto:{number} {suite} inline:{key}" for number in range(1, 60)]
        _, answer = await pbx.invite(pbx.rtp.offer(profile="RTP/SAVP", more=many))
        assert answer.code in (400, 413, 488, 513), answer.code
        await scene.record()
        async with pbx.call(pbx.rtp.offer(profile="RTP/SAVP", more=_KEYS)):
            pass
        log = scene.world.directory / "data" / "logs" / "worker.log"
        assert "host died" not in log.read_text()


@pytest.mark.parametrize(
    ("trunk", "phones", "encrypted"),
    [("off", "optional", False), ("optional", "off", False), ("optional", "required", True),
     ("required-insecure", "required", True)],
)  # fmt: skip
async def test_sound_both_ways_from_either_side(scene: Scene, trunk: str, phones: str, encrypted: bool) -> None:
    added = await scene.world.add_trunk(GATEWAY)
    await scene.only_trunk(added)
    await scene.world.command("trunk", "change", added.trunk.login, "--srtp", trunk)
    phone = await scene.world.phone(added)
    await phone.tell("srtp", use=phones)
    # What is offered either way (RTP/AVP with keys) a PBX that insists on RTP/SAVP refuses: that trunk requires SRTP.
    for from_sip in (True,) if (trunk, phones) == ("optional", "required") else (True, False):
        if from_sip:
            await scene.friends.tell("behave", phone=FRIEND, on_call="answer", play={"hz": 620})
            call = (await phone.tell("call", to="@friend", play={"hz": 440}))["call"]
        else:
            await phone.tell("behave", on_call="answer", play={"hz": 440})
            await scene.friends.tell("call", phone=FRIEND, to=GATEWAY, play={"hz": 620})
            call = (await phone.wait("incoming"))["call"]
        await phone.wait("established", call=call)
        await asyncio.sleep(3.5)
        here = await phone.tell("heard", call=call, skip_s=0.5)
        there = await scene.friends.tell("heard", phone=FRIEND, skip_s=0.5)
        await phone.tell("hangup", call=call)
        record = await scene.record()
        assert bool(record.media.srtp_suite) is encrypted
        assert here["hz"] == pytest.approx(620, abs=5) and there["hz"] == pytest.approx(440, abs=5), from_sip
    await scene.world.remove_trunk(added.trunk.login)
