"""SIP over TLS at the public port: certificates of both sides, and the way of a call."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sipmessage import Message, Request, Response
from teletrunk_worker.sip.transport.tls import Certificates, TlsFiles

from tests import sip_wire
from tests.papers import Papers
from tests.pbx_wire import said

from .port_world import PortWorld, port_world
from .test_pbxs import follow, outbound, until


@pytest.fixture
def papers(tmp_path: Path) -> Papers:
    return Papers.made(tmp_path / "papers")


def trusting(papers: Papers, own: Path | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(papers.authority))
    if own is not None:
        context.load_cert_chain(str(own))
    return context


@contextlib.asynccontextmanager
async def tls_world(
    papers: Papers, *, clients: bool = False, minimum: str = "1.2"
) -> AsyncIterator[tuple[PortWorld, tuple[str, int], Certificates]]:
    own, known = papers.file("worker", "127.0.0.1"), papers.authority
    certificates = Certificates(TlsFiles(own, None, known if clients else None, known, minimum))
    async with port_world(certificates=certificates, tls_address=("127.0.0.1", 0)) as world:
        yield world, ("127.0.0.1", world.port._transports.tls_port), certificates


async def test_a_pbx_registers_by_tls_and_is_rung_there(papers: Papers) -> None:
    async with tls_world(papers) as (world, server, _), sip_wire.tcp(server, trusting(papers)) as wire:
        binding = await world.registered(wire)
        assert binding.flow.transport == "TLS"
        world.host.send(world.host.invite(binding, "c1"))
        invite = await wire.next_request("INVITE")
        assert invite.headers["Via"].startswith(f"SIP/2.0/TLS 127.0.0.1:{server[1]};")
        assert f"<sip:127.0.0.1:{server[1]};transport=tls;lr>" in invite.headers.getlist("Record-Route")
        wire.send(bytes(sip_wire.response_to(invite, 180, "Ringing", wire)))
        ringing = await world.host.next(lambda message: isinstance(message, Response) and message.code == 180)
        assert ringing.call_id == "c1"


async def test_who_must_show_a_certificate_and_has_none_is_not_heard(papers: Papers) -> None:
    async with tls_world(papers, clients=True) as (world, server, _):
        with pytest.raises((ssl.SSLError, OSError, TimeoutError, EOFError)):
            async with sip_wire.tcp(server, trusting(papers)) as wire:
                await wire.ask(wire.request("OPTIONS", "", "x"), 2)
        own = papers.file("pbx", "127.0.0.1")
        async with sip_wire.tcp(server, trusting(papers, own)) as wire:
            assert (await wire.ask(wire.request("OPTIONS", "", "x"))).final.code == 200
        assert world.door.admitted == []


async def test_an_older_version_than_the_least_is_not_heard(papers: Papers) -> None:
    old = trusting(papers)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    async with tls_world(papers) as (_, server, _), sip_wire.tcp(server, old) as wire:
        assert (await wire.ask(wire.request("OPTIONS", "", "x"))).final.code == 200
    async with tls_world(papers, minimum="1.3") as (_, server, _):
        with pytest.raises((ssl.SSLError, OSError)):
            async with sip_wire.tcp(server, old):
                pass


async def test_a_pbx_is_told_whose_certificate_is_wanted_and_shown_ours(papers: Papers) -> None:
    """Many PBXs at one address, and one that takes none who shows it no certificate."""
    asked: list[Request] = []
    names: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(str(papers.file("pbx", "localhost")))
    context.load_verify_locations(str(papers.authority))
    context.verify_mode = ssl.CERT_REQUIRED
    context.sni_callback = lambda connection, name, context: names.append(name)
    async with tls_world(papers) as (world, _, _), registrar_by_tls(context, asked) as port:
        follow(world, outbound(port, "localhost", transport="tls"))
        assert "by TLS" in (await until(world, up=True)).why
    assert names[0] == "localhost" and asked


async def test_a_certificate_that_is_replaced_on_disk_is_the_next_ones(papers: Papers) -> None:
    async with tls_world(papers) as (_, server, certificates):
        before = await asyncio.to_thread(ssl.get_server_certificate, server)
        assert not certificates.reload()
        papers.file("worker", "127.0.0.1")
        assert certificates.reload()
        assert await asyncio.to_thread(ssl.get_server_certificate, server) != before


async def test_a_certificate_of_another_name_is_not_taken_from_a_pbx(papers: Papers) -> None:
    """The registrar's is for another address; whoever says that any will do is not held up."""
    asked: list[Request] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(str(papers.file("pbx", "192.0.2.1")))

    async with tls_world(papers) as (world, _, _), registrar_by_tls(context, asked) as port:
        follow(world, outbound(port, transport="tls"))
        state = await until(world, up=False)
        assert "certificate" in state.why.lower() and not asked
        follow(world, outbound(port, transport="tls", any_certificate=True))
        assert "by TLS" in (await until(world, up=True)).why
        assert asked[0].headers["Contact"].count(";transport=tls") == 1


@contextlib.asynccontextmanager
async def registrar_by_tls(context: ssl.SSLContext, asked: list[Request]) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                message = Message.parse(await reader.readuntil(b"\r\n\r\n"))
                assert isinstance(message, Request)
                asked.append(message)
                writer.write(bytes(said(message, 200, "OK", Expires="120")))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
