"""Asterisk as a PBX that does not register: the gateway registers at it, or each knows the other by its address."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from teletrunk.v1 import trunk_pb2
from teletrunk_sandbox import ports
from teletrunk_sandbox.actors import Actor
from teletrunk_sandbox.world import World

from tests.papers import Papers

from . import asterisk
from .conftest import FRIEND, GATEWAY, Site, needs
from .peer import Brief, Peer, TrunkPeer

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

PASSWORD = "correct horse"
_PHONE = "127.0.0.5"  # Asterisk tells the gateway and its phone apart by their addresses


class TlsSite(Site):
    """A Worker that speaks TLS, and trusts the authority of the PBX."""

    def __init__(self, world: World, papers: Papers, tls_port: int) -> None:
        super().__init__(world)
        self.papers = papers
        self.tls_port = tls_port


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TlsSite]:
    directory: Path = tmp_path_factory.mktemp("kinds")
    papers, tls_port = Papers.made(directory / "papers"), ports.hold()
    settings = {
        "TELETRUNK_SIP_TLS_ADDRESS": f"127.0.0.1:{tls_port}",
        "TELETRUNK_SIP_TLS_CERTIFICATE": str(papers.file("worker", "127.0.0.1")),
        "TELETRUNK_SIP_TLS_SERVERS": str(papers.authority),
    }
    async with World(directory, **settings) as world:
        account = await world.add_account(GATEWAY, "gateway")
        await world.active(account.account_id)
        await world.subscribers.tell("user", phone=FRIEND, first_name="Friend", username="friend")
        yield TlsSite(world, papers, tls_port)


class Pbx(TrunkPeer):
    """A phone behind it."""

    def __init__(self, site: Site, phone: Actor, process: asterisk.Asterisk, login: str, codec: str) -> None:
        super().__init__(site, phone, login, to=FRIEND)
        self.process = process
        self.codec = codec  # the only one of the trunk


FORMS = {
    trunk_pb2.TRUNK_KIND_UNSPECIFIED: "registers",
    trunk_pb2.TRUNK_KIND_OUTBOUND: "outbound",
    trunk_pb2.TRUNK_KIND_PEER: "peer",
}


@contextlib.asynccontextmanager
async def reached(
    site: TlsSite,
    kind: trunk_pb2.TrunkKind.ValueType,
    transport: str,
    srtp: trunk_pb2.SrtpPolicy.ValueType = trunk_pb2.SRTP_POLICY_UNSPECIFIED,
    codec: str = "PCMA",
    there: str = "",
) -> AsyncIterator[Pbx]:
    """With the blocks of docs/pbx/asterisk.md, as they stand there but for addresses, and for the codecs `there`."""
    form, registers = FORMS[kind], kind == trunk_pb2.TRUNK_KIND_UNSPECIFIED
    dialplan = asterisk.documented("extensions.conf", "registers" if registers else "outbound")
    trunk = asterisk.documented("pjsip.conf", form)
    trunk = asterisk.with_codecs(trunk, there) if there else trunk
    blocks = {
        "pjsip.conf": {
            "documented": asterisk.with_srtp(trunk) if srtp else trunk,
            "documented tls": asterisk.documented("pjsip.conf", "tls"),
        },
        "extensions.conf": {"documented": dialplan.replace("gateway,1", "_[g1-9]!,1") if form == "peer" else dialplan},
    }
    papers = {
        "pbx.pem": site.papers.file("pbx", "127.0.0.1").read_bytes(),
        "authority.pem": site.papers.authority.read_bytes(),
    }
    worker = site.tls_port if transport == "tls" else site.world.sip_port
    options = trunk_pb2.TrunkOptions(kind=kind, srtp=srtp)
    added = await site.trunk(options=options, codecs=[codec]) if registers else None
    login, password = (added.trunk.login, added.password) if added else ("gateway", PASSWORD)
    async with (
        asterisk.running(worker, login, password, asterisk.DOCUMENTED, papers, blocks, transport=transport) as process,
        Actor("sip-phone", "--address", _PHONE) as phone,
    ):
        await process.booted()
        if added is None:
            port = process.tls_port if transport == "tls" else process.address[1]
            options.pbx.MergeFrom(trunk_pb2.PbxAddress(address=f"127.0.0.1:{port}", transport=transport))
            options.pbx.username = "gateway" if form == "outbound" else ""
            pbx_password = PASSWORD if form == "outbound" else ""
            added = await site.trunk(options=options, codecs=[codec], pbx_password=pbx_password)
        peer = Pbx(site, phone, process, added.trunk.login, codec)
        await (process.registered() if registers else peer.until(up=True))
        await phone.tell("register", server=f"127.0.0.1:{process.address[1]}", login="100", password="")
        assert (await phone.wait("registration"))["status"] == 200
        yield peer


def kind(kind: trunk_pb2.TrunkKind.ValueType, transport: str, **more: Any):  # type: ignore[no-untyped-def]
    return staticmethod(functools.partial(reached, kind=kind, transport=transport, **more))


class Coded(Brief):
    """By the trunk's codec: a diagonal of test_matrix.py."""

    async def hung_up(self, peer: Pbx, call: int, by: str) -> None:  # type: ignore[override]
        assert (await peer.end(call, by)).media.codec.upper().startswith(f"{peer.codec}/")


