"""`teletrunk call list`, `changes` and `subscription change` as people read and type them."""

from __future__ import annotations

import json
import typing
from pathlib import Path

from teletrunk.cli import changes
from teletrunk.v1 import call_pb2
from teletrunk.v1 import manager_pb2 as pb
from teletrunk_manager.db import audit
from teletrunk_manager.db.tables import Base

from tests.integration.manager_process import ManagerProcess, Wire
from tests.integration.manager_world import World

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
    assert "changed subscription" in changed and "lines 2 -> 3" in changed and "call seconds 9 -> nothing" in changed
    assert "added subscription small: " in added and "lines 2" in added
    assert (await manager.command("changes", "--who", "nobody"))[1] == "No changes.\n"
    await manager.stop()
    await wire.channel.close()


async def test_changes_are_told_as_sentences(tmp_path: Path) -> None:
    world = World(tmp_path / "data")
    await world.start()
    command = world.process.command
    try:
        await world.add_account()
        for typed in (
            ["trunk", "add", "@ann", "--login", "office", "--comment", "{second floor", "--srtp", "optional"],
            [
                "trunk",
                "change",
                "office",
                "--priority",
                "5",
                "--srtp",
                "required",
                "--hold",
                "music",
                "--comment",
                "{third floor",
            ],
            ["trunk", "trust", "office", "192.0.2.0/24"],
            ["trunk", "reset-password", "office"],
            ["token", "add", "ann", "--role", "viewer"],
            ["account", "share", "@ann", "ann"],
            ["worker", "assign", "@ann", "worker-1"],
            ["worker", "rename", "worker-1", "vienna"],
            ["worker", "drain", "vienna"],
            ["trunk", "remove", "office", "--yes"],
        ):
            assert (await command(*typed))[0] == 0, typed
        refused = await command("worker", "revoke", "vienna", "--yes")
        assert refused[0] == 1 and "vienna has come without a certificate" in refused[2]
        unasked = await command("worker", "remove", "vienna")  # nobody is at the terminal
        assert unasked[0] == 1 and "say --yes" in unasked[2]
        _, out, _ = await command("changes", "--limit", "500")
        told = [line.split("  ", 1)[1] for line in out.splitlines()]
        assert told[:9] == [
            "command removed trunk office",
            "command let trunk office be used from 192.0.2.0/24 no longer",
            "command told Worker vienna to take no more calls",
            "command named service worker-1 vienna",
            "command assigned account +491711234567 to Worker worker-1",
            "command shared account +491711234567 with ann",
            told[6],
            "command changed trunk office: password is another one",
            "command let trunk office be used from 192.0.2.0/24",
        ]
        assert told[6].startswith("command added token ann: role viewer, created at 20")
        assert set(told[9].removeprefix("command changed trunk office: ").split(", ")) == {
            "priority 0 -> 5", "comment {second floor -> {third floor",
            "srtp optional -> required", "hold silence -> music",
        }  # fmt: skip
        assert told[10].startswith("command added trunk office: ") and "(secret)" not in told[10]
        assert "srtp optional" in told[10] and not any("_" in word and word.isupper() for word in out.split())
        assert "codecs PCMA,PCMU,G722" in told[10] and told[11].startswith("command added account +491711234567: ")

        of_office = (await command("changes", "--object", "office", "--limit", "2"))[1]
        assert [line.split("  ", 1)[1] for line in of_office.splitlines()] == told[:2]
        assert (await command("changes", "--what", "drains"))[1].splitlines() == [out.splitlines()[2]]
        assert (await command("changes", "--until", "2026-01-01"))[1] == "No changes.\n"
    finally:
        await world.stop()


def test_everything_that_changes_has_its_word() -> None:
    tables = {mapper.class_.__tablename__ for mapper in Base.registry.mappers if mapper.class_ in audit.AUDITED}
    assert tables == set(typing.get_args(changes.What))
