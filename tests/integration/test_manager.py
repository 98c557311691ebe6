"""The real Manager over the real wire: attaching, accounts, trunks, routing, records, restarts."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import stat
import time
from pathlib import Path

import grpc
import pytest
from teletrunk.session_proof import id_of, proof_of
from teletrunk.v1 import admin_pb2 as admin
from teletrunk.v1 import call_pb2
from teletrunk.v1 import manager_pb2 as pb

from tests.integration.manager_process import (
    CODE,
    TWO_STEP,
    Attachment,
    ManagerProcess,
    StorageServer,
    Wire,
    mistake,
    refusal,
    worker_hello,
)
from tests.integration.manager_world import World
from tests.servers import Postgres

INVALID, MISSING = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
TAKEN = grpc.StatusCode.ALREADY_EXISTS
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION


async def test_services_attach_report_and_leave(world: World) -> None:
    await world.worker.beat(pb.Heartbeat(active_calls=2, registrations=3))
    await world.report(pb.SESSION_STATE_ACTIVE)

    async def services() -> dict[str, admin.AttachedService]:
        answer = await world.wire.admin.ListServices(admin.ListServicesRequest())
        return {service.kind: service for service in answer.services}

    found = await services()
    worker, storage = found["worker"], found["storage"]
    assert (worker.id, worker.attached, worker.active_calls, worker.registrations) == ("worker-1", True, 2, 3)
    assert (storage.id, storage.attached, storage.sessions) == ("storage-1", True, 1)
    assert abs(worker.last_seen - time.time()) < 5

    newer = Attachment(world.wire, worker_hello())
    await newer.beat(pb.Heartbeat(active_calls=1))
    await world.worker.ended()
    assert (await services())["worker"].active_calls == 1, "the newest stream is the one that counts"
    await newer.leave()
    left = (await services())["worker"]
    assert not left.attached
    assert abs(left.last_seen - time.time()) < 5

    wordless = Attachment(world.wire, pb.AttachRequest(heartbeat=pb.Heartbeat()))
    await wordless.ended()
    assert await wordless.stream.code() == INVALID
    stranger = Wire(world.process.address, token="x" * 20)
    assert (await mistake(stranger.admin.ListServices(admin.ListServicesRequest())))[0] == (
        grpc.StatusCode.UNAUTHENTICATED
    )
    await stranger.channel.close()


async def test_no_storage_takes_over_what_is_not_in_its_vault(world: World) -> None:
    proof = proof_of("what Telegram knows the session by")
    world.storage_server.session_id = id_of(proof)
    account = await world.add_account()
    trunk = await world.add_trunk()

    async def storage_of_a_call() -> str:
        return (await world.route(trunk.trunk.login, trunk.password)).session.storage_id

    other_server = StorageServer.serving("storage-2")
    await other_server.server.start()
    try:
        other = Attachment(world.wire, other_server.hello())
        claimed = pb.SessionReport(session_id=account.session_id, state=pb.SESSION_STATE_ACTIVE)
        for forged in (b"", bytes(32), account.session_id.encode()):
            claimed.proof = forged
            await other.beat(pb.Heartbeat(sessions=[claimed]))
            assert await storage_of_a_call() == "storage-1"
        await world.report(pb.SESSION_STATE_UNSPECIFIED)  # its own Storage has let it go
        assert await refusal(storage_of_a_call()) == ("no-active-session", "")
        claimed.proof = proof
        await other.beat(pb.Heartbeat(sessions=[claimed]))
        assert await storage_of_a_call() == "storage-2"
        await other.leave()
    finally:
        await other_server.server.stop(0)


async def test_what_another_storage_holds_back_is_told_when_its_own_is_gone(world: World) -> None:
    """As after a restore in a cluster, where no Storage is one of those before."""
    proof = proof_of("what Telegram knows the session by")
    world.storage_server.session_id = id_of(proof)
    account = await world.add_account()
    other_server = StorageServer.serving("storage-2")
    await other_server.server.start()
    try:
        other = Attachment(world.wire, other_server.hello())
        said = pb.SessionReport(session_id=account.session_id, state=pb.SESSION_STATE_CONNECTING, reason="restored")

        async def told() -> tuple[int, str]:
            (found,) = (await world.wire.admin.ListAccounts(admin.ListAccountsRequest())).accounts
            return found.state, found.reason

        for forged, expected in ((bytes(32), (pb.SESSION_STATE_UNSPECIFIED, "")), (proof, (said.state, said.reason))):
            said.proof = forged
            await other.beat(pb.Heartbeat(sessions=[said]))
            assert await told() == (pb.SESSION_STATE_ACTIVE, "")  # its own Storage knows better
            await world.storage.leave()
            assert await told() == expected
            world.storage = Attachment(world.wire, world.storage_server.hello())
            await world.report(pb.SESSION_STATE_ACTIVE, session_id=account.session_id)
        await other.leave()
    finally:
        await other_server.server.stop(0)


async def test_nothing_new_goes_to_a_storage_that_drains(world: World) -> None:
    account = await world.add_account()
    trunk = await world.add_trunk()
    other_server = StorageServer.serving("storage-2")
    await other_server.server.start()
    try:
        other = Attachment(world.wire, other_server.hello())
        active = pb.SessionReport(session_id=account.session_id, state=pb.SESSION_STATE_ACTIVE)
        waiting = pb.SessionReport(session_id=account.session_id, state=pb.SESSION_STATE_CONNECTING)
        more = pb.SessionReport(session_id="another", state=pb.SESSION_STATE_ACTIVE)

        async def storage_of_a_call() -> str:
            return (await world.route(trunk.trunk.login, trunk.password)).session.storage_id

        async def sign_in(wanted: str = "") -> str:
            request = admin.StartAddAccountRequest(phone="+491711234568", storage_id=wanted)
            answer: admin.StartAddAccountResponse = await world.wire.admin.StartAddAccount(request)
            return answer.sign_in_id.partition(":")[0]

        await other.beat(pb.Heartbeat(sessions=[waiting, more]))
        assert await sign_in() == "storage-1"
        await world.storage.beat(pb.Heartbeat(sessions=[active], draining=True))  # a call of the session is up
        assert await storage_of_a_call() == "storage-1"
        assert await sign_in() == "storage-2"
        told = "Session Storage is about to end: try again in a minute"
        assert await mistake(sign_in("storage-1")) == (PRECONDITION, f"that {told}")

        await world.storage.beat(pb.Heartbeat(draining=True))  # let go: a Worker looks for it at the other
        there = other_server.hello().storage.address
        await world.worker.config(lambda config: [s.storage_address for s in config.sessions] == [there])
        await world.storage.beat(pb.Heartbeat(sessions=[active], draining=True))
        await other.beat(pb.Heartbeat(sessions=[active, more]))  # the first one's last word is late
        assert await storage_of_a_call() == "storage-2"
        await other.beat(pb.Heartbeat(sessions=[active, more], draining=True))
        assert await mistake(sign_in()) == (PRECONDITION, f"every {told}")
    finally:
        await other_server.server.stop(0)


async def test_an_account_signs_in_with_code_and_password(world: World) -> None:
    start, submit = world.wire.admin.StartAddAccount, world.wire.admin.SubmitAccountCode
    code, text = await mistake(start(admin.StartAddAccountRequest(phone="0171 123")))
    assert (code, text) == (INVALID, '"0171 123" is not a phone number: write it with + and country code')
    await start(admin.StartAddAccountRequest(phone="+49 171 1234567"))
    assert world.storage_server.phones == ["+491711234567"]
    wrong = await mistake(submit(admin.SubmitAccountCodeRequest(sign_in_id="storage-1:sign-in", code="0")))
    assert wrong == (INVALID, "the code is wrong: start again")

    world.storage_server.two_step = True
    wanted = await submit(admin.SubmitAccountCodeRequest(sign_in_id="storage-1:sign-in", code=CODE))
    assert not wanted.HasField("account")
    assert wanted.password_hint == "horse"
    password = admin.SubmitAccountPasswordRequest(sign_in_id="storage-1:sign-in", password=TWO_STEP)
    account = (await world.wire.admin.SubmitAccountPassword(password)).account
    assert (account.phone, account.username, account.name) == ("+491711234567", "Ann", "Ann Lee")
    assert (await mistake(world.wire.admin.SubmitAccountPassword(password)))[0] == MISSING, "it is over"

    world.storage_server.two_step = False
    await world.add_trunk()
    again = await world.add_account()
    assert (again.account_id, again.session_id, again.trunks) == (account.account_id, "storage-1/2", 1)
    assert len((await world.wire.admin.ListAccounts(admin.ListAccountsRequest())).accounts) == 1


async def test_removing_an_account_takes_session_and_trunks_along(world: World) -> None:
    await world.add_account()
    await world.add_trunk()
    await world.wire.admin.RemoveAccount(admin.RemoveAccountRequest(account="@Ann"))
    assert world.storage_server.removed == ["storage-1/1"]
    assert not (await world.wire.admin.ListTrunks(admin.ListTrunksRequest())).trunks
    code, text = await mistake(world.wire.admin.RemoveAccount(admin.RemoveAccountRequest(account="@Ann")))
    assert (code, text) == (MISSING, "there is no account @Ann: teletrunk account list shows them")

    await world.add_account()
    await world.storage.leave()
    await world.wire.admin.RemoveAccount(admin.RemoveAccountRequest(account="+491711234567"))
    assert not (await world.wire.admin.ListAccounts(admin.ListAccountsRequest())).accounts
    await world.process.line_with("not signed out at Telegram")
    code, text = await mistake(world.wire.admin.StartAddAccount(admin.StartAddAccountRequest(phone="+491711234567")))
    assert (code, text) == (PRECONDITION, "no Session Storage is attached: start one first (teletrunk up)")


async def test_trunks_and_mistakes_with_them(world: World) -> None:
    account = await world.add_account()
    first, second = await world.add_trunk(), await world.add_trunk()
    assert (first.trunk.login, second.trunk.login) == ("ann", "ann-2")
    assert first.trunk.account_id == account.account_id
    assert first.trunk.sip_address == "127.0.0.1:5060"
    assert list(first.trunk.codecs) == ["PCMA", "PCMU", "G722"]
    assert len(first.password) == 20
    add = world.wire.admin.AddTrunk
    for wrong, code, said in (
        (admin.AddTrunkRequest(account="nobody"), MISSING, "there is no account nobody"),
        (admin.AddTrunkRequest(account="@ann", login="ann"), TAKEN, "the login ann is taken"),
        (admin.AddTrunkRequest(account="@ann", login="a b"), INVALID, "'a b' is not a login"),
        (admin.AddTrunkRequest(account="@ann", codecs=["OPUS"]), INVALID, "the Workers' SIP library has no OPUS"),
        (admin.AddTrunkRequest(account="@ann", priority=9999), INVALID, "the priority 9999 is too high"),
    ):
        got, text = await mistake(add(wrong))
        assert got == code
        assert text.startswith(said)
        assert "\n" not in text
    unknown = await mistake(world.wire.admin.RemoveTrunk(admin.RemoveTrunkRequest(trunk="x")))
    assert unknown == (MISSING, "there is no trunk x: teletrunk trunk list shows them")
    logged = "".join(world.process.lines)
    assert first.password not in logged
    assert second.password not in logged


async def test_each_line_of_a_call_says_whose_it_is(world: World) -> None:
    account = await world.add_account()
    trunk = await world.add_trunk("office")
    whose = {"account_id": account.account_id, "trunk_id": trunk.trunk.trunk_id, "login": "office"}
    await world.route("office", trunk.password, call_id="c1")
    assert await refusal(world.route("office", trunk.password, called="nobody!", call_id="c2"))
    assert await refusal(world.route("office", "wrong", call_id="c3")) == ("wrong-password", "")
    await world.rings(account.session_id)
    await world.process.line_with('"call_id": "in"')
    lines = [json.loads(line) for line in world.process.lines if '"call_id"' in line]
    told = {line["call_id"]: line for line in lines if line["event"] in ("call routed", "call refused")}
    assert whose.items() <= told["c1"].items()
    assert (whose | {"worker_id": "", "row": "user-not-found"}).items() <= told["c2"].items()
    assert told["c3"]["login"] == "office" and "trunk_id" not in told["c3"], "who has not shown a password"
    assert (told["in"]["account_id"], told["in"]["trunks"]) == (account.account_id, [trunk.trunk.trunk_id])


async def test_a_pbx_registers(world: World) -> None:
    await world.add_account()
    trunk = await world.add_trunk("office")
    for algorithm in ("SHA-256", "MD5"):
        answer = await world.register("office", trunk.password, algorithm)
        assert (answer.trunk_id, answer.login) == (trunk.trunk.trunk_id, "office")
    assert await refusal(world.register("office", "wrong")) == ("wrong-password", "")
    assert await refusal(world.register("nobody", trunk.password)) == ("login-not-found", "")

    reset = await world.wire.admin.ResetTrunkPassword(admin.ResetTrunkPasswordRequest(trunk="office"))
    assert await refusal(world.register("office", trunk.password)) == ("wrong-password", "")
    await world.register("office", reset.password)

    await world.report(pb.SESSION_STATE_UNAUTHORIZED, "SESSION_REVOKED")
    assert await refusal(world.register("office", reset.password)) == ("account-inactive", "SESSION_REVOKED")
    await world.storage.leave()
    assert await refusal(world.register("office", reset.password)) == ("storage-off", "")


async def test_a_call_to_telegram_is_routed(world: World) -> None:
    account = await world.add_account()
    trunk = await world.add_trunk("office")
    answer = await world.route("office", trunk.password)
    assert (answer.trunk_id, answer.account_id) == (trunk.trunk.trunk_id, account.account_id)
    assert answer.session.session_id == "storage-1/1"
    assert answer.session.storage_address == world.storage_server.hello().storage.address
    assert list(answer.codecs) == ["PCMA", "PCMU", "G722"]
    assert [(step.source, step.target) for step in answer.steps] == [("worker", "manager"), ("manager", "worker")]
    assert answer.steps[1].text == "route: account +491711234567, the phone +491700000001"
    assert abs(answer.steps[0].at - time.time()) < 5

    unreadable = await refusal(world.route("office", trunk.password, "not a number!"))
    assert unreadable == ("user-not-found", "not a phone, @username or user id")
    assert await refusal(world.route("office", "wrong")) == ("wrong-password", "")
    assert await refusal(world.route("nobody", "wrong")) == ("login-not-found", "")
    await world.report(pb.SESSION_STATE_UNAUTHORIZED, "AUTH_KEY_UNREGISTERED")
    assert await refusal(world.route("office", trunk.password)) == ("session-disconnected", "AUTH_KEY_UNREGISTERED")
    await world.report(pb.SESSION_STATE_CONNECTING)
    assert await refusal(world.route("office", trunk.password)) == ("session-disconnected", "")
    await world.report(pb.SESSION_STATE_UNSPECIFIED)
    assert await refusal(world.route("office", trunk.password)) == ("no-active-session", "")
    await world.storage.leave()
    assert await refusal(world.route("office", trunk.password)) == ("storage-unreachable", "")


async def test_a_call_from_telegram_is_offered_tier_by_tier(world: World) -> None:
    account = await world.add_account()
    for login, priority in (("late", 5), ("first-b", 0), ("first-a", 0)):
        await world.add_trunk(login, priority)

    def ask(caller: call_pb2.Peer, session_id: str = "storage-1/1") -> grpc.aio.UnaryUnaryCall:
        request = pb.RouteIncomingRequest(call_id="c", session_id=session_id, caller=caller)
        return world.wire.manager.RouteIncoming(request)

    answer = await ask(call_pb2.Peer(user_id=9, first_name="Bob", last_name="Ray", username="bob"))
    assert [[target.login for target in tier.targets] for tier in answer.tiers] == [["first-a", "first-b"], ["late"]]
    assert (answer.account_id, answer.caller_id, answer.caller_name) == (account.account_id, "bob", "Bob Ray")
    assert answer.steps[1].text == "route: account +491711234567, 3 trunk(s)"
    assert (await refusal(ask(call_pb2.Peer(user_id=7001))))[0] == "caller-is-gateway"
    assert (await refusal(ask(call_pb2.Peer(user_id=9), "gone")))[0] == "worker-unavailable"


async def test_workers_learn_of_every_change_within_a_second(world: World) -> None:
    await world.add_account()
    config = await world.worker.config(lambda config: len(config.sessions) == 1)
    assert config.sessions[0].storage_address == world.storage_server.hello().storage.address
    trunk = await world.add_trunk()
    await world.worker.config(lambda config: list(config.trunk_ids) == [trunk.trunk.trunk_id])

    await world.storage.leave()
    await world.worker.config(lambda config: not config.sessions)
    world.storage = Attachment(world.wire, world.storage_server.hello())
    await world.worker.config(lambda config: len(config.sessions) == 1)
    late = Attachment(world.wire, worker_hello("worker-2"))
    await late.config(lambda config: len(config.sessions) == 1 and len(config.trunk_ids) == 1)

    await world.wire.admin.RemoveTrunk(admin.RemoveTrunkRequest(trunk=trunk.trunk.login))
    await asyncio.gather(*(each.config(lambda config: not config.trunk_ids) for each in (world.worker, late)))


async def test_a_record_is_stored_once_and_found_by_its_beginning(world: World) -> None:
    records = [
        call_pb2.CallRecord(
            call_id=call_id,
            invited_at=at,
            caller="office",
            called="@bob",
            steps=[call_pb2.CallStep(at=at, source="pbx", target="worker", text="INVITE")],
        )
        for call_id, at in (("abc-1", 10.0), ("abd-2", 20.0), ("abd", 15.0))
    ]
    for record in (*records, records[0]):
        await world.wire.manager.ReportCall(pb.ReportCallRequest(record=record))
    calls = (await world.wire.admin.ListCalls(admin.ListCallsRequest())).calls
    assert [(call.call_id, len(call.steps)) for call in calls] == [("abd-2", 0), ("abd", 0), ("abc-1", 0)]
    assert len((await world.wire.admin.ListCalls(admin.ListCallsRequest(limit=1))).calls) == 1

    async def found(call_id: str) -> call_pb2.CallRecord:
        record: call_pb2.CallRecord = (await world.wire.admin.GetCall(admin.GetCallRequest(call_id=call_id))).record
        return record

    assert await found("abc") == records[0]
    assert await found("last") == records[1]
    assert await found("abd") == records[2], "a whole id is no beginning"
    code, text = await mistake(world.wire.admin.GetCall(admin.GetCallRequest(call_id="ab")))
    assert (code, text) == (INVALID, "several calls begin or end with ab: give more of the id")
    code, text = await mistake(world.wire.admin.GetCall(admin.GetCallRequest(call_id="%")))
    assert (code, text) == (MISSING, "there is no call %: teletrunk call list shows them")


async def test_a_restart_keeps_everything(world: World, tmp_path: Path) -> None:
    await world.add_account()
    trunk = await world.add_trunk("office")
    await world.wire.manager.ReportCall(
        pb.ReportCallRequest(record=call_pb2.CallRecord(call_id="kept", invited_at=1.0, caller="office"))
    )
    await world.restart()
    await world.report(pb.SESSION_STATE_ACTIVE)
    await world.register("office", trunk.password)
    assert (await world.route("office", trunk.password)).session.session_id == "storage-1/1"
    await world.worker.config(lambda config: len(config.sessions) == 1)
    assert (await world.wire.admin.GetCall(admin.GetCallRequest(call_id="last"))).record.caller == "office"
    data = tmp_path / "data"
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert trunk.password.encode() not in b"".join(file.read_bytes() for file in data.glob("manager.db*"))


async def test_it_does_not_start_as_it_is_set_up(world: World, tmp_path: Path) -> None:
    newer = tmp_path / "newer"
    newer.mkdir()
    with sqlite3.connect(newer / "manager.db") as database:
        database.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        database.execute("INSERT INTO alembic_version VALUES ('9999')")
    database.close()
    cut = tmp_path / "cut" / "secrets"
    cut.mkdir(parents=True)
    (cut / "manager.key").write_bytes(b"short")
    refused = [
        (ManagerProcess(newer), "the database is of a newer Teletrunk (schema 9999)"),
        (ManagerProcess(tmp_path / "cut"), "is not a key of 32 bytes"),
        (ManagerProcess(tmp_path / "a", TELETRUNK_MANAGER_ADDRESS="nonsense"), "TELETRUNK_MANAGER_ADDRESS: must be"),
        (ManagerProcess(tmp_path / "b", TELETRUNK_MANAGER_ADDRESS=world.process.address), "is in use"),
        (ManagerProcess(tmp_path / "c", TELETRUNK_DATABASE_URL="sqlite+aiosqlite:////none/x.db"), "cannot be used"),
    ]
    results = await asyncio.gather(*(process.refused() for process, _ in refused))
    for (status, said), (_, expected) in zip(results, refused, strict=True):
        assert status == 2
        assert said.startswith("teletrunk manager: ")
        assert expected in said
        assert said.count("\n") == 1


async def test_it_does_not_start_with_a_key_that_opens_no_password(world: World) -> None:
    await world.add_account()
    await world.add_trunk("office")
    assert await world.process.stop() == 0
    key = world.process.data / "secrets" / "manager.key"
    right = key.read_bytes()
    key.write_bytes(bytes(32))
    status, said = await world.process.refused()
    assert status == 2 and "sealed with another key: put the right file back" in said and said.count("\n") == 1
    key.write_bytes(right)
    await world.process.start()


async def test_a_service_that_leaves_was_last_seen_when_it_left(world: World) -> None:
    began = time.time()
    await world.worker.beat()
    world.worker.stream.cancel()
    async with asyncio.timeout(5):
        while True:
            services = (await world.wire.admin.ListServices(admin.ListServicesRequest())).services
            worker = next(service for service in services if service.kind == "worker")
            if not worker.attached and worker.last_seen >= began:
                break
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
async def test_a_database_that_fails_is_said_so(world: World, tmp_path: Path) -> None:
    await world.add_account()
    trunk = await world.add_trunk("office")
    with sqlite3.connect(tmp_path / "data" / "manager.db") as database:
        database.execute("ALTER TABLE trunks RENAME TO lost")
    database.close()
    assert await refusal(world.register("office", trunk.password)) == ("database-error", "")
    assert (await refusal(world.wire.admin.ListTrunks(admin.ListTrunksRequest())))[0] == "database-error"


@pytest.mark.parametrize("silent", [False, True], ids=["crashed", "silent"])
@pytest.mark.parametrize("world", ["postgresql"], indirect=True)
async def test_postgresql_goes_away_under_a_live_manager_and_comes_back(
    world: World, postgres: Postgres, silent: bool
) -> None:
    await world.add_account()
    trunk = await world.add_trunk("office")
    await world.register("office", trunk.password)
    postgres.freeze() if silent else postgres.stop()
    try:
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert await refusal(world.register("office", trunk.password)) == ("database-error", "")
        assert loop.time() - began < 12  # two deadlines of the driver
    finally:
        postgres.thaw() if silent else postgres.start()
    async with asyncio.timeout(20):
        while True:
            try:
                assert (await world.register("office", trunk.password)).login == "office"
                break
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.1)
