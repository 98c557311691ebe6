"""A trunk's rules, templates and lists in the real Manager: what it routes by, and what it shows of them."""

from __future__ import annotations

import json

import grpc
from teletrunk.v1 import admin_pb2 as admin
from teletrunk.v1 import call_pb2
from teletrunk.v1 import manager_pb2 as pb
from teletrunk.v1.trunk_pb2 import TrunkOptions

from tests.integration.manager_process import mistake, refusal
from tests.integration.manager_world import World

BOB = call_pb2.Peer(user_id=9, first_name="Пётр", username="robert", phone="4915112345678")


async def change(world: World, trunk: str, **options: object) -> admin.Trunk:
    request = admin.ChangeTrunkRequest(trunk=trunk, options=TrunkOptions(**options), changed_options=list(options))  # type: ignore[arg-type]
    changed: admin.Trunk = (await world.wire.admin.ChangeTrunk(request)).trunk
    return changed


async def test_a_number_goes_through_the_rules_of_its_trunk(world: World) -> None:
    await world.add_account()
    trunk = await world.add_trunk("office")
    answer = await world.route("office", trunk.password, "+49 151 123-45678")
    assert answer.destination == call_pb2.Destination(
        kind=call_pb2.DESTINATION_KIND_PHONE,
        value="4915112345678",
        dialled="+49 151 123-45678",
        number="+4915112345678",
    )
    assert answer.steps[1].text == "route: account +491711234567, the phone +4915112345678"
    await change(world, "office", dial_rules=["^00=+", r"^\+49|^@"])
    answer = await world.route("office", trunk.password, "004915112345678")
    assert (answer.destination.value, answer.destination.number) == ("4915112345678", "+4915112345678")
    assert (await world.route("office", trunk.password, "@robert")).destination.value == "robert"
    refused = await refusal(world.route("office", trunk.password, "0015550100200"))
    assert refused == ("number-not-allowed", "dial rule 2 does not match")
    await change(world, "office", dial_rules=[], caller_ids=["7{userid}"])
    answer = await world.route("office", trunk.password, "79")
    assert (answer.destination.kind, answer.destination.value) == (call_pb2.DESTINATION_KIND_USER_ID, "9")


async def test_each_trunk_sees_a_caller_its_own_way(world: World) -> None:
    account = await world.add_account()
    for login in ("plain", "special", "strict"):
        await world.add_trunk(login)
    await change(
        world,
        "special",
        caller_ids=["0{userid}"],
        caller_names=["@{username} ({name_ascii})"],
        number_on_pbx="200",
    )
    await change(world, "strict", allowed_callers=["@friend"])

    async def targets(caller: call_pb2.Peer) -> dict[str, pb.IncomingTarget]:
        request = pb.RouteIncomingRequest(call_id="c", session_id=account.session_id, caller=caller)
        answer = await world.wire.manager.RouteIncoming(request)
        return {target.login: target for tier in answer.tiers for target in tier.targets}

    seen = await targets(BOB)
    assert set(seen) == {"plain", "special"}, "the strict one does not take this caller"
    plain, special = seen["plain"], seen["special"]
    assert (plain.caller_id, plain.caller_name, plain.number_on_pbx) == ("+4915112345678", "Пётр", "")
    assert (special.caller_id, special.caller_name, special.number_on_pbx) == ("09", "@robert (Petr)", "200")
    assert set(await targets(call_pb2.Peer(user_id=10, username="Friend"))) == {"plain", "special", "strict"}
    for login in ("plain", "special"):
        await change(world, login, blocked_callers=["+4915112345678"])
    assert await refusal(targets(BOB)) == ("caller-not-allowed", "")


async def test_a_number_is_tested_without_a_call(world: World) -> None:
    await world.add_account()
    await world.add_trunk("office")
    await change(
        world, "office", dial_rules=["^00=+", r"^\+"], caller_ids=["*{phone}"], blocked_callers=["+4915112345678"]
    )
    test = world.wire.admin.TestNumber
    answer = await test(admin.TestNumberRequest(trunk="office", number="004915112345678"))
    assert [(step.text, step.number) for step in answer.steps] == [
        ("dialled", "004915112345678"),
        ("^00=+", "+4915112345678"),
        (r"^\+  (matches)", "+4915112345678"),
        ("read as", "the phone +4915112345678"),
    ]
    assert (answer.caller_id, answer.caller_name, answer.refusal) == ("*4915112345678", "*4915112345678", "")
    assert answer.objection == "among the trunk's blocked callers"
    answer = await test(admin.TestNumberRequest(trunk="office", number="@robert", look_up=True))
    assert (answer.error_id, answer.refusal) == (
        "number-not-allowed",
        "403 Number is not allowed: dial rule 2 does not match",
    )
    await change(world, "office", caller_ids=["anonymous"])
    answer = await test(admin.TestNumberRequest(trunk="office", number="004915112345678"))
    assert answer.caller_name == "Anonymous", "as in the INVITE"
    unknown = await mistake(test(admin.TestNumberRequest(trunk="x", number="1")))
    assert unknown == (grpc.StatusCode.NOT_FOUND, "there is no trunk x: teletrunk trunk list shows them")


async def test_the_command_sets_and_shows_them(world: World) -> None:
    await world.add_account()
    status, _, errors = await world.process.command(
        "trunk", "add", "@ann", "--login", "office", "--dial-rule", "^00=+", "--dial-rule", r"^\+\d{7,15}$",
        "--caller-id", "0{userid}", "--caller-name", "{name}, {phone}", "--allowed-callers", "@Robert,+49 151 12345678",
        "--number-on-pbx", "200",
    )  # fmt: skip
    assert (status, errors) == (0, "")
    shown = (await world.process.command("trunk", "show", "office"))[1]
    for line in (
        r"dial rule 2: ^\+\d{7,15}$",
        "caller ID 1: 0{userid}",
        "caller name 1: {name}, {phone}",
        "allowed callers: @robert, +4915112345678",
        "number on the PBX: 200",
    ):
        assert line in shown.splitlines()
    said = (await world.process.command("trunk", "test-number", "office", "@robert", "--no-look-up"))[1]
    assert "the PBX would read: 403 Number is not allowed: dial rule 2 does not match" in said
    wrong = await world.process.command("trunk", "change", "office", "--dial-rule", "(")
    assert wrong[0] == 1 and wrong[2].startswith("teletrunk: the dial rule's pattern ( cannot be used")
    emptied = await world.process.command(
        "trunk", "change", "office", "--dial-rule", "", "--allowed-callers", "", "--number-on-pbx", "", "--json"
    )
    options = json.loads(emptied[1])["trunk"]["options"]
    assert (options["dial_rules"], options["allowed_callers"], options["number_on_pbx"]) == ([], [], "")
    assert options["caller_ids"] == ["0{userid}"], "what is not named stays"
