"""What becomes of records that are reported twice: by the Worker that carried the call, and by its successor."""

from __future__ import annotations

from typing import Any

from teletrunk.v1 import admin_pb2 as admin
from teletrunk.v1 import call_pb2
from teletrunk.v1 import manager_pb2 as pb

from tests.integration.manager_process import mistake
from tests.integration.manager_world import World

FINISHED = call_pb2.CallRecord(call_id="c1", worker_id="w", invited_at=100.0, ended_at=103.2, ended_by="pbx")
RECOVERED = call_pb2.CallRecord(
    call_id="c1", worker_id="w", invited_at=100.0, ended_at=124.5, ended_by="gateway", error_id="worker-restarting",
    recovered=True,
)  # fmt: skip


async def after(world: World, *records: call_pb2.CallRecord) -> call_pb2.CallRecord:
    for record in records:
        await world.wire.manager.ReportCall(pb.ReportCallRequest(record=record))
    answer = await world.wire.admin.GetCall(admin.GetCallRequest(call_id="c1"))
    found: call_pb2.CallRecord = answer.record
    return found


async def test_a_finished_record_is_never_replaced_by_a_recovered_one(world: World) -> None:
    assert await after(world, RECOVERED) == RECOVERED
    later = call_pb2.CallRecord()
    later.CopyFrom(RECOVERED)
    later.ended_at = 130.0
    assert await after(world, later) == later, "of two that are made up, the later one knows more"
    assert await after(world, FINISHED) == FINISHED
    assert await after(world, RECOVERED, later) == FINISHED


NEW = call_pb2.DIRECTION_SIP_TO_TELEGRAM
IN = call_pb2.DIRECTION_TELEGRAM_TO_SIP


async def test_records_are_found_by_what_people_know_of_them(world: World) -> None:
    account = await world.add_account()
    trunk = (await world.add_trunk("office")).trunk
    own: dict[str, Any] = {"account_id": account.account_id, "trunk_id": trunk.trunk_id}
    records = [
        call_pb2.CallRecord(call_id="2026-aaaa01", invited_at=100.0, direction=NEW, called="+4930123", **own),
        call_pb2.CallRecord(
            call_id="2026-bbbb02", invited_at=200.0, direction=IN, caller="@bob", answered_at=201.0, **own
        ),
        call_pb2.CallRecord(
            call_id="2026-cccc03", invited_at=300.0, direction=NEW, called="@bob", error_id="flood-wait"
        ),
    ]  # fmt: skip
    for record in records:
        await world.wire.manager.ReportCall(pb.ReportCallRequest(record=record))

    async def found(**wanted: object) -> list[str]:
        answer = await world.wire.admin.ListCalls(admin.ListCallsRequest(**wanted))  # type: ignore[arg-type]
        return [record.call_id[-1] for record in answer.calls]

    assert await found() == ["3", "2", "1"]
    assert await found(account="@ann") == await found(trunk="office") == ["2", "1"]
    assert await found(number="4930123") == await found(number="+4930123") == ["1"]
    assert await found(number="bob") == ["3", "2"]
    assert await found(direction=IN) == await found(answered=True) == ["2"]
    assert await found(answered=False, direction=NEW) == ["3", "1"]
    assert await found(row="flood-wait") == ["3"]
    assert await found(since=150.0, until=300.0) == ["2"]
    assert (await mistake(found(trunk="nowhere")))[1] == "there is no trunk nowhere: teletrunk trunk list shows them"
    assert (await mistake(found(row="x")))[1] == "x is no row of the error contract: teletrunk explain shows them"
    answer = await world.wire.admin.GetCall(admin.GetCallRequest(call_id="bb02"))
    assert answer.record == records[1], "an id may be named by its end"
