"""What becomes of records that are reported twice: by the Worker that carried the call, and by its successor."""

from __future__ import annotations

from teletrunk.v1 import admin_pb2 as admin
from teletrunk.v1 import call_pb2
from teletrunk.v1 import manager_pb2 as pb

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
