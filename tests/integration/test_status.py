"""`teletrunk status`: one screen, for people and for programs, and an exit code."""

from __future__ import annotations

import json

from teletrunk.v1 import manager_pb2 as pb

from tests.integration.manager_world import World


async def test_one_screen_of_everything(world: World) -> None:
    account = await world.add_account()
    trunk = (await world.add_trunk("office")).trunk
    status, out, errors = await world.process.command("status")
    assert (status, errors) == (1, "")
    for text in ("worker", "127.0.0.1:5060", "attached", "+491711234567", "active", "office", "not registered"):
        assert text in out
    assert "not-registered: office" in out and "Calls up: 0" in out
    assert max(map(len, out.partition("Calls up")[0].splitlines())) <= 80

    await world.worker.beat(pb.Heartbeat(registered_trunk_ids=[trunk.trunk_id], active_calls=2))
    status, out, _ = await world.process.command("status", "--json")
    told = json.loads(out)
    assert (status, told["wrong"], told["calls_up"]) == (0, [], 2)
    (shown,) = told["trunks"]
    assert (shown["login"], shown["account_id"]) == ("office", account.account_id)
    assert (shown["registered_at"], shown["pbx"]) == (["127.0.0.1:5060"], "registered at 127.0.0.1:5060")
    assert {service["kind"]: service["state"] for service in told["services"]} == {
        "worker": "attached", "storage": "attached",
    }  # fmt: skip


async def test_a_manager_that_does_not_answer_is_one_line(world: World) -> None:
    await world.process.stop()
    status, out, errors = await world.process.command("status")
    assert (status, out, errors.count("\n")) == (1, "", 1)
    await world.process.start()
