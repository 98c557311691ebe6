"""A Worker at an IPv6 address: registration, a call each way, with sound, which has IPv4 alone."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sipmessage import Request, Response
from teletrunk_sandbox import sound
from teletrunk_sandbox.world import World

from tests import sip_wire

from .conftest import FRIEND, GATEWAY

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio]

HZ_HERE, HZ_THERE = 660.0, 440.0
_PACKETS, _TRIES = 100, 5  # two seconds of sound each


def _alaw_values() -> np.ndarray[Any, np.dtype[np.int16]]:
    """What each byte of G.711's A-law means (ITU-T G.711, table 1a)."""
    codes = np.arange(256) ^ 0x55
    segment, step = (codes >> 4) & 7, codes & 15
    level = np.where(segment == 0, step * 16 + 8, (step * 16 + 264) << np.maximum(segment - 1, 0))
    return np.where(codes & 0x80, level, -level).astype(np.int16)


VALUES = _alaw_values()
_ORDER = np.argsort(VALUES)


def to_alaw(pcm: bytes) -> bytes:
    samples = np.frombuffer(pcm, dtype="<i2")
    places = np.clip(np.searchsorted(VALUES[_ORDER], samples), 0, 255)
    return bytes(_ORDER[places].astype(np.uint8))


class RtpEnd:
    """A socket that speaks a tone as PCMA and keeps what it hears."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind(("127.0.0.1", 0))
        self.heard = sound.Recording(8000)

    @property
    def sdp(self) -> bytes:
        port = self.socket.getsockname()[1]
        return (
            f"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 8\r\n"
            "a=rtpmap:8 PCMA/8000\r\na=sendrecv\r\n"
        ).encode()

    async def talk(self, description: bytes) -> None:
        """To the address that it names, which is this machine's, until the other's tone is heard: on a busy machine
        sound comes late and in pieces."""
        lines = description.decode().split("\r\n")
        assert "c=IN IP4 127.0.0.1" in lines
        peer = ("127.0.0.1", next(int(line.split()[1]) for line in lines if line.startswith("m=audio")))
        began = time.monotonic()
        for number in range(_TRIES * _PACKETS):
            if number and number % _PACKETS == 0:
                if self.hz == pytest.approx(HZ_THERE, abs=2):
                    return
                self.heard = sound.Recording(8000)
            pcm = sound.tone(HZ_HERE, number * 160, 160, 8000)
            header = struct.pack(">BBHII", 0x80, 8, number, number * 160, 7)
            self.socket.sendto(header + to_alaw(pcm), peer)
            self._listen()
            await asyncio.sleep(max(0.0, began + (number + 1) * 0.02 - time.monotonic()))
        assert self.hz == pytest.approx(HZ_THERE, abs=2)

    def _listen(self) -> None:
        while True:
            try:
                data = self.socket.recv(2_048)
            except BlockingIOError:
                return
            if data[1] & 0x7F == 8:
                pcm = VALUES[np.frombuffer(data[12:], dtype=np.uint8)].astype("<i2")
                self.heard.add(pcm.tobytes(), time.time())

    @property
    def hz(self) -> float | None:
        return self.heard.report()["hz"]


def with_body(request: Request, body: bytes) -> Request:
    request.body = body
    request.headers.set("Content-Length", str(len(body)))
    return request


async def test_calls_with_sound_at_an_ipv6_address(tmp_path: Path) -> None:
    async with World(tmp_path, sip_host="[::1]") as world:
        port = world.sip_port
        account = await world.add_account(GATEWAY, "gateway")
        trunk = await world.add_trunk(GATEWAY)
        await world.active(account.account_id)
        await world.subscribers.tell("user", phone=FRIEND, first_name="Friend", username="friend")
        await world.subscribers.tell("behave", phone=FRIEND, on_call="answer", play={"hz": HZ_THERE})
        shown = await world.add_trunk(GATEWAY)
        assert shown.trunk.sip_address == f"[::1]:{port}"
        await world.remove_trunk(shown.trunk.login)
        async with sip_wire.udp(("::1", port), "::1") as wire:
            assert (await wire.register(trunk.trunk.login, trunk.password)).final.code == 200
            await call_telegram(wire, trunk.trunk.login, trunk.password)
            await world.record()
            invite = await be_called(world, wire)
            assert f"[::1]:{port}" in invite.headers["Contact"]


async def call_telegram(wire: sip_wire.SipWire, login: str, password: str) -> Response:
    """With sound both ways; what the PBX heard of it is returned."""
    rtp = RtpEnd()
    invite, answer = await answered(wire, login, password, rtp.sdp)
    await rtp.talk(answer.body)
    assert (await wire.ask(wire.in_dialog("BYE", invite, answer))).final.code == 200
    return answer


async def answered(wire: sip_wire.SipWire, login: str, password: str, sdp: bytes) -> tuple[Request, Response]:
    first = with_body(wire.request("INVITE", "%40friend", login), sdp)
    invite = wire.answer_challenge(first, (await wire.ask(first)).final, login, password)
    answer = (await wire.ask(invite, 20)).final
    assert answer.code == 200
    wire.send(bytes(wire.in_dialog("ACK", invite, answer, CSeq=f"{invite.cseq.sequence} ACK")))
    return invite, answer


async def be_called(world: World, wire: sip_wire.SipWire) -> Request:
    """With sound both ways; the call stays up."""
    rtp = RtpEnd()
    await world.subscribers.tell("call", phone=FRIEND, to=GATEWAY, play={"hz": HZ_THERE})
    invite = await wire.next_request("INVITE", 20)
    answer = sip_wire.response_to(invite, 200, "OK", wire, rtp.sdp)
    assert isinstance(answer, Response)
    wire.send(bytes(answer))
    await wire.next_request("ACK")
    await rtp.talk(invite.body)
    return invite
