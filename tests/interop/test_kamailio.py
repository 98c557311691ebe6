"""Kamailio: as a PBX that registers at a trunk, at which we register, that is known by its address; and as a proxy."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator
from typing import Any

import pytest
from teletrunk.v1 import admin_pb2, trunk_pb2
from teletrunk_sandbox.actors import Actor

from tests import sip_wire

from . import kamailio
from .conftest import FRIEND, Site
from .peer import Brief, Peer, Trials, TrunkPeer

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

_PATIENCE_S = 20.0
_PASSWORD = "correct horse"
_PHONE = "127.0.0.5"  # Kamailio tells the gateway and its phone apart by their addresses


async def register(phone: Actor, server: tuple[str, int], login: str, password: str) -> None:
    host, port = server
    await phone.tell("register", server=f"{host}:{port}", login=login, password=password)
    registered = await phone.wait("registration")
    assert registered["status"] == 200, registered


@contextlib.asynccontextmanager
async def behind_a_pbx(site: Site) -> AsyncIterator[Peer]:
    trunk = await site.trunk()
    here = {"worker": site.world.sip_port, "login": trunk.trunk.login, "password": trunk.password}
    async with kamailio.running("pbx", **here) as pbx, Actor("sip-phone") as phone:
        await register(phone, pbx, "phone", "")
        async with asyncio.timeout(_PATIENCE_S):
            while '"registrations": 1' not in await site.world.command("worker", "list", "--json"):
                await asyncio.sleep(0.2)
        yield Peer(site, phone)


@contextlib.asynccontextmanager
async def behind_a_proxy(site: Site, *, path: bool = False) -> AsyncIterator[Peer]:
    trunk = await site.trunk()
    async with (
        kamailio.running("proxy", *(["PATH"] if path else []), worker=site.world.sip_port) as proxy,
        Actor("sip-phone") as phone,
    ):
        await register(phone, proxy, trunk.trunk.login, trunk.password)
        yield Peer(site, phone)


@contextlib.asynccontextmanager
async def at_the_trunk_of(site: Site, kind: trunk_pb2.TrunkKind.ValueType, transport: str) -> AsyncIterator[TrunkPeer]:
    """A trunk whose PBX does not register, with the blocks of docs/pbx/kamailio.md as they stand there."""
    form = "outbound" if kind == trunk_pb2.TRUNK_KIND_OUTBOUND else "peer"
    here: dict[str, Any] = {"worker": site.world.sip_port, "transport": transport, "password": _PASSWORD}
    blocks = {"in common": kamailio.documented("in common", **here), "form": kamailio.documented(form, **here)}
    async with (
        kamailio.running("documented", **here, **blocks) as (host, port),
        Actor("sip-phone", "--address", _PHONE) as phone,
    ):
        await register(phone, (host, port), "100", "")
        pbx = trunk_pb2.PbxAddress(address=f"{host}:{port}", transport=transport)
        pbx.username = "gateway" if form == "outbound" else ""
        options = trunk_pb2.TrunkOptions(kind=kind, pbx=pbx)
        added = await site.trunk(options=options, pbx_password=_PASSWORD if form == "outbound" else "")
        peer = TrunkPeer(site, phone, added.trunk.login, to=FRIEND)
        await peer.until(up=True)
        yield peer


class TestPbx(Trials):
    """Its `uac` module registers and answers challenges; the phone behind it knows nothing of the trunk."""

    registered = staticmethod(behind_a_pbx)


class TestProxy(Trials):
    """The phone registers through it; both ways every request of a call takes it."""

    registered = staticmethod(behind_a_proxy)


class TestPath:
    """The proxy adds itself to what the phone registers, and takes calls on that way only."""

    registered = staticmethod(functools.partial(behind_a_proxy, path=True))

    async def test_a_call_to_telegram(self, peer: Peer) -> None:
        call = await peer.calls("pbx")
        await peer.talk(call)
        await peer.end(call, "telegram")

    async def test_a_call_from_telegram_takes_the_path(self, peer: Peer) -> None:
        call = await peer.calls("telegram")
        await peer.talk(call)
        await peer.end(call, "pbx")


class TestOutbound(Brief):
    """Its `registrar`, and its digest for REGISTER and INVITE."""

    registered = staticmethod(functools.partial(at_the_trunk_of, kind=trunk_pb2.TRUNK_KIND_OUTBOUND, transport="udp"))


class TestPeerTcp(Brief):
    registered = staticmethod(functools.partial(at_the_trunk_of, kind=trunk_pb2.TRUNK_KIND_PEER, transport="tcp"))


async def test_what_was_registered_with_a_path_is_told_with_it(site: Site) -> None:
    """RFC 3327 5.3: the 200 has the Path values as they came."""
    trunk: admin_pb2.AddTrunkResponse = await site.trunk()
    path = "<sip:p1.example;lr>, <sip:127.0.0.1:5099;lr>"
    async with sip_wire.udp(site.sip) as wire:
        told = await wire.register(trunk.trunk.login, trunk.password, Supported="path", Path=path)
    assert told.status == (200, "OK")
    assert ", ".join(told.header("Path")) == path
