"""The REST API of the real Manager: tokens, roles, repeated requests; the command far from the Manager."""

from __future__ import annotations

import asyncio
import base64
import csv
import datetime
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from teletrunk.rest import ROUTES
from teletrunk.v1 import call_pb2
from teletrunk.v1 import manager_pb2 as pb
from teletrunk_manager.api.words import words

from tests.integration.manager_process import LOGIN_URL, TWO_STEP, refusal
from tests.integration.rest_world import Api

# Each Manager costs seconds: what is said is asked of one kind of database, what is stored of both.
ON_SQLITE = pytest.mark.parametrize("api", ["sqlite"], indirect=True)
ON_POSTGRESQL = pytest.mark.parametrize("api", ["postgresql"], indirect=True)  # its numbers have limits


def test_every_rpc_for_people_has_its_route() -> None:
    people = {"AdminService", "FleetService", "LiveCallService", "SubscriptionService"}
    modules = {route.module for route in ROUTES}
    services = [s for m in modules for name, s in m.DESCRIPTOR.services_by_name.items() if name in people]
    assert {method.name for service in services for method in service.methods} == {route.rpc for route in ROUTES}


def test_the_protos_say_what_every_rpc_and_field_is() -> None:
    seen: set[str] = set()

    def fields(message: Any) -> Iterator[str]:
        if message.full_name not in seen:
            seen.add(message.full_name)
            for field in message.fields:
                yield field.full_name
                yield from fields(field.message_type) if field.message_type else ()

    for route in ROUTES:
        rpcs = [m for s in route.module.DESCRIPTOR.services_by_name.values() for m in s.methods if m.name == route.rpc]
        named = [rpc.full_name for rpc in rpcs]
        named += [*fields(route.request.DESCRIPTOR), *fields(route.response.DESCRIPTOR)]
        assert not [name for name in named if name not in words()], route.rpc


@ON_SQLITE
async def test_roles(api: Api) -> None:
    await api.token("eve", "viewer")
    await api.token("ann", "administrator")
    assert (await api.ask("GET", "/v1/accounts", who="nonsense"))[0] == 401
    assert await api.ask("GET", "/v1/accounts", who="eve") == (200, {"accounts": [], "next": ""})
    status, problem = await api.ask("POST", "/v1/trunks", who="eve", body={"account": "@x"})
    assert (status, problem["error"]) == (403, "eve is viewer, and this is for administrators")
    assert (await api.ask("POST", "/v1/trunks", who="ann", body={"account": "@x"}))[0] == 404
    for verb, path, body in (  # plans are what administrators are held to
        ("POST", "/v1/subscriptions", {"name": "p"}),
        ("PUT", "/v1/subscriptions/p", {}),
        ("DELETE", "/v1/subscriptions/p", None),
        ("PUT", "/v1/accounts/@x/subscription", {}),
    ):
        assert (await api.ask(verb, path, who="ann", body=body))[0] == 403
    assert (await api.ask("POST", "/v1/subscriptions", body={"name": "p"}))[0] == 201
    assert (await api.ask("GET", "/v1/tokens", who="ann"))[0] == 403
    listed = (await api.ask("GET", "/v1/tokens"))[1]
    assert [token["name"] for token in listed["tokens"]] == ["ann", "eve", "root"]
    assert not any(secret in json.dumps(listed) for secret in api.tokens.values())
    assert await api.ask("DELETE", "/v1/tokens/eve") == (200, {"accounts": 0, "trunks": 0})
    assert (await api.ask("GET", "/v1/accounts", who="eve"))[0] == 401, "at once"
    logged = "".join(api.world.process.lines)
    assert not any(secret in logged for secret in api.tokens.values())


