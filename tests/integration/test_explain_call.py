"""`teletrunk explain --call`: the record is the Manager's, the words are the table's."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from teletrunk.errors import TABLE
from teletrunk.v1 import call_pb2
from teletrunk.v1 import manager_pb2 as pb

from tests.integration.manager_process import ManagerProcess, Wire

RECORDS = (
    call_pb2.CallRecord(call_id="a1", caller="office", called="@bob", sip_status=480, error_id="no-confirmed-contact"),
    call_pb2.CallRecord(call_id="b2", caller="office", called="@bob", sip_status=486, ended_by="telegram"),
    call_pb2.CallRecord(call_id="c3", caller="office", called="@bob", sip_status=499, error_id="of-a-later-version"),
)


@pytest_asyncio.fixture
async def manager(tmp_path: Path) -> AsyncIterator[ManagerProcess]:
    manager = ManagerProcess(tmp_path / "data")
    await manager.start()
    wire = Wire(manager.address)
    for record in RECORDS:
        await wire.manager.ReportCall(pb.ReportCallRequest(record=record))
    await wire.channel.close()
    yield manager
    await manager.stop()


async def test_a_call_is_explained(manager: ManagerProcess) -> None:
    row = TABLE["no-confirmed-contact"]
    status, out, errors = await manager.command("explain", "--call", "a1")
    assert (status, errors) == (0, "")
    assert "office -> @bob" in out and row.essence in out and row.remedy in out
    status, out, errors = await manager.command("explain", "--call", "a", "--json")
    assert (status, errors) == (0, "")
    told = json.loads(out)
    assert (told["call"]["call_id"], told["call"]["sip_status"]) == ("a1", 480)
    assert [refusal["id"] for refusal in told["refusals"]] == [row.id]
    assert told["refusals"][0]["remedy"] == row.remedy


async def test_a_call_that_was_not_refused_says_so(manager: ManagerProcess) -> None:
    status, out, errors = await manager.command("explain", "--call", "b2")
    assert (status, errors) == (0, "")
    assert "ended by telegram  SIP 486" in out and "did not refuse this call" in out
    status, out, errors = await manager.command("explain", "--call", "b2", "--json")
    assert (status, json.loads(out)["refusals"]) == (0, [])


async def test_what_cannot_be_explained_is_one_line(manager: ManagerProcess) -> None:
    for call, text in (("z", "there is no call z"), ("c3", "of-a-later-version")):
        status, out, errors = await manager.command("explain", "--call", call)
        assert (status, out, errors.count("\n")) == (1, "", 1)
        assert text in errors
