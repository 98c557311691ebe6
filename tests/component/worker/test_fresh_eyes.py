"""What a reviewer found at the port, kept as tests: each input stopped, filled, told or broke something once."""

from __future__ import annotations

import asyncio
import re
import time

import pytest
from sipmessage import Request, Response
from teletrunk.errors import Refusal
from teletrunk.v1 import manager_pb2 as pb
from teletrunk_worker.policy.bans import Bans
from teletrunk_worker.policy.strangers import KNOWN_MESSAGES_A_SECOND
from teletrunk_worker.server.port import SipPort
from teletrunk_worker.sip.transport import tcp

from tests import sip_wire
from tests.sip_wire import response_to

from .port_world import PortWorld, authenticated, ready
from .test_in_dialog import SDP, called, is_ok


async def test_who_shows_no_password_has_no_transaction_and_hears_one_answer(world: PortWorld) -> None:
    async with sip_wire.udp(world.address, "127.0.0.81") as wire:
        heard: list[bytes] = []
        invite = await ready(wire, "INVITE")
        wire.received = heard.append
        invite.headers.set("Content-Type", "text/plain")
        wire.send(bytes(invite))
        await asyncio.sleep(1.2)  # timer G would have said it again by now
        assert len(world.port._transactions) == 0 and len(heard) == 1 and heard[0].startswith(b"SIP/2.0 415")


async def test_no_list_of_codecs_is_told_to_who_shows_no_password(world: PortWorld) -> None:
    """Nor whether a login exists: what is offered is looked at when the Manager knows who asks."""
    world.door.failure = Refusal("wrong-password")
    async with sip_wire.udp(world.address, "127.0.0.82") as wire:
        invite = await ready(wire, "INVITE")
        invite.body = invite.body.replace(b"RTP/AVP 8 101", b"RTP/AVP 18 101")
        invite.headers.set("Content-Length", str(len(invite.body)))
        assert (await wire.ask(invite)).status == (403, "Wrong password")


