"""What addresses that have shown no password may cost, on the wire."""

from __future__ import annotations

import asyncio
import socket

import structlog
from teletrunk.errors import Refusal
from teletrunk_worker.policy import strangers

from tests import sip_wire

from .port_world import PortWorld, authenticated


def bare(method: str, number: int, host: str, port: int, extra: str = "") -> bytes:
    return (
        f"{method} sip:x SIP/2.0\r\nv:SIP/2.0/UDP {host}:{port};branch=z9hG4bK{number}\r\nf:<sip:a@b>;tag=1\r\n"
        f"t:<sip:a@b>\r\ni:{number}\r\nCSeq:{number} {method}\r\n{extra}\r\n"
    ).encode()


class Flooder:
    """A socket at an address of its own that counts what it sends and what comes back."""

    def __init__(self, world: PortWorld, host: str) -> None:
        self.socket = socket.socket(type=socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind((host, 0))
        self.world, self.sent, self.heard, self.answers, self._number = world, 0, 0, 0, 0

    async def send(self, count: int, method: str = "INVITE", extra: str = "") -> None:
        loop = asyncio.get_running_loop()
        for _ in range(count):
            self._number += 1
            host, port = self.socket.getsockname()
            data = bare(method, self._number, host, port, extra)
            self.sent += len(data)
            await loop.sock_sendto(self.socket, data, self.world.address)
            if self._number % 20 == 0:
                await self.drain()
        await self.drain()

    async def drain(self) -> None:
        for _ in range(3):
            await asyncio.sleep(0.001)
        while True:
            try:
                data = self.socket.recv(65_536)
            except BlockingIOError:
                return
            self.heard += len(data)
            self.answers += 1


async def test_who_is_flooded_in_our_name_gets_at_most_twice_what_the_flooder_spends(world: PortWorld) -> None:
    for host, method in (("127.0.0.41", "INVITE"), ("127.0.0.42", "REGISTER"), ("127.0.0.43", "OPTIONS")):
        flooder = Flooder(world, host)
        await flooder.send(1, method)
        async with asyncio.timeout(5):
            while not flooder.answers:
                await flooder.drain()
        first, flooder.heard, flooder.sent = flooder.heard, 0, 0
        await flooder.send(200, method)
        assert 0 < first <= 1_500
        assert flooder.heard <= 2 * flooder.sent
        flooder.socket.close()


async def test_a_flood_from_one_address_is_not_read_and_others_are_served(world: PortWorld) -> None:
    async with sip_wire.udp(world.address, "127.0.0.44") as phone:
        await world.registered(phone)
        flooder = Flooder(world, "127.0.0.45")
        await flooder.send(int(strangers.MESSAGES_AT_ONCE) + 500)
        assert flooder.answers < strangers.MESSAGES_AT_ONCE + 300
        assert (await authenticated(phone, "REGISTER")).final.code == 200
        flooder.socket.close()


async def test_who_was_answered_is_heard_through_a_flood_in_its_own_name(world: PortWorld) -> None:
    async with sip_wire.udp(world.address, "127.0.0.46") as phone:
        first = phone.request("REGISTER", "", "office")
        challenge = (await phone.ask(first)).final
        flooder = Flooder(world, "127.0.0.46")
        while world.port.admission.strangers.may_speak("127.0.0.46"):
            pass
        assert (await phone.ask(phone.answer_challenge(first, challenge, "office", "x"))).final.code == 200
        flooder.socket.close()


async def test_strangers_leave_no_transactions_behind(world: PortWorld) -> None:
    flooder = Flooder(world, "127.0.0.47")
    await flooder.send(300, extra=f"Subject: {'x' * 100}\r\n")
    assert len(world.port._transactions) == 0 and flooder.answers > 100
    flooder.socket.close()


async def test_the_log_has_a_few_lines_of_one_address(world: PortWorld) -> None:
    world.door.failure = Refusal("session-access-revoked", "its owner has withdrawn it")
    async with sip_wire.udp(world.address, "127.0.0.48") as wire:
        with structlog.testing.capture_logs() as lines:
            for _ in range(40):
                assert (await authenticated(wire, "REGISTER")).final.code == 403
    assert 1 <= len(lines) <= 12


async def test_a_ban_spares_the_trunks_that_are_at_home_behind_the_address(world: PortWorld) -> None:
    async with sip_wire.udp(world.address, "127.0.0.49") as wire:
        await world.registered(wire)
        world.door.failure = Refusal("wrong-password")
        for _ in range(5):
            assert (await wire.register("neighbour", "guess")).final.code == 403
        world.door.failure = None
        assert "banned" in (await wire.register("neighbour", "guess")).final.phrase
        assert (await wire.register("office", "x")).final.code == 200
        world.door.failure = Refusal("wrong-password")
        for _ in range(5):
            assert (await wire.register("office", "guess")).final.code == 403
        world.door.failure = None
        assert "banned" in (await wire.register("office", "x")).final.phrase, "but for the one that is guessed at"


async def test_auth_int_is_refused_readably(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        first = wire.request("REGISTER", "", "office")
        again = wire.answer_challenge(first, (await wire.ask(first)).final, "office", "x")
        again.headers.set("Authorization", again.headers["Authorization"].replace("qop=auth", "qop=auth-int"))
        assert (await wire.ask(again)).status == (
            400,
            "Bad Request: Authorization: qop auth-int is not offered, auth is",
        )