async def test_a_request_that_is_repeated_with_its_key_is_done_once(api: Api) -> None:
    await api.world.add_account()
    body = {"account": "@ann"}
    first, again = [await api.ask("POST", "/v1/trunks", key="k1", body=body) for _ in range(2)]
    assert first == again
    assert first[0] == 201
    assert len((await api.ask("GET", "/v1/trunks"))[1]["trunks"]) == 1
    assert (await api.ask("POST", "/v1/trunks", key="k1", body={"account": "@ann", "priority": 3}))[0] == 400
    many = await asyncio.gather(*(api.ask("POST", "/v1/trunks", key="k2", body=body) for _ in range(8)))
    assert {status for status, _ in many} <= {201, 409}
    assert len((await api.ask("GET", "/v1/trunks"))[1]["trunks"]) == 2
    assert (await api.ask("POST", "/v1/trunks", key="k 3", body=body))[0] == 422


@ON_SQLITE
async def test_mistakes_are_told_as_they_are(api: Api) -> None:
    for verb, path, body, status, text in (
        ("POST", "/v1/trunks", {"account": "@nobody"}, 404, "there is no account @nobody"),
        ("POST", "/v1/trunks", {"acount": "@nobody"}, 422, "body.acount: is not known here"),
        (
            "POST",
            "/v1/trunks",
            {"account": "@x", "priority": 2**32},
            422,
            "body.priority: must be 4294967295 or less, not 4294967296",
        ),
        (
            "POST",
            "/v1/trunks",
            {"account": "@x", "priority": "high"},
            422,
            "body.priority: must be a whole number, not 'high'",
        ),
        ("POST", "/v1/trunks", {"account": "@x", "comment": "x" * 70_000}, 413, "send at most 65536 bytes"),
        ("GET", "/v1/calls/%00", None, 422, "call_id: must be"),
        ("DELETE", "/v1/bans?address=here", None, 400, "here is no address"),
        ("GET", "/v1/nothing", None, 404, "Not Found"),
    ):
        got, problem = await api.ask(verb, path, body=body)
        assert (got, problem["error"][: len(text)]) == (status, text)


@ON_SQLITE
async def test_problems_are_those_of_rfc_9457(api: Api) -> None:
    async with httpx.AsyncClient(base_url=api.url, headers={"Authorization": f"Bearer {api.tokens['root']}"}) as client:
        answer = await client.get("/v1/trunks/nowhere")
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
        text = "there is no trunk nowhere: GET /v1/trunks shows them"
        assert answer.json() == {
            "type": "about:blank", "title": "Not Found", "status": 404, "detail": text, "error_id": "", "remedy": "",
            "error": text,
        }  # fmt: skip
        refused = await client.post("/v1/sign-ins", json={"phone": "+491711234567", "storage_id": "nobody"})
        assert (refused.json()["status"], refused.headers["content-type"]) == (
            refused.status_code,
            answer.headers["content-type"],
        )
        assert (await client.head("/health")).status_code == (await client.get("/health")).status_code == 200
    account = await api.world.add_account()
    await api.world.storage_server.server.stop(0)
    status, problem = await api.ask("POST", f"/v1/accounts/{account.account_id}/retry", body={})
    assert (status, problem["error_id"]) == (503, "storage-unreachable")
    assert problem["remedy"] == "See that the Session Storage runs and that the Worker reaches its address."


async def test_each_thing_can_be_asked_for_by_itself(api: Api) -> None:
    account = await api.world.add_account()
    trunk = (await api.world.add_trunk("office")).trunk
    await api.ask("POST", "/v1/subscriptions", body={"name": "p"})
    assert (await api.ask("GET", "/v1/accounts/@ann"))[1]["account"]["account_id"] == account.account_id
    assert (await api.ask("GET", "/v1/trunks/office"))[1]["trunk"]["trunk_id"] == trunk.trunk_id
    assert (await api.ask("GET", "/v1/subscriptions/p"))[1]["subscription"]["name"] == "p"
    (one, *_) = (await api.ask("GET", "/v1/services"))[1]["services"]
    assert (await api.ask("GET", f"/v1/services/{one['id']}"))[1]["service"]["id"] == one["id"]
    await api.token("eve", "viewer")
    await api.token("bob", "administrator")
    assert (await api.ask("GET", "/v1/services/nobody"))[0] == (await api.ask("GET", "/v1/trunks/x"))[0] == 404
    assert (await api.ask("GET", "/v1/accounts/@ann", who="bob"))[0] == 404, "not theirs"
    assert (await api.ask("GET", "/v1/trunks/office", who="bob"))[0] == 404


