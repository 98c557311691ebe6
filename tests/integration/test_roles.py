"""Who may ask what of the REST API: every route that there is, with every role."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from teletrunk.rest import Role
from teletrunk.v1.manager_pb2 import AttachRequest, Binding, BindingsAnswer, Heartbeat, LiveCall

from tests.integration.manager_world import World
from tests.integration.rest_world import Api
from tests.servers import free_port

# The verdicts: who may at least. What concerns the whole installation, to look at or to change, is the owners'; the
# others have to do with accounts that are theirs or shared with them. A route without a line here fails the test.
VERDICTS = {
    ("GET", "/v1/accounts"): Role.viewer,
    ("POST", "/v1/sign-ins"): Role.administrator,
    ("POST", "/v1/sign-ins/{sign_in_id}/code"): Role.administrator,
    ("POST", "/v1/sign-ins/{sign_in_id}/password"): Role.administrator,
    ("GET", "/v1/accounts/{account}"): Role.viewer,
    ("GET", "/v1/accounts/{account}/check"): Role.viewer,
    ("GET", "/v1/trunks/{trunk}"): Role.viewer,
    ("GET", "/v1/services/{service_id}"): Role.owner,
    ("GET", "/v1/subscriptions/{subscription}"): Role.owner,
    ("POST", "/v1/sign-ins/{sign_in_id}/resend"): Role.administrator,
    ("POST", "/v1/accounts/{account}/retry"): Role.administrator,
    ("DELETE", "/v1/accounts/{account}"): Role.administrator,
    ("PUT", "/v1/accounts/{account}/shares/{administrator}"): Role.administrator,
    ("DELETE", "/v1/accounts/{account}/shares/{administrator}"): Role.administrator,
    ("PUT", "/v1/accounts/{account}/owner"): Role.administrator,
    ("PUT", "/v1/accounts/{account}/workers"): Role.administrator,
    ("PUT", "/v1/accounts/{account}/subscription"): Role.owner,
    ("GET", "/v1/trunks"): Role.viewer,
    ("POST", "/v1/trunks"): Role.administrator,
    ("POST", "/v1/trunks/{trunk}/password"): Role.administrator,
    ("PATCH", "/v1/trunks/{trunk}"): Role.administrator,
    ("POST", "/v1/trunks/{trunk}/test-number"): Role.administrator,
    ("DELETE", "/v1/trunks/{trunk}"): Role.administrator,
    ("PUT", "/v1/trunks/{trunk}/trusted"): Role.administrator,
    ("GET", "/v1/calls"): Role.viewer,
    ("GET", "/v1/calls/{call_id}"): Role.viewer,
    ("GET", "/v1/live-calls"): Role.viewer,
    ("POST", "/v1/live-calls/{call_id}/digits"): Role.administrator,
    ("DELETE", "/v1/live-calls/{call_id}"): Role.administrator,
    ("GET", "/v1/services"): Role.owner,
    ("DELETE", "/v1/services/{service_id}"): Role.owner,
    ("POST", "/v1/services/{service_id}/removal"): Role.owner,
    ("PUT", "/v1/services/{service_id}/name"): Role.owner,
    ("POST", "/v1/storages/{storage_id}/approval"): Role.owner,
    ("POST", "/v1/invitations"): Role.owner,
    ("GET", "/v1/invitations"): Role.owner,
    ("DELETE", "/v1/invitations/{id}"): Role.owner,
    ("GET", "/v1/join-tokens"): Role.owner,
    ("POST", "/v1/join-tokens"): Role.owner,
    ("DELETE", "/v1/join-tokens/{id}"): Role.owner,
    ("PUT", "/v1/workers/{worker_id}/drain"): Role.owner,
    ("GET", "/v1/bans"): Role.owner,
    ("DELETE", "/v1/bans"): Role.owner,
    ("GET", "/v1/subscriptions"): Role.owner,
    ("POST", "/v1/subscriptions"): Role.owner,
    ("PUT", "/v1/subscriptions/{subscription}"): Role.owner,
    ("DELETE", "/v1/subscriptions/{subscription}"): Role.owner,
    ("GET", "/v1/changes"): Role.owner,
    ("GET", "/v1/tokens"): Role.owner,
    ("POST", "/v1/tokens"): Role.owner,
    ("DELETE", "/v1/tokens/{name}"): Role.owner,
    ("POST", "/v1/qr-sign-ins"): Role.administrator,
    ("POST", "/v1/qr-sign-ins/{sign_in_id}/wait"): Role.administrator,
    ("GET", "/v1/tokens/{name}"): Role.owner,
    ("GET", "/v1/webhook-failures"): Role.owner,
    ("POST", "/v1/webhooks/{webhook_id}/ping"): Role.owner,
    ("GET", "/v1/webhooks"): Role.owner,
    ("POST", "/v1/webhooks"): Role.owner,
    ("DELETE", "/v1/webhooks/{webhook_id}"): Role.owner,
}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    port = free_port()
    world = World(tmp_path / "data", TELETRUNK_API_ADDRESS=f"127.0.0.1:{port}")
    await world.start()
    api = Api(world, port)
    for role in Role:
        await api.token(role.name, role.name)
    try:
        yield api
    finally:
        await world.stop()


async def routes(api: Api) -> set[tuple[str, str]]:
    async with httpx.AsyncClient(base_url=api.url) as client:
        described = (await client.get("/openapi.json")).json()
    return {(verb.upper(), path) for path, verbs in described["paths"].items() for verb in verbs}


async def test_every_route_has_its_verdict_and_keeps_it(api: Api) -> None:
    assert await routes(api) == set(VERDICTS), "a new route needs a verdict"
    for (verb, path), least in VERDICTS.items():
        path = path.replace("{", "").replace("}", "")
        body: dict[str, Any] | None = {} if verb in ("POST", "PUT", "PATCH") else None
        assert (await api.ask(verb, path, who="nobody", body=body))[0] == 401, path
        for role in Role:
            status, problem = await api.ask(verb, path, who=role.name, body=body)
            refused = (403, f"{role.name} is {role.name}, and this is for {least.name}s")
            if role < least:
                assert (status, problem["error"]) == refused, (verb, path)
            else:
                assert status not in (401, 403) and status < 500, (verb, path, role.name, problem)


async def test_who_may_not_carries_nothing_out(api: Api) -> None:
    drain = "/v1/workers/worker-1/drain"
    assert (await api.ask("PUT", drain, who="administrator", body={"on": True}))[0] == 403
    assert (await api.ask("GET", "/v1/changes", who="owner"))[1]["changes"][0]["kind"] != "drains"
    assert (await api.ask("PUT", drain, who="owner", body={"on": True}))[0] == 204
    assert (await api.ask("GET", "/v1/changes", who="owner"))[1]["changes"][0]["kind"] == "drains"


async def test_who_may_only_look_lets_telegram_be_asked_once(api: Api) -> None:
    account = await api.world.add_account()
    assert (await api.ask("PUT", "/v1/accounts/@ann/shares/viewer", who="owner", body={}))[0] == 204
    check = f"/v1/accounts/{account.account_id}/check"
    assert (await api.ask("GET", check, who="viewer"))[0] >= 500, "what fails is not kept"
    answers = await asyncio.gather(*(api.ask("GET", check, who="viewer") for _ in range(8)))
    assert answers == [(200, {"call_audience": "CALL_AUDIENCE_CONTACTS"})] * 8
    assert api.world.storage_server.audience_asked == 2


async def test_who_shares_an_account_ends_no_calls_of_others(api: Api) -> None:
    account = await api.world.add_account()
    await api.token("sharer", "administrator")
    owned = {"administrator": "administrator"}
    assert (await api.ask("PUT", "/v1/accounts/@ann/owner", who="owner", body=owned))[0] == 204
    assert (await api.ask("PUT", "/v1/accounts/@ann/shares/sharer", who="administrator", body={}))[0] == 204
    made = {"account": "@ann", "login": "sharers"}
    trunk = (await api.ask("POST", "/v1/trunks", who="sharer", body=made))[1]["trunk"]
    up: dict[str, Any] = {"account_id": account.account_id, "answered_at": 1.0}
    calls = [LiveCall(call_id="theirs", **up), LiveCall(call_id="own", trunk_id=trunk["trunk_id"], **up)]
    await api.world.worker.beat(Heartbeat(calls=calls))
    assert len((await api.ask("GET", "/v1/live-calls", who="sharer"))[1]["calls"]) == 2
    digits = {"digits": "1"}
    for call, status in (("theirs", 403), ("own", 204)):
        assert (await api.ask("POST", f"/v1/live-calls/{call}/digits", who="sharer", body=digits))[0] == status
        assert (await api.ask("DELETE", f"/v1/live-calls/{call}", who="sharer"))[0] == status
    assert (await api.ask("DELETE", "/v1/live-calls/theirs", who="administrator"))[0] == 204
    assert (await api.ask("DELETE", "/v1/live-calls/theirs", who="owner"))[0] == 204


async def test_where_a_trunk_is_registered_is_shown_to_its_administrator(api: Api) -> None:
    await api.world.add_account()
    for who in ("administrator", "viewer"):
        assert (await api.ask("PUT", f"/v1/accounts/@ann/shares/{who}", who="owner", body={}))[0] == 204
    made = {"account": "@ann", "login": "office"}
    trunk = (await api.ask("POST", "/v1/trunks", who="administrator", body=made))[1]["trunk"]
    await api.token("watch", "viewer", scope="all")
    await api.world.worker.beat(Heartbeat(registered_trunk_ids=[trunk["trunk_id"]], tells_bindings=True))

    async def answer() -> None:
        while True:
            question = (await api.world.worker.response("bindings_question")).bindings_question
            told = BindingsAnswer(question_id=question.question_id, bindings=[Binding(contact="sip:1@192.0.2.7")])
            api.world.worker.say(AttachRequest(bindings=told))

    answering = asyncio.create_task(answer())
    for who in ("administrator", "watch", "owner"):
        status, shown = await api.ask("GET", "/v1/trunks/office", who=who)
        assert status == 200 and shown["trunk"]["bindings"][0]["contact"] == "sip:1@192.0.2.7", who
    answering.cancel()
    assert (await api.ask("GET", "/v1/trunks/office", who="viewer"))[0] == 404, "an account is shared, and not a trunk"


async def test_one_administrator_starts_so_many_sign_ins(api: Api) -> None:
    """Each draws a code to a phone, and makes room for itself among everybody's."""
    sign_in = {"phone": "+491711234567"}
    begun = [(await api.ask("POST", "/v1/sign-ins", who="administrator", body=sign_in))[0] for _ in range(12)]
    assert begun == [201] * 10 + [429] * 2
    assert len(api.world.storage_server.phones) == 10
    await api.token("another", "administrator")
    assert (await api.ask("POST", "/v1/sign-ins", who="another", body=sign_in))[0] == 201
    assert [(await api.ask("POST", "/v1/sign-ins", who="owner", body=sign_in))[0] for _ in range(12)] == [201] * 12


