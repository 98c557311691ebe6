"""A Worker that is killed says nothing any more: the one that comes next ends its dialogs."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sipmessage import Request, Response
from teletrunk.errors import Refusal
from teletrunk_worker.dialog_store import DialogStore
from teletrunk_worker.sip.dialog import Dialogs

from tests import sip_wire
from tests.sip_wire import response_to

from .host_dialogs import SDP, dialled, established
from .port_world import PortWorld, port_world, ready

RESTARTING = Refusal("worker-restarting")
REASON = 'SIP;cause=503;text="Worker is restarting"'


@contextlib.asynccontextmanager
async def successor(world: PortWorld, file: Path) -> AsyncIterator[PortWorld]:
    """What the one before has on disk is all that it knows."""
    await kept(world, file).close()
    async with port_world() as after:
        store = DialogStore(file, after.port.dialogs, after.port.own)
        left = store.load(after.port.flow_of)
        after.port.dialogs.changed = store.note
        assert left
        for dialog in left:
            assert after.port.end_left(dialog, RESTARTING)
        yield after
        await store.close()
    assert not DialogStore(file, Dialogs()).load(after.port.flow_of), "who has been told is not told again"


def kept(world: PortWorld, file: Path) -> DialogStore:
    """The store of a Worker whose dialogs are all new to it."""
    store = DialogStore(file, world.port.dialogs, world.port.own)
    world.port.dialogs.changed = store.note
    for dialog in world.port.dialogs.open():
        store.note(dialog.invite.call_id)
    return store


async def test_a_call_that_was_up_is_hung_up(world: PortWorld, tmp_path: Path) -> None:
    async with sip_wire.udp(world.address) as wire:
        invite, answer = await established(world, wire)
        async with successor(world, tmp_path / "dialogs.jsonl"):
            bye = await wire.next_request("BYE")
            wire.answer(bye, 200, "OK")
    assert (bye.call_id, bye.headers["To"]) == (invite.call_id, invite.headers["From"])
    assert bye.headers["From"] == answer.headers["To"] and bye.headers["Reason"] == REASON
    assert bye.headers.get("Route") is None


async def test_a_pbx_that_has_moved_within_the_call_is_told_there(world: PortWorld, tmp_path: Path) -> None:
    async with sip_wire.udp(world.address) as wire:
        invite, answer = await established(world, wire)
        store = kept(world, tmp_path / "dialogs.jsonl")
        again = wire.in_dialog("UPDATE", invite, answer, Contact=f"<sip:moved@127.0.0.1:{wire.local[1]}>")
        asking = asyncio.ensure_future(wire.ask(again))
        at_host = await world.host.next(lambda message: isinstance(message, Request) and message.method == "UPDATE")
        assert isinstance(at_host, Request)
        world.host.send(response_to(at_host, 200, "OK", wire))
        assert (await asking).final.code == 200
        await store.close()
        async with port_world() as after:
            [left] = DialogStore(tmp_path / "dialogs.jsonl", after.port.dialogs).load(after.port.flow_of)
            assert after.port.end_left(left, RESTARTING)
            assert (await wire.next_request("BYE")).uri.user == "moved"


async def test_a_call_to_the_pbx_that_was_up_is_hung_up(world: PortWorld, tmp_path: Path) -> None:
    async with sip_wire.udp(world.address) as wire:
        _, heard = await dialled(world, wire)
        wire.send(bytes(response_to(heard, 200, "OK", wire, SDP)))
        await world.host.next(lambda message: isinstance(message, Response) and message.code == 200)
        async with successor(world, tmp_path / "dialogs.jsonl"):
            bye = await wire.next_request("BYE")
            wire.answer(bye, 200, "OK")
    assert bye.headers["To"].endswith(";tag=pbx") and bye.headers["Reason"] == REASON
    assert bye.headers.get("Route") is None, "the address at which hosts have known the one before is no way"


async def test_a_pbx_that_rang_stops_ringing(world: PortWorld, tmp_path: Path) -> None:
    async with sip_wire.udp(world.address) as wire:
        _, heard = await dialled(world, wire)
        wire.send(bytes(response_to(heard, 180, "Ringing", wire)))
        await world.host.next(lambda message: isinstance(message, Response) and message.code == 180)
        async with successor(world, tmp_path / "dialogs.jsonl"):
            cancel = await wire.next_request("CANCEL")
            assert cancel.headers["Via"] == heard.headers["Via"]
            wire.answer(cancel, 200, "OK")


async def test_a_pbx_that_waits_for_an_answer_gets_one(world: PortWorld, tmp_path: Path) -> None:
    async with sip_wire.udp(world.address) as wire:
        asking = asyncio.ensure_future(wire.ask(await ready(wire, "INVITE")))
        await world.host.next()
        async with successor(world, tmp_path / "dialogs.jsonl"):
            assert (await asking).status == (503, "Worker is restarting")


@pytest.mark.parametrize("nonsense", ["", "{", "[1]", '[{"flow": 3}]', '{"a": 1}', '{"dialog": "x", "row": 5}', "5"])
async def test_a_line_that_makes_no_sense_ends_nobody_else(world: PortWorld, tmp_path: Path, nonsense: str) -> None:
    file = tmp_path / "dialogs.jsonl"
    async with sip_wire.udp(world.address) as wire:
        invite, _ = await established(world, wire)
        await kept(world, file).close()
    file.write_text(f"{nonsense}\n{file.read_text()}{nonsense}\n")
    [left] = DialogStore(file, Dialogs()).load(world.port.flow_of)
    assert left.invite.call_id == invite.call_id


async def test_what_is_written_is_what_has_changed(world: PortWorld, tmp_path: Path) -> None:
    """Not all that there is, nor anything while nothing happens."""
    file = tmp_path / "dialogs.jsonl"
    async with sip_wire.udp(world.address) as wire:
        for _ in range(20):
            invite, answer = await established(world, wire)
        store = kept(world, file)
        await store.close()
        before = file.read_text()
        assert len(before.splitlines()) == 20
        await store.close()
        assert file.read_text() == before
        asking = asyncio.ensure_future(wire.ask(wire.in_dialog("BYE", invite, answer)))
        bye = await world.host.next(lambda message: isinstance(message, Request) and message.method == "BYE")
        assert isinstance(bye, Request)
        world.host.send(response_to(bye, 200, "OK", wire))
        assert (await asking).final.code == 200
        async with asyncio.timeout(5):
            while file.read_text() == before:
                await asyncio.sleep(0.02)
        [line] = file.read_text().removeprefix(before).splitlines()
        assert json.loads(line) == {"dialog": invite.call_id, "row": None}
    assert len(DialogStore(file, Dialogs()).load(world.port.flow_of)) == 19


async def test_no_password_and_no_description_lies_on_disk(world: PortWorld, tmp_path: Path) -> None:
    async with sip_wire.udp(world.address) as wire:
        await established(world, wire)
        await kept(world, tmp_path / "dialogs.jsonl").close()
    lines = (tmp_path / "dialogs.jsonl").read_text()
    assert "INVITE" in lines and "Authorization" not in lines and "m=audio" not in lines