async def test_a_patch_changes_what_it_names(api: Api) -> None:
    await api.world.add_account()
    assert (await api.ask("POST", "/v1/trunks", body={"account": "@ann", "login": "office"}))[0] == 201

    async def patched(**body: Any) -> dict[str, Any]:
        status, answer = await api.ask("PATCH", "/v1/trunks/office", body=body)
        assert status == 200, answer
        return dict(answer["trunk"])

    assert (await patched(options={"dtmf": "DTMF_METHOD_INFO"}))["options"]["dtmf"] == "DTMF_METHOD_INFO"
    pbx = {"address": "pbx.example", "transport": "tcp"}
    trunk = await patched(options={"pbx": pbx, "ptime_ms": 30}, comment="desk", priority=3)
    assert trunk["options"]["pbx"]["address"] == "pbx.example" and trunk["options"]["dtmf"] == "DTMF_METHOD_INFO"
    trunk = await patched(options={"pbx": {"transport": "udp"}})
    assert (trunk["options"]["pbx"]["address"], trunk["options"]["pbx"]["transport"]) == ("pbx.example", "udp")
    trunk = await patched(options={"ptime_ms": None}, comment=None)
    assert (trunk["options"]["ptime_ms"], trunk["comment"], trunk["priority"]) == (0, "", 3)
    told = {"dtmf": "DTMF_METHOD_INBAND", "hold": "HOLD_SOUND_MUSIC"}
    trunk = await patched(options=told, changed_options=["hold"])  # as before: who names them means those alone
    assert (trunk["options"]["dtmf"], trunk["options"]["hold"]) == ("DTMF_METHOD_INFO", "HOLD_SOUND_MUSIC")
    told = {"srtp": "required-insecure", "dtmf": "any"}  # the command's words
    trunk = await patched(options=told)
    assert (trunk["options"]["srtp"], trunk["options"]["dtmf"]) == (
        "SRTP_POLICY_REQUIRED_INSECURE",
        "DTMF_METHOD_UNSPECIFIED",
    )
    assert (await api.ask("GET", "/v1/calls?direction=to-sip"))[0] == 200
    status, problem = await api.ask("PATCH", "/v1/trunks/office", body={"options": {"srtp": "sometimes"}})
    assert (status, "must be one of" in problem["detail"]) == (422, True)
    assert (await patched(version=None, priority=0))["priority"] == 0
    body: dict[str, Any]
    for body in ({"codecs": []}, {"pbx_password": None}, {"options": None}):
        status, problem = await api.ask("PATCH", "/v1/trunks/office", body=body)
        assert (status, "cannot be taken away" in problem["detail"]) == (400, True), "and not as if it had been done"


@ON_SQLITE
async def test_what_a_path_allows_is_told(api: Api) -> None:
    root = {"Authorization": f"Bearer {api.tokens['root']}"}
    async with httpx.AsyncClient(base_url=api.url, headers=root) as client:
        for verb, path, allowed in (
            ("PUT", "/v1/trunks/office", "DELETE, GET, HEAD, PATCH"),
            ("DELETE", "/v1/trunks", "GET, HEAD, POST"),
            ("POST", "/health", "GET, HEAD"),
        ):
            answer = await client.request(verb, path)
            assert (answer.status_code, answer.headers["Allow"]) == (405, allowed)
        head = await client.head("/v1/trunks")
        assert (head.status_code, head.content) == (200, b"")
        assert (await client.get("/")).headers["Location"] == "docs"
        broken = await client.post(
            "/v1/trunks", content=b'{"account": "@ann"', headers={"Content-Type": "application/json"}
        )
        assert broken.json()["detail"].startswith("body: must be JSON (")
        await api.world.add_account()
        assert (await client.post("/v1/trunks", json={"account": "@ann", "login": "office"})).status_code == 201
        assert (await client.post("/v1/trunks/office/password")).status_code == 200, "nothing has to be said"
        assert (await client.post("/v1/trunks")).json()["detail"] == "body: is missing"
        page = (await client.get("/docs")).text
        for name in set(re.findall(r'href="#(type-[^"]+)"', page)):
            assert f'id="{name}"' in page, "what is named is shown"
        assert "SRTP_POLICY_REQUIRED_INSECURE" in page