async def test_no_role_breaks_anything_or_touches_what_is_not_its_own(api: Api, tmp_path: Path) -> None:
    """Generated requests to every route. As an owner: `test_api.py`."""
    await api.world.add_account()
    trunk = (await api.world.add_trunk("office")).trunk
    subscribed = {"name": "plan", "limits": {"lines": 2}}
    assert (await api.ask("POST", "/v1/subscriptions", who="owner", body=subscribed))[0] == 201
    for role, seed in ((Role.viewer, 1), (Role.administrator, 2)):
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).parent / "schemathesis"), "run", f"{api.url}/openapi.json",
            "--header", f"Authorization: Bearer {api.tokens[role.name]}", "--max-examples", "1", "--seed", str(seed),
            "--phases", "fuzzing", "--checks", "not_a_server_error,status_code_conformance,content_type_conformance,"
            "response_schema_conformance", "--no-color", "--warnings", "off",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=tmp_path,
        )  # fmt: skip
        out, _ = await asyncio.wait_for(process.communicate(), 240)
        assert process.returncode == 0, out.decode()[-9000:]
    changes = (await api.ask("GET", "/v1/changes?limit=500", who="owner"))[1]["changes"]
    assert not [change for change in changes if change["who"] == "viewer"]
    theirs = {change["kind"] for change in changes if change["who"] == "administrator"}
    assert theirs <= {"accounts", "trunks", "trusted_addresses", "shares", "assignments"}
    listed = (await api.ask("GET", "/v1/trunks/office", who="owner"))[1]["trunk"]
    assert (listed["trunk_id"], listed["version"]) == (trunk.trunk_id, trunk.version)


