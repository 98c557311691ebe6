"""Kamailio: as a PBX that registers at a trunk, and as a proxy between a phone and the trunk."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator

import pytest
from teletrunk.v1 import admin_pb2
from teletrunk_sandbox.actors import Actor

from tests import sip_wire

from . import kamailio
from .conftest import Site
from .peer import Peer, Trials

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

_PATIENCE_S = 20.0


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


async def test_what_was_registered_with_a_path_is_told_with_it(site: Site) -> None:
    """RFC 3327 5.3: the 200 has the Path values as they came."""
    trunk: admin_pb2.AddTrunkResponse = await site.trunk()
    path = "<sip:p1.example;lr>, <sip:127.0.0.1:5099;lr>"
    async with sip_wire.udp(site.sip) as wire:
        told = await wire.register(trunk.trunk.login, trunk.password, Supported="path", Path=path)
    assert told.status == (200, "OK")
    assert ", ".join(told.header("Path")) == path