@ON_SQLITE
async def test_who_asks_by_rest_is_told_of_rest(api: Api) -> None:
    await api.world.add_account()
    body = {"account": "@ann", "login": "office"}
    assert (await api.ask("POST", "/v1/trunks", body=body))[0] == 201
    status, problem = await api.ask("POST", "/v1/trunks", body=body)
    assert (status, problem["detail"]) == (409, "the login office is taken: choose another as login")
    told = (await api.ask("GET", "/v1/trunks/none"))[1]["detail"]
    assert told == "there is no trunk none: GET /v1/trunks shows them"
    async with httpx.AsyncClient(base_url=api.url, headers={"User-Agent": "teletrunk/1"}) as client:
        told = (await client.get("/v1/trunks")).json()["detail"]
        unknown = (await client.get("/v1/trunks", headers={"Authorization": "Bearer tt_x"})).json()["detail"]
    assert told == "give a token: Authorization: Bearer tt_... (teletrunk token add)"
    assert unknown.startswith("this token is not known, or was removed: ")


@ON_SQLITE
async def test_the_description_has_the_protos_words(api: Api) -> None:
    async with httpx.AsyncClient(base_url=api.url) as client:
        described = (await client.get("/openapi.json")).json()
        page = await client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    for elsewhere in ("src=", 'href="http', "url(", "@import"):
        assert elsewhere not in page.text, "all of it is here"
    for path in described["paths"]:
        assert f"<code>{path}</code>" in page.text
    change = described["paths"]["/v1/trunks/{trunk}"]["patch"]
    assert (change["tags"], change["summary"]) == (["trunks"], "Change trunk")
    assert "Changes what is given and leaves the rest." in change["description"]
    assert set(described["paths"]["/v1/trunks"]["post"]["responses"]) & {"200", "201"} == {"201"}
    assert "204" in described["paths"]["/v1/accounts/{account}"]["delete"]["responses"]
    operations = [operation for path in described["paths"].values() for operation in path.values()]
    assert all(operation["tags"] and operation["summary"] and operation["description"] for operation in operations)
    schemas = described["components"]["schemas"]
    assert set(schemas["AddTokenRequest"]["required"]) == {"name", "role"}
    assert schemas["AddTokenRequest"]["properties"]["role"]["enum"] == ["viewer", "administrator", "owner"]
    assert schemas["AddTrunkRequest"]["properties"]["account"]["examples"] == ["+15550100", "@anna"]
    assert {"off", "required-insecure", "SRTP_POLICY_REQUIRED"} <= set(schemas["SrtpPolicyGiven"]["enum"])
    assert all(word.startswith("SRTP_POLICY_") for word in schemas["SrtpPolicy"]["enum"]), "what is answered"
    assert "<code>required-insecure</code>" in page.text
    token = schemas["Token"]
    assert {"created_at", "created_at_rfc3339", "role"} <= set(token["required"]) <= set(token["properties"])
    assert "account" not in schemas["AwaitAccountQrResponse"].get("required", ())
    row = next(p for p in described["paths"]["/v1/calls"]["get"]["parameters"] if p["name"] == "row")
    assert row["description"] == "Only calls that ended with this row of the error contract."
    assert described["components"]["schemas"]["Trunk"]["properties"]["trusted_addresses"]["description"]


@ON_SQLITE
@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
async def test_what_strangers_may_read_is_made_once_and_sent_once(api: Api, path: str) -> None:
    async with httpx.AsyncClient(base_url=api.url) as client:
        whole = await client.get(path, headers={"Accept-Encoding": "identity"})
        packed = await client.get(path, headers={"Accept-Encoding": "gzip"})
        again = await client.get(path, headers={"If-None-Match": whole.headers["etag"]})
        head = await client.head(path)
    assert packed.text == whole.text and packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) * 5 < int(whole.headers["content-length"])
    assert (again.status_code, again.content) == (304, b"")
    assert head.status_code == 200 and not head.content


