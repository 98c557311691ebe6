"""The public SIP port by itself: what it answers to what nobody should send, and what it lets through to a host."""

from __future__ import annotations

import asyncio
import gc
import ipaddress
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import psutil
import pytest
import structlog
from prometheus_client import REGISTRY
from teletrunk.errors import Refusal
from teletrunk_worker.policy.bans import Bans
from teletrunk_worker.sip.message import parse

from tests import sip_wire
from tests.sip_wire import response_to

from .port_world import PortWorld, authenticated, port_world, ready

# What cannot be read is answered, and named.


@pytest.mark.parametrize("value", ["Digest a=", "Digest , opaque=", "Digest =,=,=", 'Digest username="', "Digest"])
async def test_a_digest_that_cannot_be_read_is_challenged(world: PortWorld, value: str) -> None:
    async with sip_wire.udp(world.address) as wire:
        for method in ("REGISTER", "INVITE"):
            assert (await wire.ask(wire.request(method, "", "x", Authorization=value))).final.code == 401


@pytest.mark.parametrize(
    ("method", "name", "value"),
    [
        ("REGISTER", "Expires", "abc"),
        ("REGISTER", "Expires", ""),
        ("REGISTER", "Contact", "junk"),
        ("REGISTER", "Contact", "<sip:a@b"),
        ("INVITE", "Max-Forwards", "abc"),
        ("INVITE", "Max-Forwards", "1.5"),
        ("INVITE", "Session-Expires", "abc"),
        ("INVITE", "Min-SE", "x"),
        ("INVITE", "Record-Route", "junk"),
        ("INVITE", "Contact", "<tel:>, <"),
        ("INVITE", "Content-Length", "9999"),
        ("INVITE", "Content-Length", "abc"),
        ("INVITE", "CSeq", "2147483648 INVITE"),
        ("INVITE", "CSeq", "5 BYE"),
        ("INVITE", "Contact", '"" <sip:@b>'),
        ("INVITE", "Contact", "<sip:a@127.0.0.1:70000>"),
        ("INVITE", "Require", ",,"),
        ("INVITE", "Contact", "*"),
    ],
)
async def test_a_header_that_cannot_be_read_is_named(world: PortWorld, method: str, name: str, value: str) -> None:
    async with sip_wire.udp(world.address) as wire:
        request = await ready(wire, method)
        request.headers.set(name, value)
        answer = (await wire.ask(request)).final
        assert answer.code == 400 and name in answer.phrase