async def test_the_doctor_looks_at_what_an_administrator_may_see(api: Api) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "teletrunk.cli.main", "doctor", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=os.environ | {"TELETRUNK_API_URL": api.url, "TELETRUNK_API_TOKEN": api.tokens["administrator"]},
    )  # fmt: skip
    out, _ = await asyncio.wait_for(process.communicate(), 20)
    said = out.decode()
    assert "Services, bans and plans are shown to owners only" in said
    assert "no Telegram account is yours or shared with you" in said and "worker" not in said


async def _peer(api: Api, who: str, login: str, **pbx: str) -> str:
    """Makes a trunk that is known by its address; what the Manager says against it."""
    options = {"kind": "TRUNK_KIND_PEER", "pbx": pbx}
    body = {"account": "@ann", "login": login, "options": options}
    status, answer = await api.ask("POST", "/v1/trunks", who=who, body=body)
    assert status in (201, 400), answer
    return str(answer.get("error", ""))


async def test_nobody_claims_the_address_of_another_administrators_pbx(api: Api) -> None:
    """What comes from there without a password would be the thief's call."""
    await api.token("thief", "administrator")
    account = await api.world.add_account()
    for who in ("administrator", "thief"):
        path = f"/v1/accounts/{account.account_id}/shares/{who}"
        assert (await api.ask("PUT", path, who="owner", body={}))[0] == 204
    assert await _peer(api, "administrator", "victim", address="192.0.2.10:5060") == ""
    taken = "192.0.2.10/32 is a PBX of another administrator's: let it register"
    assert (await _peer(api, "thief", "a", address="192.0.2.10")).startswith(taken)
    assert (await _peer(api, "thief", "a", address="192.0.2.10", header="Max-Forwards: 70")).startswith(taken)
    assert "(trunk victim)" in await _peer(api, "owner", "a", address="192.0.2.10"), "owners see whose it is"
    assert await _peer(api, "administrator", "second", address="192.0.2.10", header="X-Trunk: two") == ""

    assert await _peer(api, "thief", "a", address="198.51.100.7") == ""
    for network, objection in (
        ("192.0.2.0/28", "192.0.2.0/28 is a PBX of another administrator's"),
        ("0.0.0.0/0", "0.0.0.0/0 is too large"),
    ):
        status, problem = await api.ask("PUT", "/v1/trunks/a/trusted", who="thief", body={"addresses": [network]})
        assert status == 400 and objection in problem["error"]
    elsewhere = {"options": {"pbx": {"address": "192.0.2.10"}}, "changed_options": ["pbx"]}
    status, problem = await api.ask("PATCH", "/v1/trunks/a", who="thief", body=elsewhere)
    assert status == 400 and problem["error"].startswith(taken)

    registers = {"account": "@ann", "login": "b"}
    assert (await api.ask("POST", "/v1/trunks", who="thief", body=registers))[0] == 201
    everywhere = {"addresses": ["0.0.0.0/0"]}
    assert (await api.ask("PUT", "/v1/trunks/b/trusted", who="thief", body=everywhere))[0] == 204
    becomes = {"options": {"kind": "TRUNK_KIND_PEER", "pbx": {"address": "198.51.100.8"}}}
    status, problem = await api.ask(
        "PATCH", "/v1/trunks/b", who="thief", body=becomes | {"changed_options": ["kind", "pbx"]}
    )
    assert status == 400 and "0.0.0.0/0 is too large" in problem["error"]
    trunk = (await api.ask("GET", "/v1/trunks/b", who="thief"))[1]["trunk"]
    assert "kind" not in trunk["options"] or trunk["options"]["kind"] == "TRUNK_KIND_UNSPECIFIED"