async def test_whose_session_it_is(api: Api) -> None:
    """Row 11: an administrator uses what is theirs or shared with them, and no longer when that is taken back."""
    world = api.world
    for name in ("ann", "bob", "carl"):
        await api.token(name, "administrator")
    started = (await api.ask("POST", "/v1/sign-ins", who="ann", body={"phone": "+491711234567"}))[1]
    path = f"/v1/sign-ins/{started['sign_in_id']}/code"
    account = (await api.ask("POST", path, who="ann", body={"code": "11111"}))[1]["account"]
    assert account["owner"] == "ann"
    await world.report(pb.SESSION_STATE_ACTIVE, session_id=account["session_id"])
    assert (await api.ask("GET", "/v1/accounts", who="bob"))[1]["accounts"] == []
    assert (await api.ask("POST", "/v1/trunks", who="bob", body={"account": "@ann"}))[0] == 404
    assert (await api.ask("DELETE", "/v1/accounts/@ann", who="bob"))[0] == 404

    shared = "/v1/accounts/@ann/shares/bob"
    assert (await api.ask("PUT", shared, who="ann", body={}))[0] == 204
    made = (await api.ask("POST", "/v1/trunks", who="bob", body={"account": "@ann", "login": "bobs"}))[1]
    assert (await api.ask("GET", "/v1/trunks", who="ann"))[1]["trunks"] == [], "each their own"
    assert (await api.ask("PUT", "/v1/accounts/@ann/owner", who="bob", body={"administrator": "bob"}))[0] == 403
    await world.register("bobs", made["password"])
    assert await world.rings(account["session_id"]) == ["bobs"]
    record = call_pb2.CallRecord(call_id="c1", account_id=account["account_id"], invited_at=1.0, worker_id="w")
    await world.wire.manager.ReportCall(pb.ReportCallRequest(record=record))
    for who, calls in (("ann", 1), ("bob", 1), ("carl", 0)):
        assert len((await api.ask("GET", "/v1/calls", who=who))[1]["calls"]) == calls
        assert (await api.ask("GET", "/v1/calls/c1", who=who))[0] == (200 if calls else 404)
    assert (await api.ask("PUT", "/v1/accounts/@ann/workers", who="bob", body={"worker_ids": ["w9"]}))[0] == 403
    assert (await api.ask("DELETE", shared, who="ann"))[0] == 204
    assert await world.rings(account["session_id"]) == [], "who may not use the account is not rung for it"
    withdrawn = ("session-access-revoked", "its owner has withdrawn it")
    assert await refusal(world.register("bobs", made["password"])) == withdrawn
    assert await refusal(world.route("bobs", made["password"])) == withdrawn
    assert (await api.ask("PUT", "/v1/accounts/@ann/owner", who="ann", body={"administrator": "bob"}))[0] == 204
    await world.register("bobs", made["password"])


@ON_SQLITE
async def test_a_sign_in_by_qr_code(api: Api) -> None:
    assert (await api.token("eve", "viewer")) and (await api.ask("POST", "/v1/qr-sign-ins", who="eve", body={}))[
        0
    ] == 403
    status, started = await api.ask("POST", "/v1/qr-sign-ins", body={})
    code = started["code"]
    assert (status, code["url"], code["expires_at"]) == (201, LOGIN_URL, 1.5e9)
    assert base64.b64decode(code["png"]).startswith(b"\x89PNG")
    assert code["svg"].startswith("<svg") and "http://www.w3.org/2000/svg" in code["svg"]
    waiting = f"/v1/qr-sign-ins/{started['sign_in_id']}/wait"
    assert (await api.ask("POST", waiting, body={}))[1]["code"] == code
    storage = api.world.storage_server
    storage.scanned = storage.two_step = True
    assert (await api.ask("POST", waiting, body={"wait_s": 1}))[1] == {"password_hint": "horse"}
    path = f"/v1/sign-ins/{started['sign_in_id']}/password"
    account = (await api.ask("POST", path, body={"password": TWO_STEP}))[1]["account"]
    assert account["username"] == "Ann"
    storage.two_step = False
    again = (await api.ask("POST", waiting, body={}))[1]
    assert again["account"]["account_id"] == account["account_id"], "the same Telegram user"


