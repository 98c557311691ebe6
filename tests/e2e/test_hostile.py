"""What a stranger, or a PBX that is up to something, can send: nothing of it touches anybody else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from sipmessage import Request, Response

from tests import sip_wire

from .conftest import FRIEND, GATEWAY, Scene
from .test_calls import place_call, talk

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

PROMPT_S = 2.0  # a busy machine's; what a parser was once trapped for took many times that


@contextlib.asynccontextmanager
async def call_up(
    scene: Scene, wire: sip_wire.SipWire, seconds: float = 0.0
) -> AsyncIterator[tuple[Request, Response]]:
    """A call that is up, for so long at least, as its PBX knows it: the INVITE and the 200. It sends no sound."""
    login, password = scene.trunk.trunk.login, scene.trunk.password
    await scene.friends.tell("behave", phone=FRIEND, on_call="answer")
    first = wire.request("INVITE", FRIEND, login)
    invite = wire.answer_challenge(first, (await wire.ask(first)).final, login, password)
    answer = (await wire.ask(invite)).final
    assert answer.code == 200
    wire.acknowledge(invite, answer)
    yield invite, answer
    await asyncio.sleep(seconds)  # the talking itself
    await wire.ask(wire.in_dialog("BYE", invite, answer))
    await scene.friends.wait("ended", phone=FRIEND)
    await scene.record()


async def alive(scene: Scene) -> None:
    async with sip_wire.udp(scene.edge, "127.0.8.9") as wire:
        options = wire.request("OPTIONS", "", "anybody")
        assert (await wire.ask(options, patience=PROMPT_S)).final.code == 200


async def test_an_authorization_that_is_a_trap_for_parsers_costs_no_time(scene: Scene) -> None:
    async with sip_wire.udp(scene.edge, "127.0.8.1") as wire:
        for trap in ('a="x",' * 2_000 + "@", '"' * 20_000, 'a="\\' * 5_000, "=" * 20_000, "," * 20_000):
            request = wire.request("REGISTER", "", "anybody", Authorization=f"Digest {trap}")
            assert (await wire.ask(request, patience=PROMPT_S)).final.code == 401
    await alive(scene)


async def test_a_uri_with_commas_in_a_digest_is_one_uri(scene: Scene) -> None:
    login, password = scene.trunk.trunk.login, scene.trunk.password
    async with sip_wire.udp(scene.edge, "127.0.8.2") as wire:
        first = wire.request("REGISTER", "a,b=c", login, Expires="300")
        again = wire.answer_challenge(first, (await wire.ask(first)).final, login, password)
        assert "sip:a,b=c@" in again.headers["Authorization"]
        assert (await wire.ask(again)).status == (200, "OK")


async def test_a_line_hidden_in_a_header_is_no_message(scene: Scene) -> None:
    async with sip_wire.udp(scene.edge, "127.0.8.3") as wire:
        request = wire.request("OPTIONS", "", "anybody", Subject="x\nX-Teletrunk-Call: forged/a")
        refused = (await wire.ask(request)).final
        assert refused.code == 400 and "line ends inside a header" in refused.phrase
    await alive(scene)


async def test_who_knows_only_the_call_id_changes_nothing(scene: Scene) -> None:
    async with (
        sip_wire.udp(scene.edge, "127.0.8.4") as pbx,
        sip_wire.udp(scene.edge, "127.0.8.5") as stranger,
        call_up(scene, pbx) as (invite, answer),
    ):
        for method in ("BYE", "OPTIONS", "INVITE", "UPDATE"):
            forged = stranger.in_dialog(method, invite, answer, To=f"{invite.headers['To']};tag=guess")
            assert (await stranger.ask(forged)).final.code == 481
            forged = stranger.in_dialog(method, invite, answer, From="<sip:x@y>;tag=guess")
            assert (await stranger.ask(forged)).final.code == 481
        cancel = stranger.in_dialog("CANCEL", invite, answer, CSeq=f"{invite.cseq.sequence} CANCEL")
        stranger.send(bytes(cancel))
        await alive(scene)
        # It is still up, and what the gateway says of it still goes to the PBX.
        await scene.friends.tell("hangup", phone=FRIEND)
        bye = await pbx.next_request("BYE")
        pbx.answer(bye, 200, "OK")
        assert stranger.requests.empty()


async def test_a_pbx_cannot_make_the_gateway_call_another_pbx(scene: Scene) -> None:
    added = await scene.world.add_trunk(GATEWAY)
    async with sip_wire.udp(scene.edge, "127.0.8.6") as victim, sip_wire.udp(scene.edge, "127.0.8.7") as pbx:
        assert (await victim.register(added.trunk.login, added.password)).final.code == 200
        async with call_up(scene, pbx) as (invite, answer):
            for target in ("sip:b1@binding.teletrunk.invalid", f"sip:{victim.local[0]}:{victim.local[1]}"):
                refer = pbx.in_dialog("REFER", invite, answer, Refer_To=f"<{target}>")
                assert (await pbx.ask(refer)).final.code == 603
        assert victim.requests.empty()
    await scene.world.remove_trunk(added.trunk.login)


async def test_a_call_that_was_refused_may_be_tried_again_under_its_call_id(scene: Scene) -> None:
    """RFC 3261 8.1.3.5: after 422 or 488, say, the same Call-ID comes with the next number."""
    login, password = scene.trunk.trunk.login, scene.trunk.password
    await scene.friends.tell("behave", phone=FRIEND, on_call="decline")
    async with sip_wire.udp(scene.edge, "127.0.8.8") as wire:
        first = wire.request("INVITE", FRIEND, login)
        for _ in range(2):
            invite = wire.answer_challenge(first, (await wire.ask(first)).final, login, password)
            assert (await wire.ask(invite)).status == (486, "Busy Here")
            await scene.record()
            number = invite.cseq.sequence + 100
            first = wire.request("INVITE", FRIEND, login, Call_ID=invite.call_id, CSeq=f"{number} INVITE")
            first.headers.set("From", invite.headers["From"])


async def test_a_place_that_a_silent_phone_still_takes_is_not_given_away(scene: Scene) -> None:
    """A dialog whose CANCEL nobody answers keeps its place at pjsua for half a minute."""
    added = await scene.world.add_trunk(GATEWAY)
    async with contextlib.AsyncExitStack() as stack:
        for number in range(4):
            silent = await stack.enter_async_context(sip_wire.udp(scene.edge, f"127.0.9.{number + 1}"))
            assert (await silent.register(added.trunk.login, added.password)).final.code == 200
        await scene.phone.tell("behave", on_call="answer", play={"hz": 440.0})
        await scene.friends.tell("call", phone=FRIEND, to=GATEWAY, play={"hz": 620.0})
        call = (await scene.phone.wait("incoming"))["call"]
        await scene.phone.wait("established", call=call)
        await scene.phone.tell("hangup", call=call)
        await scene.friends.wait("ended", phone=FRIEND)
        await scene.record()
        for _ in range(3):
            call = await place_call(scene)
            await scene.phone.wait("established", call=call)
            await talk(scene, call)
            await scene.phone.tell("hangup", call=call)
            await scene.friends.wait("ended", phone=FRIEND)
            await scene.record()
    await scene.world.remove_trunk(added.trunk.login)
