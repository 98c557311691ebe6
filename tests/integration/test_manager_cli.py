"""The `teletrunk` command against the real Manager."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from teletrunk.v1 import call_pb2
from teletrunk.v1 import manager_pb2 as pb

from tests.integration.manager_process import (
    CODE,
    TWO_STEP,
    Attachment,
    ManagerProcess,
    StorageServer,
    Wire,
    worker_hello,
)


async def keep_beating(attached: list[Attachment]) -> None:
    while True:
        await asyncio.gather(*(each.beat() for each in attached))
        await asyncio.sleep(1)


async def test_the_command_from_sign_in_to_ladder(tmp_path: Path) -> None:
    manager, storage = ManagerProcess(tmp_path / "data"), StorageServer.serving()
    storage.two_step = True
    storage.user.last_name = "[red]\x1b[31mLee"
    await asyncio.gather(manager.start(), storage.server.start())
    wire = Wire(manager.address)
    attached = [Attachment(wire, worker_hello()), Attachment(wire, storage.hello())]
    await asyncio.gather(*(each.beat() for each in attached))
    record = call_pb2.CallRecord(call_id="call-1", invited_at=1.0, caller="office", called="@bob", sip_status=486)
    await wire.manager.ReportCall(pb.ReportCallRequest(record=record))

    status, out, errors = await manager.command(
        "account", "add", "+491711234567", "--json", answer=f"{CODE}\n{TWO_STEP}\n"
    )
    assert (status, errors) == (0, "")
    assert json.loads(out)["phone"] == "+491711234567"
    status, out, errors = await manager.command("trunk", "add", "@ann", "--login", "office")
    assert (status, errors) == (0, "")
    assert "server    127.0.0.1:5060" in out
    assert "login     office" in out

    commands = [
        (["account", "list"], 0, "[red]?[31mLee"),
        (["trunk", "show", "office"], 0, "server: 127.0.0.1:5060, UDP or TCP"),
        (["trunk", "show", "office"], 0, "office  account +491711234567"),
        (["trunk", "list"], 0, "office  +491711234567"),
        (["worker", "list", "--json"], 0, '"worker-1"'),
        (["call", "show", "last"], 0, "office -> @bob"),
        (["call", "show", "x"], 1, "teletrunk: there is no call x: teletrunk call list shows them\n"),
        (["account", "add", "+491711234567", "--json"], 1, "teletrunk: code is missing"),
        (["trunk", "remove", "x", "--yes"], 1, "teletrunk: there is no trunk x: teletrunk trunk list shows them\n"),
    ]
    beating = asyncio.create_task(keep_beating(attached))  # a busy machine takes longer than a silence is borne
    results = await asyncio.gather(*(manager.command(*arguments) for arguments, _, _ in commands))
    beating.cancel()
    for (arguments, expected, text), (status, out, errors) in zip(commands, results, strict=True):
        assert status == expected, (arguments, out, errors)
        assert text in (errors if expected else out), (arguments, out, errors)
        if expected:
            assert (out, errors.count("\n")) == ("", 1)
        elif "--json" in arguments:
            json.loads(out)

    await manager.stop()
    await wire.channel.close()
    await storage.server.stop(0)
    status, out, errors = await manager.command("account", "list")
    assert (status, out) == (1, "")
    assert errors == f"teletrunk: the Manager at {manager.address} does not answer: is it running? (teletrunk up)\n"
