"""The edge as a registrar that stands on the internet: RFC 3261 section 10, replays, limits, and nonsense."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import secrets
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from sipmessage import Message, Request

from tests import sip_wire

from .conftest import GATEWAY, Scene

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]


class Pbx:
    """A trunk of its own, used from any number of sockets."""

    def __init__(self, scene: Scene, login: str, password: str) -> None:
        self.edge = scene.edge
        self.login = login
        self.password = password

    async def register(self, wire: sip_wire.SipWire, expires: int = 300, **headers: str) -> sip_wire.Exchange:
        return await wire.register(self.login, self.password, expires, **headers)

    async def credentials(self, wire: sip_wire.SipWire) -> Request:
        """A REGISTER that answers its challenge, not sent yet."""
        first = wire.request("REGISTER", "", self.login, Expires="300")
        return wire.answer_challenge(first, (await wire.ask(first)).final, self.login, self.password)


@pytest_asyncio.fixture(loop_scope="module")
async def pbx(scene: Scene) -> AsyncIterator[Pbx]:
    added = await scene.world.add_trunk(GATEWAY)
    yield Pbx(scene, added.trunk.login, added.password)
    await scene.world.remove_trunk(added.trunk.login)


def afresh(request: Request, cseq: int) -> Request:
    """The same credentials in a new transaction."""
    again = Message.parse(bytes(request))
    assert isinstance(again, Request)
    again.headers.set("Via", again.headers["Via"].rpartition("branch=")[0] + f"branch=z9hG4bK{secrets.token_hex(8)}")
    again.headers.set("CSeq", f"{cseq} REGISTER")
    return again


async def test_several_bindings_one_taken_back_and_then_all(pbx: Pbx) -> None:
    async with sip_wire.udp(pbx.edge) as one, sip_wire.udp(pbx.edge) as two:
        assert len((await pbx.register(one)).header("Contact")) == 1
        assert len((await pbx.register(two)).header("Contact")) == 2
        assert len((await pbx.register(two)).header("Contact")) == 2, "the same contact again is no other binding"
        left = (await pbx.register(one, expires=0)).header("Contact")
        assert len(left) == 1 and str(two.local[1]) in left[0]
        await pbx.register(one)
        refused = await pbx.register(one, Contact="*")
        assert refused.final.code == 400 and "Expires: 0" in refused.final.phrase
        gone = await pbx.register(one, expires=0, Contact="*")
        assert gone.status == (200, "OK") and gone.header("Contact") == []


async def test_how_long_a_binding_may_last(pbx: Pbx) -> None:
    async with sip_wire.udp(pbx.edge) as wire:
        brief = await pbx.register(wire, expires=10)
        assert brief.status == (423, "Interval Too Brief") and brief.header("Min-Expires") == ["60"]
        assert (await pbx.register(wire, expires=60)).header("Contact")[0].endswith("expires=60")
        assert (await pbx.register(wire, expires=1_000_000)).header("Contact")[0].endswith("expires=3600")


async def test_captured_credentials_are_worth_nothing(pbx: Pbx) -> None:
    async with sip_wire.udp(pbx.edge) as wire, sip_wire.udp(pbx.edge, "127.0.0.55") as thief:
        request = await pbx.credentials(wire)
        replay = afresh(request, 9001)
        assert (await wire.ask(request)).status == (200, "OK")
        answer = await wire.ask(replay)
        assert answer.final.code == 401 and "stale=true" in answer.header("WWW-Authenticate")[0]
        stolen = await thief.ask(afresh(await pbx.credentials(wire), 9002))
        assert stolen.final.code == 401 and "stale" not in stolen.header("WWW-Authenticate")[0]


async def test_what_a_stranger_can_grow_is_limited(scene: Scene) -> None:
    async with contextlib.AsyncExitStack() as connections:
        oldest, first = await asyncio.open_connection(*scene.edge, local_addr=("127.0.0.44", 0))
        connections.callback(first.close)
        for _ in range(16):
            reader, writer = await asyncio.open_connection(*scene.edge, local_addr=("127.0.0.44", 0))
            connections.callback(writer.close)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(oldest.read(1), 5) == b"", "one more of an address takes the oldest's place"
        async with sip_wire.tcp(scene.edge) as neighbour:
            assert (await neighbour.ask(neighbour.request("OPTIONS", "", "x"))).status == (200, "OK")
        writer.write(b"REGISTER sip:x SIP/2.0\r\n" + b"X: " + b"x" * 70_000)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(1), 5) == b"", "a head without end is not read on"
    async with sip_wire.udp(scene.edge) as wire:
        long = bytes(wire.request("OPTIONS", "", "x")).replace(b"\r\n\r\n", b"\r\nX: y" * 300 + b"\r\n\r\n")
        wire.send(long)
        assert (await wire.ask(wire.request("OPTIONS", "", "x"))).status == (200, "OK")
        assert all(queue.empty() for queue in wire._answers.values()), "too many headers: no answer"


async def test_half_a_message_does_not_hold_a_connection(scene: Scene) -> None:
    reader, writer = await asyncio.open_connection(*scene.edge)
    writer.write(b"OPTIONS sip:x SIP/2.0\r\nVia: ")
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(1), 15) == b""
    writer.close()


async def test_nonsense_stops_nothing(scene: Scene) -> None:
    dice = random.Random(20261124)
    async with sip_wire.udp(scene.edge) as wire:
        for method in ("REGISTER", "INVITE", "OPTIONS", "ACK", "BYE", "CANCEL", "SUBSCRIBE") * 100:
            message = bytearray(bytes(wire.request(method, "x", "x")))
            for _ in range(dice.randrange(1, 12)):
                place = dice.randrange(len(message))
                match dice.randrange(3):
                    case 0:
                        message[place] = dice.randrange(256)
                    case 1:
                        del message[place : place + dice.randrange(1, 40)]
                    case _:
                        message[place:place] = dice.randbytes(dice.randrange(1, 20))
                if len(message) < 2:
                    break
            wire.send(bytes(message))
            await asyncio.sleep(0.001)  # our own socket has answers to take
        assert (await wire.ask(wire.request("OPTIONS", "", "x"))).status == (200, "OK")
    worker = scene.world.stack.children["worker"]
    assert worker.process is not None and worker.process.returncode is None
    assert "Traceback" not in worker.log.read_text(errors="replace")


async def test_a_pbx_whose_password_was_changed_is_not_rung_any_more(scene: Scene, pbx: Pbx) -> None:
    """Within a second, and at once when it comes again with the old one; who has the new one is."""
    async with sip_wire.udp(pbx.edge, "127.0.11.1") as old, sip_wire.udp(pbx.edge, "127.0.11.2") as new:
        assert len((await pbx.register(old)).header("Contact")) == 1
        said = json.loads(await scene.world.command("trunk", "reset-password", pbx.login, "--json"))
        assert len((await new.register(pbx.login, said["password"])).header("Contact")) in (1, 2)
        assert (await pbx.register(old)).final.code == 403
        assert len((await new.register(pbx.login, said["password"])).header("Contact")) == 1


async def test_people_see_where_a_trunk_is_registered(scene: Scene, pbx: Pbx) -> None:
    async with sip_wire.udp(pbx.edge, "127.0.12.1") as one, sip_wire.tcp(pbx.edge) as two:
        assert (await pbx.register(one, expires=600, **{"User-Agent": "Asterisk PBX 22.1"})).status == (200, "OK")
        assert (await pbx.register(two, 300, **{"User-Agent": "\x1b[2J" + "x" * 3_000})).status == (200, "OK")
        trunk = json.loads(await scene.world.command("trunk", "show", pbx.login, "--json"))
        newest, oldest = trunk["bindings"]
        assert oldest["source_address"] == f"127.0.12.1:{one.local[1]}"
        assert str(one.local[1]) in oldest["contact"]
        assert (oldest["transport"], oldest["user_agent"]) == ("udp", "Asterisk PBX 22.1")
        assert 500 < oldest["expires_at"] - time.time() <= 601
        assert (newest["transport"], newest["user_agent"]) == ("tcp", "?[2J" + "x" * 60), "cut and cleaned"
        assert newest["worker_id"] == oldest["worker_id"] == trunk["registered_at"][0]
        told = await scene.world.command("trunk", "show", pbx.login)
        assert f"Asterisk PBX 22.1, from 127.0.12.1:{one.local[1]} by udp, until " in told
        await pbx.register(one, expires=0, Contact="*")
        assert "registered: nowhere" in await scene.world.command("trunk", "show", pbx.login)