async def test_every_change_is_written_down(api: Api) -> None:
    await api.token("ann", "owner")
    await api.ask("POST", "/v1/subscriptions", who="ann", body={"name": "p", "limits": {"lines": 2}})
    await api.ask("PUT", "/v1/subscriptions/p", who="root", body={"limits": {"lines": 5}})
    await api.ask("DELETE", "/v1/subscriptions/p", who="ann")
    removed, changed, added, token, *_ = (await api.ask("GET", "/v1/changes"))[1]["changes"]
    assert [c["who"] for c in (removed, changed, added, token)] == ["ann", "root", "ann", "command"]
    assert [c["action"] for c in (removed, changed, added)] == ["delete", "update", "insert"]
    assert (json.loads(changed["before"]), json.loads(changed["after"])) == ({"lines": 2}, {"lines": 5})
    assert json.loads(token["after"])["secret_hash"] == "(secret)"
    # What goes with an account is written down too.
    await api.world.add_account()
    trunk = (await api.ask("POST", "/v1/trunks", body={"account": "@ann", "login": "office"}))[1]["trunk"]
    await api.ask("PUT", "/v1/trunks/office/trusted", body={"addresses": ["192.0.2.0/24"]})
    await api.ask("PUT", "/v1/accounts/@ann/workers", body={"worker_ids": ["worker-1"]})
    assert (await api.ask("DELETE", "/v1/accounts/@ann"))[0] == 204
    gone = [c for c in (await api.ask("GET", "/v1/changes"))[1]["changes"] if c["action"] == "delete"]
    assert {c["kind"] for c in gone} >= {"accounts", "trunks", "trusted_addresses", "assignments"}
    assert next(c for c in gone if c["kind"] == "trunks")["key"] == trunk["trunk_id"]
    assert (await api.ask("POST", "/v1/tokens", body={"name": "command", "role": "viewer"}))[0] == 400


async def test_calls_are_exported_and_paged(api: Api) -> None:
    for number in range(5):
        record = call_pb2.CallRecord(call_id=f"c{number}", invited_at=100.0 + number, caller="=1+1", sip_status=200)
        record.trunk_id = "gone"
        record.sip_legs.add(name="a", sip_call_id=f"{number}@pbx", login="office", trunk_id="gone")
        await api.world.wire.manager.ReportCall(pb.ReportCallRequest(record=record))
    page = (await api.ask("GET", "/v1/calls?limit=2&older_than=c3"))[1]["calls"]
    assert [call["call_id"] for call in page] == ["c2", "c1"]
    between = (await api.ask("GET", "/v1/calls?since=101&until=103"))[1]["calls"]
    assert [call["call_id"] for call in between] == ["c2", "c1"]
    status, out, _ = await api.world.process.command("call", "export")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert (status, [row["call_id"] for row in rows]) == (0, ["c4", "c3", "c2", "c1", "c0"])
    assert rows[0]["caller"] == "'=1+1", "no formula for a spreadsheet"
    began = datetime.datetime.fromisoformat(rows[0]["invited_at"])
    assert (began.timestamp(), began.utcoffset() is None) == (104.0, False), "a moment that a person can read"
    assert rows[0]["answered_at"] == rows[0]["ended_at"] == "", "not 1970"
    assert (rows[0]["sip_call_id"], rows[0]["trunk"]) == ("4@pbx", "office")
    status, out, _ = await api.world.process.command("call", "list", "--sip-call-id", "3@pbx", "--json")
    assert [call["call_id"] for call in json.loads(out)["calls"]] == ["c3"]
    found = (await api.ask("GET", "/v1/calls?sip_call_id=2@pbx"))[1]["calls"]
    assert [call["call_id"] for call in found] == ["c2"]
    account = await api.world.add_account()
    record = call_pb2.CallRecord(call_id="d1", invited_at=200.0, account_id=account.account_id)
    await api.world.wire.manager.ReportCall(pb.ReportCallRequest(record=record))
    assert (await api.ask("DELETE", f"/v1/accounts/{account.account_id}"))[0] in (200, 204)
    status, answer = await api.ask("GET", f"/v1/calls?account=%2B{account.phone.lstrip('+')}")
    assert (status, [call["call_id"] for call in answer["calls"]]) == (200, ["d1"]), "of an account that was removed"
    assert (await api.ask("GET", "/v1/calls?account=%2B4915999"))[0] == 404
    _, out, _ = await api.world.process.command("call", "export", "--format", "json", "--until", "1970-01-02")
    assert json.loads(out.splitlines()[1])["caller"] == "=1+1"


