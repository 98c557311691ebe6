"""`teletrunk call list`, `changes` and `subscription change` as people read and type them."""

from __future__ import annotations

import json
from pathlib import Path

from teletrunk.v1 import call_pb2
from teletrunk.v1 import manager_pb2 as pb

from tests.integration.manager_process import ManagerProcess, Wire

WIDTH = 80


async def test_lists_for_people(tmp_path: Path) -> None:
    manager = ManagerProcess(tmp_path / "data")
    await manager.start()
    wire = Wire(manager.address)
    for number in range(3):
        record = call_pb2.CallRecord(
            call_id=f"20261126-164000-{number}0a1b2c3d4e{number}f", invited_at=1_790_000_000.0 + number,
            caller="reception", called="+491711234567", error_id="subscription-limit", sip_status=402,
            direction=call_pb2.DIRECTION_SIP_TO_TELEGRAM,
        )  # fmt: skip
        await wire.manager.ReportCall(pb.ReportCallRequest(record=record))

    status, out, errors = await manager.command(
        "call", "list", "--row", "subscription-limit", "--number", "491711234567"
    )
    assert (status, errors) == (0, "")
    lines = out.splitlines()
    assert max(map(len, lines)) <= WIDTH
    shown = lines[2].split()[0]
    status, out, _ = await manager.command("call", "show", shown)
    assert status == 0 and f"call 20261126-164000-2{'0a1b2c3d4e'}2f" in out, "an id can be typed as it is shown"
    assert (await manager.command("call", "list", "--unanswered", "--direction", "to-sip"))[1] == "No calls.\n"

    await manager.command(
        "subscription", "add", "small", "--lines", "2", "--total-seconds", "60", "--call-seconds", "9"
    )
    await manager.command("subscription", "change", "small", "--lines", "3", "--unlimited", "call-seconds")
    (plan,) = json.loads((await manager.command("subscription", "list", "--json"))[1])["subscriptions"]
    limits = plan["limits"]
    assert (limits["lines"], limits["total_seconds"], "call_seconds" in limits) == (3, 60, False)

    _, out, _ = await manager.command("changes", "--kind", "subscriptions")
    changed, added = out.splitlines()
    assert "changed subscription" in changed and "lines 2 -> 3" in changed and "call_seconds 9 -> nothing" in changed
    assert "added subscription" in added and "name small" in added
    assert (await manager.command("changes", "--who", "nobody"))[1] == "No changes.\n"
    await manager.stop()
    await wire.channel.close()
