"""`teletrunk status`: one screen, for people and for programs, and an exit code."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from teletrunk import causes
from teletrunk.v1 import admin_pb2 as admin
from teletrunk.v1 import fleet_pb2, fleet_pb2_grpc
from teletrunk.v1 import manager_pb2 as pb

from tests.integration.manager_process import PATIENCE_S, refusal
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
    assert (shown["registered_at"], shown["pbx"]) == (["127.0.0.1:5060"], "registered at Worker 127.0.0.1:5060")
    assert {service["kind"]: service["state"] for service in told["services"]} == {
        "worker": "attached", "storage": "attached",
    }  # fmt: skip


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
async def test_where_a_pbx_is_and_that_the_only_worker_leaves(world: World) -> None:
    await world.add_account()
    trunk = (await world.add_trunk("office")).trunk
    here = pb.Heartbeat(registered_trunk_ids=[trunk.trunk_id], tells_bindings=True)
    await world.worker.beat(here)
    asked = asyncio.ensure_future(world.process.command("status"))
    question = (await world.worker.response("bindings_question")).bindings_question
    bindings = [pb.Binding(contact="sip:a@10.0.0.5", source_address="192.0.2.10:49152", transport="udp")]
    answer = pb.BindingsAnswer(question_id=question.question_id, bindings=bindings)
    world.worker.say(pb.AttachRequest(bindings=answer))
    status, out, _ = await asked
    assert status == 0 and "192.0.2.10:49152 by UDP" in out

    await world.worker.beat(pb.Heartbeat(registered_trunk_ids=[trunk.trunk_id], draining=True))
    status, out, _ = await world.process.command("status")
    assert status == 1 and "worker-restarting: worker: the only worker that is attached, w, takes no more calls" in out
    assert "worker drain w --off" in out and "Nothing is wrong" not in out


async def test_a_manager_that_does_not_answer_is_one_line(world: World) -> None:
    await world.process.stop()
    status, out, errors = await world.process.command("status")
    assert (status, out, errors.count("\n")) == (1, "", 1)
    await world.process.start()


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
async def test_a_refused_registration_is_what_the_doctor_says_first(world: World) -> None:
    """Each with its cause's own words; and who comes by a login that nobody has."""
    await world.add_account()
    trunk = await world.add_trunk("office")
    await world.add_trunk("strict")
    await world.wire.admin.ChangeTrunk(admin.ChangeTrunkRequest(trunk="strict", sha256_only=True))
    for login, password, row in (
        ("office", "wrong", "wrong-password"), ("strict", "wrong", "unauthorized"), ("offise", "x", "login-not-found"),
    ):  # fmt: skip
        assert (await refusal(world.register(login, password, "MD5")))[0] == row
    at_edge = pb.RefusedAtEdge(login="office", source_address="192.0.2.9", error_id="ip-not-allowed", count=3,
                               detail="UDP is not a transport of this trunk: use TLS",
                               cause=causes.TRANSPORT_NOT_ALLOWED.code)  # fmt: skip
    world.worker.say(pb.AttachRequest(refused=at_edge))
    await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE_S):
        while "ip-not-allowed" not in (shown := (await world.process.command("trunk", "show", "office"))[1]):
            await asyncio.sleep(0.2)
    assert "ip-not-allowed from 192.0.2.9, 3 times" in shown and "(UDP is not a transport of this trunk" in shown

    lines = (await world.process.command("doctor", "--trunk", "office"))[1].splitlines()
    first = [line for line in lines if not line.startswith(" ")][:3]
    assert {line.partition(":")[0] for line in first[:2]} == {"ip-not-allowed", "wrong-password"}
    assert first[2].startswith("not-registered: office") and not any("strict" in line for line in lines)
    assert any("--transports" in line for line in lines) and any("reset-password" in line for line in lines)
    assert any("offise" in line for line in lines), "it may be the PBX of this trunk"
    said = (await world.process.command("doctor", "--trunk", "strict"))[1]
    assert said.startswith("unauthorized: strict") and "RFC 8760" in said and "offise" not in said
    status = (await world.process.command("status"))[1]
    assert "wrong-password: office: its registration from" in status
    everything = (await world.process.command("doctor"))[1]
    assert "login-not-found: logins: somebody wants to register with logins that no trunk has, 1 time: offise" in (
        everything
    )

    assert await world.register("office", trunk.password)
    await world.worker.beat(pb.Heartbeat(registered_trunk_ids=[trunk.trunk.trunk_id]))
    assert "wrong-password" not in (await world.process.command("doctor", "--trunk", "office"))[1], "it is in now"


async def test_logins_that_scanners_try_take_little_room(world: World) -> None:
    for number in range(100):
        await refusal(world.register(f"login{number}", "x"))
    answer = await _bans(world, lambda answer: [login.login for login in answer.unknown_logins[:1]] == ["login99"])
    assert len(answer.unknown_logins) <= 20


async def _bans(world: World, wanted: Callable[[fleet_pb2.ListBansResponse], bool]) -> fleet_pb2.ListBansResponse:
    fleet: Any = fleet_pb2_grpc.FleetServiceStub(world.wire.channel)
    async with asyncio.timeout(PATIENCE_S):
        while not wanted(answer := await fleet.ListBans(fleet_pb2.ListBansRequest())):
            await asyncio.sleep(0.2)
    return answer
