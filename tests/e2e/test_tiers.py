"""A call from Telegram rings at the trunks of the first priority together, then, when all have refused, at the next."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest
from sipmessage import Request

from tests import rtp_wire, sip_wire

from .conftest import FRIEND, GATEWAY, Scene

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

_PRIORITIES = (0, 0, 1)
_PATIENCE_S = 15.0


async def test_the_next_tier_is_rung_when_all_of_the_first_have_refused(scene: Scene) -> None:
    async with contextlib.AsyncExitStack() as stack:
        wires, logins = [], []
        for number, priority in enumerate(_PRIORITIES):
            trunk = await scene.world.add_trunk(GATEWAY, priority=priority)
            if number == 0:
                await scene.only_trunk(trunk)
            wire = await stack.enter_async_context(sip_wire.udp(scene.edge, f"127.0.22.{number + 1}"))
            assert (await wire.register(trunk.trunk.login, trunk.password)).final.code == 200
            wires.append(wire)
            logins.append(trunk.trunk.login)
        first, second, last = wires
        rtp = await stack.enter_async_context(rtp_wire.rtp())
        await scene.friends.tell("call", phone=FRIEND, to=GATEWAY)
        rung: list[Request] = await asyncio.gather(*(wire.next_request("INVITE") for wire in (first, second)))
        first.answer(rung[0], 486, "Busy Here")
        rung[1].headers.set("To", f"{rung[1].headers['To']};tag=second")
        second.answer(rung[1], 180, "Ringing")
        with pytest.raises(TimeoutError):
            await last.next_request("INVITE", patience=1.0)
        second.answer(rung[1], 404, "Not Found")
        invite = await last.next_request("INVITE")
        last.send(bytes(sip_wire.response_to(invite, 200, "OK", last, rtp.offer())))
        await scene.friends.wait("connected", phone=FRIEND)
        await is_up(scene)
        await scene.friends.tell("hangup", phone=FRIEND)
        assert (await last.next_request("BYE")).call_id == invite.call_id
        record = await scene.record()
        assert (record.ended_by, record.answered_at > 0) == ("telegram", True)
        assert sorted(leg.login for leg in record.sip_legs[:2]) == sorted(logins[:2])
        assert [leg.login for leg in record.sip_legs[2:]] == [logins[2]]


async def is_up(scene: Scene) -> None:
    """Telegram's side knows that the call is up a moment before the gateway does: longer on a busy machine."""
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            calls = json.loads(await scene.world.command("call", "live", "--json"))["calls"]
            if any(call.get("answered_at") for call in calls):
                return


async def test_a_pbx_that_registers_while_others_ring_is_rung_in_its_turn(scene: Scene) -> None:
    """Also one that was there before, at another port: its connection has ended, or its router has begun again."""
    async with contextlib.AsyncExitStack() as stack:
        trunks = [await scene.world.add_trunk(GATEWAY)]
        await scene.only_trunk(trunks[0])
        trunks.append(await scene.world.add_trunk(GATEWAY, priority=1))
        first, before, after = [
            await stack.enter_async_context(sip_wire.udp(scene.edge, f"127.0.23.{number}")) for number in (1, 2, 3)
        ]
        for wire, trunk in zip((first, before), trunks, strict=True):
            assert (await wire.register(trunk.trunk.login, trunk.password)).final.code == 200
        await scene.friends.tell("call", phone=FRIEND, to=GATEWAY)
        rung = await first.next_request("INVITE")
        assert (await before.register(trunks[1].trunk.login, trunks[1].password, expires=0)).final.code == 200
        assert (await after.register(trunks[1].trunk.login, trunks[1].password)).final.code == 200
        first.answer(rung, 486, "Busy Here")
        after.answer(await after.next_request("INVITE"), 603, "Decline")
        assert (await scene.record()).sip_status == 603


@pytest.mark.parametrize("how", ["removed", "off"])
async def test_a_trunk_that_is_taken_away_rings_no_more_and_the_next_is_rung(scene: Scene, how: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        trunks = [await scene.world.add_trunk(GATEWAY)]
        await scene.only_trunk(trunks[0])
        trunks.append(await scene.world.add_trunk(GATEWAY, priority=1))
        first, last = [
            await stack.enter_async_context(sip_wire.udp(scene.edge, f"127.0.24.{number}")) for number in (1, 2)
        ]
        for wire, trunk in zip((first, last), trunks, strict=True):
            assert (await wire.register(trunk.trunk.login, trunk.password)).final.code == 200
        await scene.friends.tell("call", phone=FRIEND, to=GATEWAY)
        rung = await first.next_request("INVITE")
        rung.headers.set("To", f"{rung.headers['To']};tag=first")
        first.answer(rung, 180, "Ringing")
        login = trunks[0].trunk.login
        await scene.world.command(
            "trunk", *(("remove", login, "--yes") if how == "removed" else ("change", login, "--off"))
        )
        assert (await first.next_request("CANCEL")).call_id == rung.call_id
        first.answer(rung, 487, "Request Terminated")
        last.answer(await last.next_request("INVITE"), 603, "Decline")
        record = await scene.record()
        assert record.sip_status == 603
        assert any(login in step.text and "rings no more" in step.text for step in record.steps)
