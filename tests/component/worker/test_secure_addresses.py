"""PBXs that write `sips:` (RFC 5630), as several do for all that goes by TLS: they register, call and are called."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sipmessage import Request, Response
from teletrunk_worker.sip.registrar import Binding
from teletrunk_worker.sip.transport.tls import Certificates, TlsFiles

from tests import sip_wire
from tests.papers import Papers
from tests.sip_wire import SipWire, response_to

from .edge_and_host import CALL_IN, CALL_OUT, EdgeAndHost, edge_and_host, rewritten
from .host_dialogs import SDP
from .port_world import ready
from .test_sip_tls import trusting


@contextlib.asynccontextmanager
async def secure_world(directory: Path) -> AsyncIterator[tuple[EdgeAndHost, SipWire]]:
    papers = Papers.made(directory / "papers")
    certificates = Certificates(TlsFiles(papers.file("worker", "127.0.0.1"), None, None, papers.authority, "1.2"))
    async with contextlib.AsyncExitStack() as opened:
        world = await opened.enter_async_context(edge_and_host(certificates=certificates, tls_address=("127.0.0.1", 0)))
        server = "127.0.0.1", world.port.tls_port
        yield world, await opened.enter_async_context(sip_wire.tcp(server, trusting(papers)))


def contact(wire: SipWire, scheme: str) -> str:
    return f"{scheme}:pbx@127.0.0.1:{wire.local[1]}"


async def bound(world: EdgeAndHost, wire: SipWire) -> Binding:
    answer = await wire.register("office", "x", Contact=f"<{contact(wire, 'sips')}>")
    assert answer.final.code == 200 and answer.header("Contact")[0].startswith(f"<{contact(wire, 'sips')}>")
    return world.port.registrar.bindings("trunk-office")[0]


async def calls(world: EdgeAndHost, wire: SipWire) -> tuple[Request, Response]:
    invite = await ready(wire, "INVITE", Contact=f"<{contact(wire, 'sips')}>")
    return invite, await world.called(wire, invite)


async def test_a_pbx_that_calls_is_hung_up_at_its_address(tmp_path: Path) -> None:
    async with secure_world(tmp_path) as (world, wire):
        _, answer = await calls(world, wire)
        assert answer.headers.getlist("Contact") == [f"<sips:127.0.0.1:{world.port.tls_port}>"]
        world.hang_up(CALL_IN)
        assert str((await wire.next_request("BYE")).uri) == contact(wire, "sips")


async def test_a_number_may_be_dialled_so(tmp_path: Path) -> None:
    async with secure_world(tmp_path) as (world, wire):
        first = wire.request("INVITE", "100", "office")
        first = rewritten(first, ("INVITE sip:", "INVITE sips:"), ("To: <sip:", "To: <sips:"))
        invite = wire.answer_challenge(first, (await wire.ask(first)).final, "office", "x")
        answer = await world.called(wire, invite)
        assert answer.code == 200 and answer.headers["Contact"].startswith("<sips:")
        bye = rewritten(wire.in_dialog("BYE", invite, answer), ("BYE sip:", "BYE sips:"))
        assert (await wire.ask(bye)).final.code == 200
        await world.event("ended")


async def test_a_pbx_that_is_called_hears_all_at_its_address(tmp_path: Path) -> None:
    async with secure_world(tmp_path) as (world, wire):
        world.dial(await bound(world, wire))
        invite = await wire.next_request("INVITE")
        assert str(invite.uri) == contact(wire, "sips")
        assert invite.headers.getlist("Contact") == [f"<sips:127.0.0.1:{world.port.tls_port}>"]
        answer = response_to(invite, 200, "OK", wire, SDP)
        answer.headers.set("Contact", f"<{contact(wire, 'sips')}>")
        wire.send(bytes(answer))
        assert str((await wire.next_request("ACK")).uri) == contact(wire, "sips")
        await world.event("answered")
        world.hang_up(CALL_OUT)
        assert str((await wire.next_request("BYE")).uri) == contact(wire, "sips")


async def test_who_takes_another_address_in_a_call_is_reached_there(tmp_path: Path) -> None:
    async with secure_world(tmp_path) as (world, wire):
        invite, answer = await calls(world, wire)
        again = wire.in_dialog("INVITE", invite, answer, Contact=f"<{contact(wire, 'sip')}>")
        assert (await wire.ask(again)).final.code == 200
        wire.send(bytes(wire.in_dialog("ACK", invite, answer, CSeq=f"{again.cseq.sequence} ACK")))
        world.hang_up(CALL_IN)
        assert str((await wire.next_request("BYE")).uri) == contact(wire, "sip")


@pytest.mark.parametrize("transport", [sip_wire.udp, sip_wire.tcp], ids=["udp", "tcp"])
async def test_nobody_is_bound_so_by_a_way_in_clear(transport) -> None:  # type: ignore[no-untyped-def]
    async with edge_and_host() as world, transport(world.address) as wire:
        assert (await wire.register("office", "x", Contact="<sips:pbx@127.0.0.1>")).final.code == 400