async def test_lists_come_in_pages(api: Api) -> None:
    await api.world.add_account()
    for number in range(7):
        await api.world.add_trunk(f"trunk{number}")
    seen: list[str] = []
    while page := (await api.ask("GET", f"/v1/trunks?limit=3&after={seen[-1] if seen else ''}"))[1]["trunks"]:
        assert len(page) <= 3
        seen += [trunk["login"] for trunk in page]
    assert seen == [f"trunk{number}" for number in range(7)]
    (account,) = (await api.ask("GET", "/v1/accounts?limit=1"))[1]["accounts"]
    assert account["trunks"] == 7
    assert (await api.ask("GET", f"/v1/accounts?after={account['account_id']}"))[1]["accounts"] == []
    changed = await api.ask("PATCH", "/v1/trunks/trunk3", body={"sha256_only": True, "priority": 2})
    trunk = changed[1]["trunk"]
    assert (changed[0], trunk["sha256_only"], trunk["priority"], trunk["comment"]) == (200, True, 2, "")
    stale = {"priority": 3, "version": trunk["version"] - 1}
    assert (await api.ask("PATCH", "/v1/trunks/trunk3", body=stale))[0] == 409


@ON_SQLITE
async def test_the_same_command_far_from_the_manager(api: Api, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TELETRUNK_")}
    environment |= {"TELETRUNK_API_URL": api.url, "TELETRUNK_DATA": str(tmp_path / "elsewhere")}

    async def command(*arguments: str, token: str = "") -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "teletrunk.cli.main", *arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=environment | ({"TELETRUNK_API_TOKEN": token} if token else {}),
        )  # fmt: skip
        out, _ = await asyncio.wait_for(process.communicate(), 20)
        return process.returncode, out.decode()

    await api.world.add_account()
    root = api.tokens["root"]
    assert (await command("subscription", "add", "p", "--lines", "3", token=root))[0] == 0
    assert (await command("subscription", "include", "p", "@ann", token=root))[0] == 0
    shown = (await command("subscription", "list", "--json", token=root))[1]
    assert json.loads(shown)["subscriptions"][0]["limits"] == {"lines": 3}
    accounts = (await command("account", "list", "--json", token=root))[1]
    assert json.loads(accounts)["accounts"][0]["user_id"] == "7001"
    assert await command("trunk", "remove", "x", "--yes", token=root) == (
        1, "teletrunk: there is no trunk x: teletrunk trunk list shows them\n"
    )  # fmt: skip
    status, said = await command("account", "list")
    assert (status, "set TELETRUNK_API_TOKEN too" in said) == (1, True)
    status, said = await command("account", "list", token="wrong")
    assert (status, said.count("\n")) == (1, 1)


@ON_POSTGRESQL
async def test_schemathesis_finds_nothing(api: Api, tmp_path: Path) -> None:
    """Generated requests, wrong ones too: no failure of the server's, and every answer is as documented."""
    await api.world.add_account()
    expected = "expected-statuses = [400, 401, 403, 404, 409, 411, 413, 422]"  # too long (413) is a refusal too
    (tmp_path / "schemathesis.toml").write_text(f"[checks.negative_data_rejection]\n{expected}\n")
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "schemathesis"), "run", f"{api.url}/openapi.json",
        "--header", f"Authorization: Bearer {api.tokens['root']}", "--max-examples", "6", "--seed", "1",
        "--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
        "negative_data_rejection,ignored_auth", "--no-color", "--warnings", "off",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=tmp_path,
    )  # fmt: skip
    out, _ = await asyncio.wait_for(process.communicate(), 240)
    assert process.returncode == 0, out.decode()[-9000:]
