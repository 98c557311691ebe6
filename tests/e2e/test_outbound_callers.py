"""Who calls at a PBX where we have registered: From is our account there, whatever the person's name is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from teletrunk.v1 import trunk_pb2
from teletrunk_worker.sip.uri import parse_name_addr

from tests import sip_wire
from tests.pbx_wire import PATIENCE_S, PbxWire, pbx_wire
from tests.rtp_wire import rtp

from .conftest import GATEWAY, Scene
from .sound_pbx import SoundPbx
from .test_transfer import refer_once_up

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

ANN = "+79990000013"


@contextlib.asynccontextmanager
async def registrar(scene: Scene) -> AsyncIterator[tuple[PbxWire, str]]:
    """With a trunk of ours that is registered there; its account, as pjsip writes it in a From: without the port."""
    async with pbx_wire() as pbx:
        where = trunk_pb2.PbxAddress(address=f"127.0.0.1:{pbx.port}", username="gw")
        options = trunk_pb2.TrunkOptions(kind=trunk_pb2.TRUNK_KIND_OUTBOUND, pbx=where)
        trunk = await scene.world.add_trunk(GATEWAY, options=options, pbx_password="s3cret")
        await scene.only_trunk(trunk)
        async with asyncio.timeout(PATIENCE_S):
            while not any(state.up for state in (await scene.world.trunk(trunk.trunk.login)).states):
                await asyncio.sleep(0.1)
        yield pbx, "sip:gw@127.0.0.1"
        await scene.world.remove_trunk(trunk.trunk.login)
        # Two of ours at one address could not be told apart: the Worker has heard of the end when it says good-bye.
        while (await pbx.next("REGISTER")).request.headers["Expires"] != "0":
            pass


async def test_a_caller_of_any_name_is_rung_by_our_account(scene: Scene) -> None:
    async with registrar(scene) as (pbx, account):
        await scene.friends.tell("user", phone=ANN, first_name='Ann <3 "you"', username="ann_three")
        await scene.friends.tell("call", phone=ANN, to="@gateway")
        headers = (await pbx.next("INVITE", 20)).request.headers
        caller, asserted = parse_name_addr(headers["From"]), parse_name_addr(headers["P-Asserted-Identity"])
        assert (caller.display, caller.uri.text) == ("Ann <3 you", account)
        assert (asserted.display, asserted.uri.user) == ("Ann <3 you", "ann_three")
        assert (await scene.record()).sip_status == 486


async def test_a_call_that_is_passed_on_there_comes_from_our_account(scene: Scene) -> None:
    async with registrar(scene) as (pbx, account), sip_wire.udp(scene.edge) as wire, rtp() as sound:
        async with SoundPbx(scene, wire, sound, "201", "").call() as call:
            assert (await refer_once_up(call)).code == 202
            headers = (await pbx.next("INVITE", 20)).request.headers
        assert parse_name_addr(headers["From"]).uri.text == account
        assert parse_name_addr(headers["P-Asserted-Identity"]).uri.user == "@friend"
