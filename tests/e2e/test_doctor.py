"""The three problems that have no code: no incoming calls, sound one way only, digits that do not come."""

from __future__ import annotations

import json
from typing import Any

import pytest
from teletrunk_sandbox.world import World

from tests import sip_wire

from .conftest import FRIEND, GATEWAY, Scene
from .test_calls import place_call, talk
from .test_hostile import call_up
from .test_trunk_settings import offering

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

TALK_S = 4.0
INFO = "Signal=5\r\nDuration=160\r\n"


async def diagnosis(world: World, *arguments: str) -> dict[str, Any]:
    """What the doctor says; it ends with 1 when it finds something."""
    try:
        return json.loads(await world.command("doctor", "--json", *arguments))
    except RuntimeError as error:
        return json.loads(str(error))


async def test_a_good_call_gives_no_finding_about_sound(scene: Scene) -> None:
    call = await place_call(scene)
    await scene.phone.wait("established", call=call)
    await talk(scene, call)
    await scene.phone.tell("hangup", call=call)
    await scene.friends.wait("ended", phone=FRIEND)
    media = (await scene.record()).media
    assert media.rtp_received > 100 and media.rtp_sent > 100 and media.rtp_silent_s < 2
    assert media.rtp_peer.startswith("127.0.0.1:") and media.dtmf_offered
    said = await diagnosis(scene.world, "--call", "last")
    assert not [finding for finding in said["findings"] if "one-way" in finding["text"]]
    assert "RFC 4733 was offered and agreed" in said["dtmf"]


async def test_a_pbx_whose_sound_does_not_arrive(scene: Scene) -> None:
    """Its packets are stopped by a firewall, say; its digits come by INFO."""
    async with sip_wire.udp(scene.edge, "127.0.10.1") as pbx:
        login, password = scene.trunk.trunk.login, scene.trunk.password
        assert (await pbx.register(login, password)).final.code == 200
        async with call_up(scene, pbx, seconds=TALK_S) as (invite, answer):
            for _ in range(2):
                info = pbx.in_dialog("INFO", invite, answer, Content_Type="application/dtmf-relay",
                                     Content_Length=str(len(INFO)))  # fmt: skip
                info.body = INFO.encode()
                assert (await pbx.ask(info)).final.code == 200
    said = await diagnosis(scene.world, "--call", "last")
    (finding,) = [finding for finding in said["findings"] if "one-way" in finding["text"]]
    assert "not one RTP packet came from the PBX (PCMA/8000, the PBX's side is 127.0.10.1:" in finding["text"]
    assert "2 digits came" in said["dtmf"]
    log = (scene.world.directory / "data" / "logs" / "worker.log").read_text()
    (warned,) = [json.loads(line)["why"] for line in log.splitlines() if "one-way audio" in line]
    assert warned in finding["text"]


async def test_a_codec_mismatch_is_named_by_both_lists_and_one_call_is_spoken_of_alone(scene: Scene) -> None:
    async with sip_wire.udp(scene.edge) as pbx:
        login, password = scene.trunk.trunk.login, scene.trunk.password
        assert (await pbx.register(login, password)).final.code == 200
        first = offering(pbx.request("INVITE", "%40friend", login), "G729")
        invite = pbx.answer_challenge(first, (await pbx.ask(first)).final, login, password)
        assert (await pbx.ask(invite, 20)).final.code == 488
    lists = "offered G729; this trunk has PCMA, PCMU, G722"
    assert lists in (await scene.record()).steps[-1].text
    for arguments in ([], ["--call", "last"]):
        found = (await diagnosis(scene.world, *arguments))["findings"]
        (finding,) = [finding for finding in found if finding["row"] == "no-common-codec"]
        assert lists in finding["text"]
    said = await diagnosis(scene.world, "--call", "last")
    assert (len(said["findings"]), said["warnings"]) == (1, [])
    assert lists in await scene.world.command("doctor", "--call", "last")  # nothing is wrong now: exit code 0


async def test_an_account_that_lets_only_its_contacts_call(scene: Scene) -> None:
    assert not [f for f in (await diagnosis(scene.world, "--account", GATEWAY))["findings"] if "incoming" in f["text"]]
    await scene.world.control.privacy(GATEWAY, calls="contacts")
    try:
        found = (await diagnosis(scene.world, "--account", GATEWAY))["findings"]
        assert "incoming calls: only its contacts may call it" in next(f for f in found if not f["row"])["text"]
    finally:
        await scene.world.control.privacy(GATEWAY, calls="all")
