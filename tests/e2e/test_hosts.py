"""SIP hosts are native code: what makes one abort does not reach it, one that hangs leaves nobody waiting."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
from sipmessage import Response
from teletrunk.v1 import admin_pb2

from tests import sip_wire
from tests.processes import hosts_of
from tests.sip_wire import response_to

from .conftest import FRIEND, GATEWAY, Scene
from .test_calls import place_call, talk

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

OTHER_ACCOUNT, OTHER_FRIEND = "+79990000003", "+79990000004"
ELSEWHERE = 'SIP;cause=200;text="Call completed elsewhere"'


def hosts(scene: Scene, kind: str = "sip") -> list[psutil.Process]:
    return hosts_of(scene.world, kind)


class Offender:
    """Another account's trunk, whose PBX is a bare socket that sends what it likes."""

    def __init__(self, scene: Scene, added: admin_pb2.AddTrunkResponse, wire: sip_wire.SipWire) -> None:
        self.scene = scene
        self.login, self.password = added.trunk.login, added.password
        self.wire = wire

    async def invite(self, body: bytes | None = None, **headers: str) -> Response:
        """The final answer to an INVITE with good credentials."""
        first = self.wire.request("INVITE", OTHER_FRIEND, self.login, **headers)
        if body is not None:
            first.body = body
            first.headers.set("Content-Length", str(len(body)))
        again = self.wire.answer_challenge(first, (await self.wire.ask(first)).final, self.login, self.password)
        return (await self.wire.ask(again)).final


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def offender(scene: Scene) -> AsyncIterator[Offender]:
    account = await scene.world.add_account(OTHER_ACCOUNT, "other")
    added = await scene.world.add_trunk(OTHER_ACCOUNT)
    await scene.world.active(account.account_id)
    await scene.friends.tell("user", phone=OTHER_FRIEND, first_name="Other", username="otherfriend")
    await scene.friends.tell("behave", phone=OTHER_FRIEND, on_call="decline")
    async with sip_wire.udp(scene.edge, "127.0.20.1") as wire:
        assert (await wire.register(added.trunk.login, added.password)).final.code == 200
        yield Offender(scene, added, wire)


def sdp(formats: str = "8", connection: str = "IN IP4 127.0.0.1") -> bytes:
    return (
        f"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc={connection}\r\nt=0 0\r\n"
        f"m=audio {sip_wire.unheard_port()} RTP/AVP {formats}\r\n"
    ).encode()


async def test_what_makes_a_host_abort_costs_nobody_elses_call(scene: Scene, offender: Offender) -> None:
    wire = offender.wire
    call = await place_call(scene)
    await scene.phone.wait("established", call=call)
    pids = {process.pid for process in hosts(scene)}
    for padding in (4_100, 4_300, 4_500, 5_000, 20_000, 60_000):
        assert (await offender.invite(X_Padding="p" * padding)).code == 513
    for connection in (
        "IN IP4 " + "1" * 254,
        "IN IP4 pbx.example.com",
        "IN IP6 " + "a" * 400,
        "IN IP4 1.2.3",
        "IN IP4 ::1",
    ):
        for _ in range(8):
            assert (await offender.invite(sdp(connection=connection))).code == 488
    # As the called one: a description that cannot be negotiated, and then a good one.
    good = sdp()
    for bad in (b"junk", sdp("18"), good.replace(b"audio", b"video"), good.replace(b"m=audio ", b"m=audio 0")):
        await scene.friends.tell("call", phone=OTHER_FRIEND, to=OTHER_ACCOUNT)
        invite = await wire.next_request("INVITE")
        wire.send(bytes(response_to(invite, 183, "Session Progress", wire, bad)))
        wire.send(bytes(response_to(invite, 180, "Ringing", wire, sdp())))
        wire.send(bytes(response_to(invite, 200, "OK", wire, sdp(connection="IN IP4 " + "1" * 300))))
        wire.answer(await wire.next_request("BYE"), 200, "OK")
        await scene.friends.wait("ended", phone=OTHER_FRIEND, by="peer")
    assert {process.pid for process in hosts(scene)} >= pids
    await talk(scene, call)
    await scene.phone.tell("hangup", call=call)
    await scene.friends.wait("ended", phone=FRIEND, by="peer")


