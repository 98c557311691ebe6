"""A Worker that is killed says nothing any more: the one that comes next ends its dialogs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sipmessage import Response
from teletrunk.errors import Refusal
from teletrunk_worker.dialog_store import DialogStore

from tests import sip_wire
from tests.sip_wire import response_to

from .port_world import PortWorld, port_world, ready
from .test_host_side import SDP, dialled, established

RESTARTING = Refusal("worker-restarting")
REASON = 'SIP;cause=503;text="Worker is restarting"'


@contextlib.asynccontextmanager
async def successor(world: PortWorld, file: Path) -> AsyncIterator[PortWorld]:
    """What the one before has on disk is all that it knows."""
    before = DialogStore(file, world.port.open_dialogs, world.port.own)
    await before.close()
    async with port_world() as after:
        for dialog in DialogStore(file, after.port.open_dialogs, after.port.own).load(after.port.flow_of):
            assert after.port.end_left(dialog, RESTARTING)
        yield after


async def test_a_call_that_was_up_is_hung_up(world: PortWorld, tmp_path: Path) -> None:
    async with sip_wire.udp(world.address) as wire:
        invite, answer = await established(world, wire)
        async with successor(world, tmp_path / "dialogs.json"):
            bye = await wire.next_request("BYE")
            wire.answer(bye, 200, "OK")
    assert (bye.call_id, bye.headers["To"]) == (invite.call_id, invite.headers["From"])
    assert bye.headers["From"] == answer.headers["To"] and bye.headers["Reason"] == REASON
    assert bye.headers.get("Route") is None


async def test_a_call_to_the_pbx_that_was_up_is_hung_up(world: PortWorld, tmp_path: Path) -> None:
    async with sip_wire.udp(world.address) as wire:
        _, heard = await dialled(world, wire)
        wire.send(bytes(response_to(heard, 200, "OK", wire, SDP)))
        await world.host.next(lambda message: isinstance(message, Response) and message.code == 200)
        async with successor(world, tmp_path / "dialogs.json"):
            bye = await wire.next_request("BYE")
            wire.answer(bye, 200, "OK")
    assert bye.headers["To"].endswith(";tag=pbx") and bye.headers["Reason"] == REASON
    assert bye.headers.get("Route") is None, "the address at which hosts have known the one before is no way"


async def test_a_pbx_that_rang_stops_ringing(world: PortWorld, tmp_path: Path) -> None:
    async with sip_wire.udp(world.address) as wire:
        _, heard = await dialled(world, wire)
        wire.send(bytes(response_to(heard, 180, "Ringing", wire)))
        await world.host.next(lambda message: isinstance(message, Response) and message.code == 180)
        async with successor(world, tmp_path / "dialogs.json"):
            cancel = await wire.next_request("CANCEL")
            assert cancel.headers["Via"] == heard.headers["Via"]
            wire.answer(cancel, 200, "OK")


async def test_a_pbx_that_waits_for_an_answer_gets_one(world: PortWorld, tmp_path: Path) -> None:
    async with sip_wire.udp(world.address) as wire:
        asking = asyncio.ensure_future(wire.ask(await ready(wire, "INVITE")))
        await world.host.next()
        async with successor(world, tmp_path / "dialogs.json"):
            assert (await asking).status == (503, "Worker is restarting")


@pytest.mark.parametrize("nonsense", ["", "{", "[1]", '[{"flow": 3}]', '{"a": 1}'])
async def test_a_file_that_makes_no_sense_ends_nobody(world: PortWorld, tmp_path: Path, nonsense: str) -> None:
    (tmp_path / "dialogs.json").write_text(nonsense)
    assert DialogStore(tmp_path / "dialogs.json", list).load(world.port.flow_of) == []


async def test_no_password_and_no_description_lies_on_disk(world: PortWorld, tmp_path: Path) -> None:
    async with sip_wire.udp(world.address) as wire:
        await established(world, wire)
        await DialogStore(tmp_path / "dialogs.json", world.port.open_dialogs, world.port.own).close()
    kept = (tmp_path / "dialogs.json").read_text()
    assert "INVITE" in kept and "Authorization" not in kept and "m=audio" not in kept