class Secret(Brief):
    """With SRTP, whose keys nobody on the way can read."""

    async def hung_up(self, peer: Peer, call: int, by: str) -> None:
        assert (await peer.end(call, by)).media.srtp_suite == "AES_CM_128_HMAC_SHA1_80"


class TestOutboundUdp(Coded):
    registered = kind(trunk_pb2.TRUNK_KIND_OUTBOUND, "udp", codec="PCMU")

    async def test_the_pbx_reads_who_calls(self, peer: Pbx) -> None:
        await peer.process.command("pjsip set logger on")
        call = await peer.calls("telegram")
        await peer.end(call, "pbx")
        assert '"Friend" <sip:friend@' in await peer.process.said()

    async def test_the_number_on_the_pbx_is_rung(self, peer: Pbx) -> None:
        await peer.change(number_on_pbx="777", caller_ids=["7-{username}"])
        await peer.process.command("pjsip set logger on")
        await peer.site.friends.tell("call", phone=FRIEND, to=GATEWAY)
        await peer.site.friends.wait("ended", phone=FRIEND, by="peer")
        assert (await peer.site.record()).sip_status == 404, "its dialplan has no such extension"
        said = await peer.process.said()
        assert "INVITE sip:777@127.0.0.1" in said and '"Friend" <sip:7-friend@' in said
        await peer.change(number_on_pbx="", caller_ids=[])


class TestRegistersTls(Coded):
    registered = kind(trunk_pb2.TRUNK_KIND_UNSPECIFIED, "tls", codec="G722")


class TestOutboundTls(Secret):
    registered = kind(trunk_pb2.TRUNK_KIND_OUTBOUND, "tls", srtp=trunk_pb2.SRTP_POLICY_REQUIRED)


@contextlib.asynccontextmanager
async def baresip_over_tls(site: Site) -> AsyncIterator[Peer]:
    """That it asks for no certificate of an authority is its own habit."""
    assert isinstance(site, TlsSite)
    needs("baresip", "baresip-core")
    added = await site.trunk(options=trunk_pb2.TrunkOptions(srtp=trunk_pb2.SRTP_POLICY_REQUIRED))
    async with Actor("baresip-phone", log=site.world.directory / "phones.log") as phone:
        login, password = added.trunk.login, added.password
        server = f"127.0.0.1:{site.tls_port}"
        await phone.tell("register", server=server, login=login, password=password, transport="tls", srtp=True)
        assert (await phone.wait("registration"))["status"] == 200
        yield Peer(site, phone)


class TestBaresipTls(Secret):
    registered = staticmethod(baresip_over_tls)


class TestPeerTcp(Coded):
    registered = kind(trunk_pb2.TRUNK_KIND_PEER, "tcp", codec="GSM", there="gsm,alaw")


class TestPeerUdp(Coded):
    registered = kind(trunk_pb2.TRUNK_KIND_PEER, "udp", codec="SPEEX", there="speex16,alaw")


class TestPeerTls(Secret):
    registered = kind(trunk_pb2.TRUNK_KIND_PEER, "tls", srtp=trunk_pb2.SRTP_POLICY_REQUIRED)