async def test_answers_that_are_worth_nothing_are_not_remembered(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        for _ in range(5):
            first = wire.request("REGISTER", "", "office")
            again = wire.answer_challenge(first, (await wire.ask(first)).final, "office", "x")
            again.headers.set("Authorization", again.headers["Authorization"].replace("qop=auth", "qop=auth-int"))
            assert (await wire.ask(again)).final.code == 400
    assert len(world.port.admission.nonces._answered) == 0


async def test_a_trunk_that_asks_without_end_leaves_the_manager_to_others(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        await world.registered(wire, "other")
        world.door.open.clear()
        asking = [asyncio.ensure_future(authenticated(wire, "REGISTER")) for _ in range(150)]
        async with asyncio.timeout(10):
            while world.port.admission._asking["office"] < 100:
                await asyncio.sleep(0.01)
        late = asyncio.ensure_future(wire.register("other", "x"))
        await asyncio.sleep(0.2)
        world.door.open.set()
        assert (await late).final.code == 200
        answers = [(await each).final.code for each in asking]
        assert answers.count(503) >= 40 and not world.port.admission._asking


async def test_a_second_invite_after_422_makes_the_dialog(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        binding = await world.registered(wire)
        world.host.send(world.host.invite(binding, "c1"))
        first = await wire.next_request("INVITE")
        wire.send(bytes(response_to(first, 422, "Session Interval Too Small", wire)))
        await world.host.next(lambda message: isinstance(message, Response) and message.code == 422)
        again = world.host.invite(binding, "c1", number=2)
        world.host.send(again)
        second = await wire.next_request("INVITE")
        wire.send(bytes(response_to(second, 200, "OK", wire, SDP)))
        await world.host.next(is_ok)
        wire.send(bytes(response_to(first, 422, "Session Interval Too Small", wire)))  # said again: it ends nothing
        update = wire.request(
            "UPDATE", "", "pbx", From=f"{second.headers['To']};tag=pbx", To=second.headers["From"], Call_ID="c1"
        )
        wire.send(bytes(update))
        heard = await world.host.next(lambda message: isinstance(message, Request) and message.method == "UPDATE")
        assert isinstance(heard, Request) and len(world.port.dialogs) == 1


async def test_a_connection_on_which_a_call_goes_on_is_no_strangers(
    world: PortWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "UNPROVEN_S", 0.5)
    async with sip_wire.tcp(world.address) as first:
        begun, answer = await called(world, first)
    async with sip_wire.tcp(world.address) as second:
        assert (await second.ask(second.in_dialog("OPTIONS", begun, answer))).final.code == 200
        await asyncio.sleep(0.8)
        assert (await second.ask(second.in_dialog("OPTIONS", begun, answer))).final.code == 200


async def test_a_cancel_follows_a_pbx_that_has_reconnected(world: PortWorld) -> None:
    async with sip_wire.tcp(world.address) as first:
        binding = await world.registered(first)
        invite = world.host.invite(binding, "c1")
        world.host.send(invite)
        ringing = await first.next_request("INVITE")
        first.send(bytes(response_to(ringing, 180, "Ringing", first)))
        await world.host.next()
    async with sip_wire.tcp(world.address) as second:
        await world.registered(second)
        world.host.send(world.host.follow_up("CANCEL", invite))
        assert (await second.next_request("CANCEL")).call_id == "c1"


async def test_a_re_invite_that_leaves_the_offer_to_us_gets_the_trunks_codecs(world: PortWorld) -> None:
    world.port.trunks.put([pb.TrunkSettings(trunk_id="trunk-office", codecs=["PCMA"])])
    async with sip_wire.udp(world.address) as wire:
        await world.registered(wire)
        begun, answer = await called(world, wire)
        empty = wire.in_dialog("INVITE", begun, answer)
        empty.body = b""
        empty.headers.set("Content-Length", "0")
        asking = asyncio.ensure_future(wire.ask(empty))
        heard = await world.host.next(lambda message: isinstance(message, Request) and message.method == "INVITE")
        offer = SDP.replace(b"RTP/AVP 8", b"RTP/AVP 8 0 9")
        world.host.send(response_to(heard, 200, "OK", wire, offer))  # type: ignore[arg-type]
        assert b"RTP/AVP 8\r\n" in (await asking).final.body


async def test_a_request_that_comes_again_while_the_manager_thinks_is_answered_once(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire, sip_wire.udp(world.address, "127.0.0.83") as elsewhere:
        begun, answer = await called(world, wire)
        bye = elsewhere.in_dialog("BYE", begun, answer)
        ready_bye = elsewhere.answer_challenge(bye, (await elsewhere.ask(bye)).final, "office", "x")
        world.door.open.clear()
        asking = asyncio.ensure_future(elsewhere.ask(ready_bye))
        await asyncio.sleep(0.1)
        elsewhere.send(bytes(ready_bye))
        await asyncio.sleep(0.1)
        world.door.open.set()
        at_host = await world.host.next(lambda message: isinstance(message, Request) and message.method == "BYE")
        world.host.send(response_to(at_host, 200, "OK", elsewhere))  # type: ignore[arg-type]
        assert [response.code for response in (await asking).answers] == [200]


async def test_a_digest_that_was_not_offered_is_no_answer() -> None:
    from .port_world import Door

    port = SipPort(Door(), "127.0.0.1", 0, ("127.0.0.1",), ("SHA-256",), Bans())
    await port.start()
    async with sip_wire.udp(("127.0.0.1", port.port)) as wire:
        first = wire.request("REGISTER", "", "office")
        challenge = (await wire.ask(first)).final
        [offered] = challenge.headers.getlist("WWW-Authenticate")
        challenge.headers.set("WWW-Authenticate", offered.replace("SHA-256", "MD5"))
        assert (await wire.ask(wire.answer_challenge(first, challenge, "office", "x"))).final.code == 401
        assert (await wire.register("office", "x")).final.code == 200
    await port.close()


@pytest.mark.parametrize(
    ("algorithm", "status"),
    [
        ("md5", 200),
        ('"MD5"', 200),
        ("", 200),
        ("sha-256", 200),
        ("MD5-sess", 400),
        ("SHA-256-sess", 400),
        ("x" * 99, 400),
    ],
)
async def test_a_digest_that_nobody_offers_is_refused_by_its_name(
    world: PortWorld, algorithm: str, status: int
) -> None:
    """A challenge each time would only tell that the password is wrong."""
    async with sip_wire.udp(world.address) as wire:
        first = wire.request("REGISTER", "", "office", Expires="60")
        again = wire.answer_challenge(first, (await wire.ask(first)).final, "office", "x")
        given = again.headers["Authorization"]
        again.headers.set("Authorization", re.sub("algorithm=[^,]+", f"algorithm={algorithm}", given))
        answer = (await wire.ask(again)).final
        assert answer.code == status
        assert status == 200 or f"algorithm {algorithm[:16]} is not offered" in answer.phrase


async def test_a_via_with_a_port_that_is_none_is_refused(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        request = bytes(wire.request("OPTIONS", "", "x")).replace(b";rport", b"").decode()
        here = f"{wire.local[0]}:{wire.local[1]}"
        wire.send(request.replace(f"UDP {here}", f"UDP {wire.local[0]}:70000", 1).encode())
        assert (await wire.ask(wire.request("OPTIONS", "", "x"))).final.code == 200


async def test_a_known_address_draws_no_more_than_it_may_in_anothers_name(world: PortWorld) -> None:
    async with sip_wire.udp(world.address, "127.0.0.84") as wire:
        await world.registered(wire)
        strangers = world.port.admission.strangers
        long_ones = sum(strangers.may_hear("127.0.0.84", 100, 1_000) for _ in range(2_000))
        assert long_ones <= 600
        began = time.monotonic()
        read = sum(strangers.may_speak("127.0.0.84") for _ in range(20_000))
        assert read <= KNOWN_MESSAGES_A_SECOND * (1 + time.monotonic() - began) + 1