async def test_a_call_without_an_address_to_come_back_to_is_told_so(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        invite = await ready(wire, "INVITE")
        invite.headers.remove("Contact")
        assert (await wire.ask(invite)).status == (400, "Bad Request: Contact is missing")
    assert world.door.admitted == []


async def test_parameters_of_any_name_are_borne(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        contact = f"<sip:a@{wire.local[0]}:{wire.local[1]};self=1>;self;cls=2"
        assert (await authenticated(wire, "REGISTER", Expires="300", Contact=contact)).final.code == 200


async def test_an_error_of_ours_is_answered_counted_and_told_once(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        before = REGISTRY.get_sample_value("teletrunk_sip_errors_total") or 0
        world.door.failure = RuntimeError("no memory")
        with structlog.testing.capture_logs() as lines:
            for method in ("REGISTER", "INVITE", "REGISTER"):
                assert (await authenticated(wire, method)).status == (500, "Server Internal Error")
        assert REGISTRY.get_sample_value("teletrunk_sip_errors_total") == before + 3
        assert len([line for line in lines if line["log_level"] == "error"]) == 1
        world.door.failure = None
        assert (await authenticated(wire, "REGISTER")).final.code == 200


async def test_a_via_goes_back_byte_for_byte(world: PortWorld) -> None:
    for via in (
        "SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK+x*1!;x=%41;Y",
        'SIP / 2.0 / UDP  127.0.0.1:{port} ;branch=z9hG4bK.~\'`|;ext="a;b, c"',
        "SIP/2.0/UDP [2001:db8::1]:{port};received=::1;branch=z9hG4bK-1",
    ):
        async with sip_wire.udp(world.address) as wire:
            sent = via.format(port=wire.local[1])
            answers = asyncio.Queue[bytes]()
            wire.received = answers.put_nowait
            lower = "SIP/2.0/TCP 10.0.0.1;branch=z9hG4bK+2;a=%2B"
            wire.send(
                f"OPTIONS sip:x SIP/2.0\r\nVia: {sent}\r\nv: {lower}\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\n"
                "Call-ID: via\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n".encode()
            )
            raw = await asyncio.wait_for(answers.get(), 5)
            vias = [line for line in raw.decode().split("\r\n") if line.lower().startswith("via:")]
            if "[2001" in sent:  # where it came from is another address than it says
                assert vias[0] == f"Via: SIP/2.0/UDP [2001:db8::1]:{wire.local[1]};branch=z9hG4bK-1;received=127.0.0.1"
            else:
                assert vias[0] == f"Via: {sent}"
            assert vias[1] == f"Via: {lower}"


async def test_malformed_messages_leave_no_memory_behind() -> None:
    """A short form of `make bench-malformed`. All of them are read: their senders are never made to wait."""
    trusted = Bans((ipaddress.ip_network("10.0.0.0/8"),))
    async with port_world(bans=trusted) as world, sip_wire.udp(world.address) as wire:
        unread = count_of("unread")
        good = bytes(wire.request("OPTIONS", "", "x")).decode()
        broken = [
            good.replace("Via: ", "Via: x, "),
            good.replace("From: <", 'From: "x <' + "x" * 2_000),
            good.replace(";tag=", ";tag=1 @ " + "y" * 2_000),
            good.replace("Call-ID: ", "Call-ID: " + "z" * 2_000),
            good.replace("CSeq: ", "CSeq: x "),
            good.replace("OPTIONS sip:", "OPTIONS tel:+" + "1" * 2_000 + "!"),
            good.replace("Max-Forwards: ", "x" * 2_000 + "\r\nMax-Forwards: "),
            good.replace("\r\n\r\n", "\r\nX: " + "y" * 2_000),
        ]

        async def send(count: int) -> int:
            for number in range(count):
                world.port.receive(broken[number % len(broken)].encode(), Silent(f"10.0.0.{number % 100}"))
            gc.collect()
            return int(psutil.Process().memory_info().rss)

        before = await send(2_000)
        after = await send(4_000)
        assert after - before < 4 << 20, f"{(after - before) >> 20} MB more"
        assert count_of("unread") == unread


def count_of(fate: str) -> float:
    return REGISTRY.get_sample_value("teletrunk_stranger_messages_total", {"fate": fate}) or 0.0


class Silent:
    """A flow whose peer reads nothing."""

    transport, closed = "UDP", False

    def __init__(self, host: str) -> None:
        self.token, self.peer = f"u-{host}-9", (host, 9)

    def send(self, data: bytes) -> bool:
        return True

    def ping(self) -> bool:
        return True

    def prove(self, login: str) -> None: ...

    def close(self) -> None: ...


Transport = Callable[..., AbstractAsyncContextManager[sip_wire.SipWire]]
LONG = "1" * 1_100
REQUIRED = (("Require", "nothing-known"), ("Proxy-Require", "x"))


@pytest.mark.parametrize("transport", [sip_wire.udp, sip_wire.tcp], ids=["udp", "tcp"])
@pytest.mark.parametrize(
    ("first", "status", "header"),
    [
        *((f"{method} sip:x", 420, header) for method in ("REGISTER", "OPTIONS", "INVITE") for header in REQUIRED),
        (f"OPTIONS sip:{LONG}@x", 414, None),
        ("INVITE mailto:a@b", 416, None),
        ("OPTIONS nobody:x", 416, None),
        ("JUMP sip:x", 501, None),
        ("REFER sip:x", 405, None),
        ("OPTIONS sip:x", 505, ("SIP/3.0", "")),
        ("BYE sip:x", 481, ("To", "<sip:a@b>;tag=2")),
        ("INVITE sip:x", 481, ("To", "<sip:a@b>;tag=2")),
        ("CANCEL sip:x", 481, None),
        ("OPTIONS sip:x", 513, ("Content-Length", "70000")),
    ],
)
async def test_what_can_be_answered_is_answered(
    world: PortWorld, transport: Transport, first: str, status: int, header: tuple[str, str] | None
) -> None:
    method, name = first.partition(" ")[0], "" if header is None else header[0]
    async with transport(world.address) as wire:
        answers = asyncio.Queue[bytes]()
        wire.received = answers.put_nowait
        host, port = wire.local[:2]
        lines = {
            "Via": f"SIP/2.0/{wire.transport} {host}:{port};rport;branch=z9hG4bK{status}", "From": "<sip:a@b>;tag=1",
            "To": "<sip:a@b>", "Call-ID": "1", "CSeq": f"1 {method}", "Content-Length": "0",
        }  # fmt: skip
        if header is not None and not name.startswith("SIP/"):
            lines[name] = header[1]
        version = name if name.startswith("SIP/") else "SIP/2.0"
        head = f"{first} {version}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        wire.send(head.encode() + b"\r\n")
        answer = await asyncio.wait_for(answers.get(), 5)
    assert answer.startswith(b"SIP/2.0 %d " % status)
    assert (status != 420) or f"\r\nUnsupported: {lines[name]}\r\n".encode() in answer


def options(*more: str, first: str = "OPTIONS sip:x SIP/2.0", end: str = "\r\n") -> str:
    """With these lines behind the usual ones. Where it is sent from is to be filled in."""
    lines = [
        first, "Via: SIP/2.0/{transport} {at};rport;branch=z9hG4bKflaw", "From: <sip:a@b>;tag=1", "To: <sip:a@b>",
        "Call-ID: 1", "CSeq: 1 OPTIONS", "Content-Length: 0", *more,
    ]  # fmt: skip
    return "".join(f"{line}\r\n" for line in lines) + end


async def first_answer(wire: sip_wire.SipWire, text: str) -> list[str]:
    """Its lines."""
    answers = asyncio.Queue[bytes]()
    wire.received = answers.put_nowait
    wire.send(text.format(transport=wire.transport, at=f"127.0.0.1:{wire.local[1]}").encode())
    return (await asyncio.wait_for(answers.get(), 5)).decode().split("\r\n")


FLAWED = {
    "a line without a colon": (options("no header"), "a header line that is none"),
    "a line end that is half of one": (options("Subject: x\nFrom: <sip:c@d>"), "line ends inside a header"),
    "the other half": (options("Subject: x\r y"), "line ends inside a header"),
    "more lines than are read": (options(*(f"X-{number}: y" for number in range(300))), "too many header lines"),
}


@pytest.mark.parametrize("transport", [sip_wire.udp, sip_wire.tcp], ids=["udp", "tcp"])
@pytest.mark.parametrize(("text", "why"), FLAWED.values(), ids=FLAWED)
async def test_what_cannot_be_cut_into_headers_is_told_so(
    world: PortWorld, transport: Transport, text: str, why: str
) -> None:
    """Whatever is in it, who has asked can be told: Via and CSeq are there."""
    async with transport(world.address) as wire:
        assert (await first_answer(wire, text))[0] == f"SIP/2.0 400 Bad Request: {why}"


@pytest.mark.parametrize("end", ["", "Subject: x"])
async def test_a_datagram_without_the_end_of_its_headers_is_told_so(world: PortWorld, end: str) -> None:
    async with sip_wire.udp(world.address) as wire:
        status, *lines = await first_answer(wire, options(end=end))
        assert status == "SIP/2.0 400 Bad Request: the end of the headers is missing" and "Call-ID: 1" in lines


async def test_the_versions_name_may_be_in_any_case(world: PortWorld) -> None:
    """RFC 3261 7.1; and 7.5 of line ends before a message, which some send over UDP as well."""
    for text in (options(first="OPTIONS sip:x sip/2.0"), "\r\n\r\n" + options(first="OPTIONS sip:x Sip/2.0")):
        async with sip_wire.udp(world.address) as wire:
            assert (await first_answer(wire, text))[0] == "SIP/2.0 200 OK"
    async with sip_wire.udp(world.address) as wire:
        answer = response_to(wire.request("INVITE", "1", "office"), 180, "Ringing", wire)
        assert parse(bytes(answer).replace(b"SIP/2.0", b"sip/2.0", 1)).start_line == "SIP/2.0 180 Ringing"


@pytest.mark.parametrize("method", ["BYE", "INFO", "UPDATE", "PRACK"])
async def test_what_is_of_a_dialog_finds_none_without_a_tag(world: PortWorld, method: str) -> None:
    """It was 405, with an Allow that names the method."""
    async with sip_wire.udp(world.address) as wire:
        assert (await wire.ask(wire.request(method, "100", "office"))).final.code == 481


# Transactions.


async def test_a_cancel_that_comes_late_or_again_is_answered_200(world: PortWorld) -> None:
    """RFC 3261 9.2: the INVITE's transaction is there, and its answer stays what it was."""
    async with sip_wire.udp(world.address) as wire:
        world.door.failure = Refusal("user-not-found")
        refused = await ready(wire, "INVITE")
        assert (await wire.ask(refused)).final.code == 404
        world.door.failure = None
        world.door.open.clear()
        cancelled = await ready(wire, "INVITE")
        asking = asyncio.ensure_future(wire.ask(cancelled))
        await asyncio.sleep(0)
        wire.cancel(cancelled)
        assert (await asking).final.code == 487
        answers = asyncio.Queue[bytes]()
        wire.received = answers.put_nowait
        for invite in (refused, cancelled, cancelled):
            wire.cancel(invite)
            assert (await asyncio.wait_for(answers.get(), 5)).startswith(b"SIP/2.0 200 ")
        wire.cancel(wire.request("INVITE", "100", "office"))  # which was never sent
        assert (await asyncio.wait_for(answers.get(), 5)).startswith(b"SIP/2.0 481 ")


async def test_the_time_of_a_request_comes_back_in_its_100(world: PortWorld) -> None:
    """RFC 3261 8.2.6.1."""
    async with sip_wire.udp(world.address) as wire:
        invite = await ready(wire, "INVITE", Timestamp="54.21")
        asking = asyncio.ensure_future(wire.ask(invite))
        await world.host.next()
        asking.cancel()
        trying = await wire.repeat(invite)
        assert trying.code == 100 and trying.headers.getlist("Timestamp") == ["54.21"]


async def test_a_cancel_directly_behind_its_invite_gets_its_487(world: PortWorld) -> None:
    world.door.open.clear()
    async with sip_wire.udp(world.address) as wire:
        for wait in (False, True, False):
            invite = await ready(wire, "INVITE")
            asking = asyncio.ensure_future(wire.ask(invite, patience=5))
            await asyncio.sleep(0)  # the INVITE is on the wire
            if wait:
                async with asyncio.timeout(5):
                    while not len(world.port._invitations):
                        await asyncio.sleep(0.001)
            wire.cancel(invite)
            assert (await asking).status == (487, "Request Terminated")
    assert world.door.admitted == [] and len(world.port._responder._tasks) == 0


async def test_a_request_that_may_go_no_further_gets_one_final_answer(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        invite = await ready(wire, "INVITE")
        invite.headers.set("Max-Forwards", "0")
        assert (await wire.ask(invite)).status == (483, "Too Many Hops")
    assert world.door.admitted == [] and len(world.port.dialogs) == 0


# Digests and numbers.


async def test_a_called_number_with_control_characters_is_nobody(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        for user in ("1%0d%0a2", "%00", "1%e2%80%ae2", "%7f"):
            refused = (await wire.ask(await ready(wire, "INVITE", user))).final
            assert refused.code == 404 and world.door.admitted == []


async def test_a_captured_invite_is_worth_no_other_number(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        invite = await ready(wire, "INVITE", "100")
        invite.uri = sip_wire.uri_of(bytes(invite).replace(b"INVITE sip:100@", b"INVITE sip:900100@", 1))
        refused = (await wire.ask(invite)).final
        assert refused.code == 400 and "digest" in refused.phrase
        assert world.door.admitted == []
        assert (await authenticated(wire, "REGISTER")).final.code == 200


async def test_nor_is_one_to_a_local_number_worth_another_country_s(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        asked = wire.request("INVITE", "100", "office")
        asked.uri = sip_wire.uri_of(b"INVITE tel:5550100200;phone-context=+1 SIP/2.0\r\n\r\n")
        challenge = (await wire.ask(asked)).final
        invite = wire.answer_challenge(asked, challenge, "office", "x")
        invite.uri = sip_wire.uri_of(b"INVITE tel:5550100200;phone-context=+44 SIP/2.0\r\n\r\n")
        refused = (await wire.ask(invite)).final
        assert (refused.code, "digest" in refused.phrase) == (400, True)
        assert world.door.admitted == []


@pytest.mark.parametrize("agent", ["kamailio (5.6.3 (x86_64/linux))", "Kamailio", "baresip v1.0.0 (x86_64/Linux)"])
async def test_clients_that_stop_at_sha256_are_offered_md5_alone(world: PortWorld, agent: str) -> None:
    async with sip_wire.udp(world.address) as wire:
        offered = (await wire.ask(wire.request("REGISTER", "", "x", User_Agent=agent))).header("WWW-Authenticate")
        assert len(offered) == 1 and "algorithm=MD5" in offered[0]
        offered = (await wire.ask(wire.request("REGISTER", "", "x", User_Agent="other"))).header("WWW-Authenticate")
        assert ["SHA-256" in challenge for challenge in offered] == [True, False]


async def test_who_has_answered_with_md5_is_offered_it_alone(world: PortWorld) -> None:
    """A PBX passes on its phones' requests, User-Agent and all, and answers for them as it has answered for itself."""
    async with sip_wire.udp(world.address, "127.0.0.23") as wire:
        first = wire.request("REGISTER", "", "office", User_Agent="kamailio (5.6.3)")
        await wire.ask(wire.answer_challenge(first, (await wire.ask(first)).final, "office", "x"))
        invite = await wire.ask(wire.request("INVITE", "1", "office", User_Agent="a phone"))
        [offered] = invite.header("WWW-Authenticate")
        assert "algorithm=MD5" in offered


# What strangers leave in the log, and what their guesses cost them.


async def test_no_log_line_of_a_stranger_is_long(world: PortWorld) -> None:
    world.door.failure = Refusal("login-not-found")
    async with sip_wire.udp(world.address, "127.0.0.21") as wire:
        with structlog.testing.capture_logs() as lines:
            for login in ("x" * 60, "\u202e\\\x1b[31m" * 8, '"}' * 20):
                first = wire.request("REGISTER", "", "x")
                again = wire.answer_challenge(first, (await wire.ask(first)).final, login.replace('"', ""), "x")
                await wire.ask(again)
            invite = await ready(wire, "INVITE", Call_ID="y" * 500)
            await wire.ask(invite)
    assert lines
    for line in lines:
        stamped = {**line, "service": "worker", "timestamp": "2026-11-26T06:27:23.112493Z"}
        stamped["level"] = stamped.pop("log_level")
        assert len(structlog.processors.JSONRenderer()(None, "", stamped)) <= 200


async def test_what_is_refused_as_resting_bans_nobody(world: PortWorld) -> None:
    """Nobody has looked at the password: it may be the right one, of a phone that is not at home yet."""
    for _ in range(20):
        world.port.admission.lockout.failed("office")
    async with sip_wire.udp(world.address, "127.0.0.22") as phone:
        for _ in range(12):
            refused = (await phone.register("office", "x")).final
            assert refused.code == 403 and "too many wrong passwords" in refused.phrase
        told = world.door.refused_registrations[-1]
        assert told == ("office", "127.0.0.22", refused.phrase), "whose login it is learns of it"
        assert not world.port.admission.bans.banned()
        assert not world.port.admission.nonces._answered, "what costs nobody a guess takes no room from others"
        assert (await phone.register("another", "x")).final.code == 200