async def test_hosts_run_with_nothing(scene: Scene) -> None:
    for kind in ("sip", "telegram"):
        assert hosts(scene, kind)
        for process in hosts(scene, kind):
            assert process.environ().keys() <= {"PATH", "LANG"}
            status = Path(f"/proc/{process.pid}/status").read_text()
            assert "NoNewPrivs:\t1" in status and "Seccomp:\t2" in status
            assert "CapEff:\t0000000000000000" in status


async def test_a_host_that_hangs_while_telegram_hangs_up_leaves_no_pbx_waiting(scene: Scene) -> None:
    login, password = scene.trunk.trunk.login, scene.trunk.password
    await scene.friends.tell("behave", phone=FRIEND, on_call="answer")
    async with sip_wire.udp(scene.edge, "127.0.20.2") as wire:
        first = wire.request("INVITE", FRIEND, login)
        invite = wire.answer_challenge(first, (await wire.ask(first)).final, login, password)
        up = (await wire.ask(invite)).final
        assert up.code == 200
        wire.acknowledge(invite, up)
        for process in hosts(scene):
            os.kill(process.pid, signal.SIGSTOP)
        await scene.friends.tell("hangup", phone=FRIEND)
        # Ten seconds are a host's to end a call; it is found out to hang after fifteen at the earliest.
        bye = await wire.next_request("BYE", patience=14)
        wire.answer(bye, 200, "OK")
    async with asyncio.timeout(40):
        while any(process.status() == psutil.STATUS_STOPPED for process in hosts(scene)):
            await asyncio.sleep(0.1)


async def test_those_that_lost_a_call_do_not_list_it_as_missed(scene: Scene) -> None:
    added = await scene.world.add_trunk(GATEWAY)
    async with (
        sip_wire.udp(scene.edge, "127.0.20.3") as winner,
        sip_wire.udp(scene.edge, "127.0.20.4") as loser,
    ):
        for wire in (winner, loser):
            assert (await wire.register(added.trunk.login, added.password)).final.code == 200
        await scene.phone.tell("behave", on_call="ring")
        await scene.friends.tell("call", phone=FRIEND, to=GATEWAY)
        for wire in (loser, winner):
            invite = await wire.next_request("INVITE")
            wire.send(bytes(response_to(invite, 180, "Ringing", wire)))
        wire.send(bytes(response_to(invite, 200, "OK", winner, sdp())))
        await winner.next_request("ACK")
        cancel = await loser.next_request("CANCEL")
        assert [value for value in cancel.headers.getlist("Reason") if value.startswith("SIP")] == [ELSEWHERE]
        loser.answer(cancel, 200, "OK")
        await scene.friends.tell("hangup", phone=FRIEND)
        bye = await winner.next_request("BYE")
        reasons = [value.partition(";")[0].strip() for value in bye.headers.getlist("Reason")]
        assert sorted(reasons) == sorted(set(reasons)), "one Reason a protocol"
        winner.answer(bye, 200, "OK")
        await scene.friends.wait("ended", phone=FRIEND)
    await scene.world.remove_trunk(added.trunk.login)


async def test_a_pbx_may_think_before_its_first_word(scene: Scene) -> None:
    added = await scene.world.add_trunk(GATEWAY)
    await scene.phone.tell("behave", on_call="busy")
    async with sip_wire.udp(scene.edge, "127.0.20.5") as slow:
        assert (await slow.register(added.trunk.login, added.password)).final.code == 200
        seen = await scene.world.call_ids()
        await scene.friends.tell("call", phone=FRIEND, to=GATEWAY)
        invite = await slow.next_request("INVITE")
        await asyncio.sleep(7)  # the thinking itself
        slow.answer(invite, 600, "Busy Everywhere")
        await scene.friends.wait("ended", phone=FRIEND, by="peer")
        record = await scene.world.record(besides=seen)
        assert (record.ended_by, record.sip_status) == ("pbx", 600)
    await scene.world.remove_trunk(added.trunk.login)
