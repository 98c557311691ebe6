"""Phones that say nothing: no word on a call, or no sound in one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from pathlib import Path

import pytest
from sipmessage import Request, Response
from teletrunk_sandbox.world import World

from tests import sip_wire
from tests.conformance.gateway import FRIEND, Gateway

pytestmark = pytest.mark.e2e

SECOND_FRIEND = "+79990000007"
FIRST_ANSWER_S = 2
LONGEST_SILENCE_S = 60.0


async def test_the_living_one_of_two_bindings_is_rung_each_time(tmp_path: Path) -> None:
    """A place that the silent one's dialog keeps is no room for the next call, and no answer of the PBX."""
    async with (
        World(tmp_path, TELETRUNK_FIRST_ANSWER_SECONDS=str(FIRST_ANSWER_S)) as world,
        sip_wire.udp(("127.0.0.1", world.sip_port)) as living,
        sip_wire.udp(("127.0.0.1", world.sip_port), "127.0.21.2") as silent,
    ):
        gateway = Gateway(world, living)
        await gateway.furnish()
        assert (await silent.register(gateway.trunk.login, gateway.password)).final.code == 200
        seen = {(await world.record()).call_id, *await world.call_ids()}  # of calls that furnished it
        for _ in range(8):
            await world.subscribers.tell("call", phone=FRIEND, to="@gateway")
            invite = await living.next_request("INVITE", patience=3)
            living.answer(invite, 486, "Busy Here")
            await world.subscribers.wait("ended", phone=FRIEND, by="peer")
            record = await world.record(besides=seen)
            seen.add(record.call_id)
            assert (record.ended_by, record.sip_status) == ("pbx", 486)


class PbxCall:
    """A call that a bare PBX makes, and the sound that it sends or does not."""

    def __init__(self, gateway: Gateway, wire: sip_wire.SipWire, attribute: str = "") -> None:
        self.gateway, self.wire = gateway, wire
        self._attribute = attribute
        self.invite: Request
        self.answer: Response

    async def place(self, called: str, patience: float) -> None:
        login, password = self.gateway.trunk.login, self.gateway.password
        first = self.wire.request("INVITE", called, login)
        first.body += f"{self._attribute}\r\n".encode() if self._attribute else b""
        first.headers.set("Content-Length", str(len(first.body)))
        self.invite = self.wire.answer_challenge(first, (await self.wire.ask(first)).final, login, password)
        self.answer = (await self.wire.ask(self.invite, patience=patience)).final
        assert self.answer.code == 200
        self.wire.acknowledge(self.invite, self.answer)

    async def speak(self, seconds: float) -> None:
        """Sends RTP for so long."""
        port = int(self.answer.body.decode().partition("m=audio ")[2].split()[0])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            out.bind((self.wire.local[0], 0))
            for number in range(int(seconds * 50)):
                out.sendto(struct.pack("!BBHII", 0x80, 8, number, number * 160, 7) + b"\xd5" * 160, ("127.0.0.1", port))
                await asyncio.sleep(0.02)  # the pace of speech

    async def is_up(self) -> bool:
        with contextlib.suppress(TimeoutError):
            await self.wire.next_request("BYE", patience=0.1)
            return False
        return True

    async def hang_up(self) -> None:
        await self.wire.ask(self.wire.in_dialog("BYE", self.invite, self.answer))


@pytest.mark.timeout(150)
async def test_silence_counts_from_the_answer_and_only_where_sound_was_promised(tmp_path: Path) -> None:
    async with World(tmp_path) as world, contextlib.AsyncExitStack() as stack:
        wires = [
            await stack.enter_async_context(sip_wire.udp(("127.0.0.1", world.sip_port), f"127.0.22.{n}"))
            for n in (1, 2, 3)
        ]
        gateway = Gateway(world, wires[0])
        await gateway.furnish()
        await world.subscribers.tell("user", phone=SECOND_FRIEND, first_name="Second", username="second")
        await world.subscribers.tell("behave", phone=SECOND_FRIEND, on_call="answer")
        await world.subscribers.tell("behave", phone=FRIEND, on_call="answer", delay_s=LONGEST_SILENCE_S + 2)
        rung_long, listener, vanished = (
            PbxCall(gateway, wires[0]),
            PbxCall(gateway, wires[1], "a=recvonly"),
            PbxCall(gateway, wires[2]),
        )
        ringing = asyncio.ensure_future(rung_long.place(FRIEND, patience=90))
        await listener.place(SECOND_FRIEND, patience=20)
        await vanished.place(SECOND_FRIEND, patience=20)
        bye = await vanished.wire.next_request("BYE", patience=LONGEST_SILENCE_S + 5)
        vanished.wire.answer(bye, 200, "OK")
        await ringing
        await asyncio.sleep(0.3)  # its first packet is late by that
        await rung_long.speak(3.0)
        assert await rung_long.is_up() and await listener.is_up()
        await rung_long.hang_up()
        await listener.hang_up()
