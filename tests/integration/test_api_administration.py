"""Tokens that end and only look, pages of every list, webhooks that are tried and those that fail."""

from __future__ import annotations

import asyncio
import datetime
import json
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from teletrunk.rest import ROUTES
from teletrunk.v1 import call_pb2
from teletrunk.v1 import manager_pb2 as pb

from tests.integration.rest_world import Api, Ear, rest_api


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with rest_api(tmp_path / "data") as api:
        yield api


def change(api: Api, statement: str, *values: object) -> None:
    """As if time had passed."""
    with sqlite3.connect(api.world.process.data / "manager.db", timeout=10) as database:
        assert database.execute(statement, values).rowcount


async def test_a_token_ends_and_is_seen_used(api: Api) -> None:
    soon = time.time() + 3600
    status, made = await api.ask("POST", "/v1/tokens", body={"name": "ann", "role": "viewer", "expires_at": soon})
    assert (status, made["token"]["expires_at"], made["token"]["last_used_at"]) == (201, soon, 0)
    api.tokens["ann"] = made["secret"]
    for _ in range(3):
        assert (await api.ask("GET", "/v1/trunks", who="ann"))[0] == 200
    used = (await api.ask("GET", "/v1/tokens/ann"))[1]["token"]["last_used_at"]
    assert abs(used - time.time()) < 60
    await api.ask("GET", "/v1/trunks", who="ann")
    assert (await api.ask("GET", "/v1/tokens/ann"))[1]["token"]["last_used_at"] == used, "once a minute is enough"
    change(api, "UPDATE api_tokens SET last_used_at = ? WHERE name = 'ann'", used - 61)
    await api.ask("GET", "/v1/trunks", who="ann")
    assert (await api.ask("GET", "/v1/tokens/ann"))[1]["token"]["last_used_at"] >= used
    changes = (await api.ask("GET", "/v1/changes?kind=api_tokens"))[1]["changes"]
    assert {change["action"] for change in changes} == {"insert"}, "to be used is no change that a person makes"
    status, listed, _ = await api.world.process.command("token", "list")
    row = next(line for line in listed.splitlines() if line.startswith("ann"))
    assert status == 0 and "last used" in listed and "never" not in row

    change(api, "UPDATE api_tokens SET expires_at = 1760000000 WHERE name = 'ann'")
    async with httpx.AsyncClient(base_url=api.url, headers={"Authorization": f"Bearer {made['secret']}"}) as client:
        answer = await client.get("/v1/trunks")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json()["detail"] == "the token ann ended at 2025-10-09 08:53 UTC: make another (POST /v1/tokens)"
    status, problem = await api.ask("POST", "/v1/tokens", body={"name": "old", "role": "viewer", "expires_at": 1.0})
    assert status == 400 and "ended before its first use" in problem["detail"]
    assert (await api.ask("POST", "/v1/tokens", body={"name": "x", "role": "viewer", "expires_at": 1e300}))[0] == 400
    assert (await api.ask("GET", "/v1/tokens/nobody"))[0] == 404


async def test_a_dashboards_token_looks_at_everything_and_changes_nothing(api: Api) -> None:
    await api.world.add_account()
    await api.world.add_trunk("office")
    made = (await api.ask("POST", "/v1/tokens", body={"name": "wall", "role": "viewer", "scope": "all"}))[1]
    api.tokens["wall"] = made["secret"]
    assert made["token"]["scope"] == "all"
    await api.token("eve", "viewer")
    assert (await api.ask("GET", "/v1/trunks", who="eve"))[1]["trunks"] == []
    assert [t["login"] for t in (await api.ask("GET", "/v1/trunks", who="wall"))[1]["trunks"]] == ["office"]
    for route in ROUTES:
        if route.verb == "GET" and not route.fields_in_path:
            assert (await api.ask("GET", route.path, who="wall"))[0] == 200, route.path
        elif route.verb != "GET":
            path = route.path.format(**dict.fromkeys(route.fields_in_path, "x"))
            assert (await api.ask(route.verb, path, who="wall", body={} if route.verb != "DELETE" else None))[0] == 403
    for role, scope, refused in (("administrator", "all", 400), ("owner", "own", 400), ("viewer", "some", 422)):
        body = {"name": "x", "role": role, "scope": scope}
        assert (await api.ask("POST", "/v1/tokens", body=body))[0] == refused


async def fill(api: Api) -> None:
    """Three of everything that is listed."""
    account = await api.world.add_account()
    lives: list[pb.LiveCall] = []
    for number in range(3):
        await api.world.add_trunk(f"trunk{number}")
        await api.ask("POST", "/v1/subscriptions", body={"name": f"plan{number}"})
        await api.ask("POST", "/v1/tokens", body={"name": f"token{number}", "role": "viewer"})
        await api.ask("POST", "/v1/webhooks", body={"url": f"http://127.0.0.1:9/{number}"})
        change(
            api,
            "INSERT INTO join_tokens (join_id, kind, secret_hash, places, comment, created_at, declared)"
            " VALUES (?, 'worker', ?, 1, '', 1, 0)",  # without certificates there is none to be made
            f"j{number}",
            bytes([number]),
        )
        record = call_pb2.CallRecord(call_id=f"c{number}", invited_at=100.0 + number, account_id=account.account_id)
        await api.world.wire.manager.ReportCall(pb.ReportCallRequest(record=record))
        change(
            api,
            "INSERT INTO invitations (secret_hash, kind, comment, expires_at) VALUES (?, 'worker', '', ?)",
            bytes([number]) * 32,
            time.time() + 600,
        )
        lives.append(pb.LiveCall(call_id=f"l{number}", account_id=account.account_id, invited_at=100.0 + number))
        ban = pb.Ban(network=f"192.0.2.{number + 1}", until=time.time() + 600, times=1)
        api.world.worker.say(pb.AttachRequest(banned=ban))
    await api.world.worker.beat(pb.Heartbeat(calls=lives))
    async with asyncio.timeout(20):
        while len((await api.ask("GET", "/v1/bans"))[1]["bans"]) < 3:
            await asyncio.sleep(0.05)
        while len((await api.ask("GET", "/v1/webhook-failures"))[1]["failures"]) < 3:
            await asyncio.sleep(0.05)


def key(listed: dict[str, Any]) -> Any:
    """What comes first of a thing is its id."""
    return next(iter(listed.values()))


async def test_every_list_goes_on_where_next_says(api: Api) -> None:
    await fill(api)
    lists = [route for route in ROUTES if route.rpc.startswith("List")]
    assert len(lists) == 13
    for route in lists:
        items = next(f.name for f in route.response.DESCRIPTOR.fields if f.is_repeated)  # more may stand beside them
        whole = (await api.ask("GET", route.path + "?limit=500"))[1]
        assert whole["next"] == "", route.path
        seen: list[Any] = []
        page = ""
        async with httpx.AsyncClient(base_url=api.url) as client:
            client.headers["Authorization"] = f"Bearer {api.tokens['root']}"
            path = f"{route.path}?limit=1"
            while path:
                answer = await client.get(path)
                page = answer.json()["next"]
                assert len(answer.json()[items]) == 1, path
                seen += answer.json()[items]
                assert ("next" in answer.links) is bool(page)
                path = answer.links["next"]["url"] if page else ""
                assert not page or path.endswith(f"{route.path}?limit=1&page={page}")
        after = (await api.ask("GET", route.path + "?limit=500"))[1]
        keys, first, last = (list(map(key, each)) for each in (seen, whole[items], after[items]))
        assert len(keys) == len(set(keys)), route.path
        assert [each for each in last if each in first] == [each for each in keys if each in first], route.path
        assert set(first) <= set(keys) <= set(last), "what comes meanwhile may be there, or not"
        assert len(seen) >= (1 if items in ("accounts", "services") else 3)
        assert (await api.ask("GET", f"{route.path}?page=!"))[0] == 400


async def test_a_webhook_is_tried(api: Api) -> None:
    ear = Ear()
    async with ear.listening() as url:
        hook = (await api.ask("POST", "/v1/webhooks", body={"url": url}))[1]["webhook"]["webhook_id"]
        status, told = await api.ask("POST", f"/v1/webhooks/{hook}/ping", body={})
        assert (status, told["delivered"], told["status"], told["failure"]) == (200, True, 204, "")
        heard = await ear.hears()
        at = datetime.datetime.fromisoformat(heard["at_rfc3339"]).timestamp()
        assert (heard["event"], abs(at - heard["at"]) < 0.01) == ("ping", True)
        assert "teletrunk-signature" in ear.heard[0][0]
        status, out, _ = await api.world.process.command("webhook", "test", hook)
        assert (status, out.startswith("Acknowledged: HTTP 204")) == (0, True)
    status, out, _ = await api.world.process.command("webhook", "test", hook)
    assert (status, out.startswith("Not acknowledged: ConnectError")) == (1, True)
    assert (await api.ask("POST", "/v1/webhooks/nobody/ping", body={}))[0] == 404
    assert (await api.ask("GET", "/v1/webhook-failures"))[1]["failures"] == [], "it was tried by hand"


async def test_what_could_not_be_delivered_is_listed_and_bounded(api: Api) -> None:
    ear = Ear(refuse=1000)
    async with ear.listening() as url:
        hook = (await api.ask("POST", "/v1/webhooks", body={"url": url}))[1]["webhook"]["webhook_id"]
        await api.world.wire.manager.ReportCall(pb.ReportCallRequest(record=call_pb2.CallRecord(call_id="c1")))
        await ear.hears()
        async with asyncio.timeout(20):
            while not (failures := (await api.ask("GET", "/v1/webhook-failures"))[1]["failures"]):
                await asyncio.sleep(0.05)
        (one,) = failures
        assert (one["webhook_id"], one["event"], one["failure"], one["attempts"]) == (hook, "call.ended", "HTTP 500", 1)
        assert json.loads(one["body"])["id"] == "c1" and one["next_at"] > time.time() - 60
        # A day later, with more behind it than are kept.
        more = [(f"{number:04}", hook, one["body"], "HTTP 500", number) for number in range(120)]
        with sqlite3.connect(api.world.process.data / "manager.db", timeout=10) as database:
            database.executemany("INSERT INTO deliveries (delivery_id, webhook_id, body, due_at, attempts, failure,"
                                 " last_at, given_up) VALUES (?, ?, ?, 0, 30, ?, ?, 1)", more)  # fmt: skip
            database.execute("UPDATE deliveries SET due_at = 0, attempts = 29 WHERE NOT given_up")
        await api.world.wire.manager.ReportCall(pb.ReportCallRequest(record=call_pb2.CallRecord(call_id="c2")))
        async with asyncio.timeout(20):
            while (await api.ask("GET", "/v1/webhooks"))[1]["webhooks"][0]["failed"] != 100:
                await asyncio.sleep(0.05)
        given_up = (await api.ask("GET", f"/v1/webhook-failures?limit=500&webhook_id={hook}"))[1]["failures"]
        last = next(f for f in given_up if f["delivery_id"] == one["delivery_id"])
        assert (last["attempts"], last["next_at"]) == (30, 0), "it is among those that are kept"
        status, out, _ = await api.world.process.command("webhook", "failures", "--webhook", hook)
        assert (status, "given up" in out, "HTTP 500" in out) == (0, True, True)
        assert (await api.ask("GET", "/v1/webhook-failures?webhook_id=x"))[0] == 404
        assert (await api.ask("DELETE", f"/v1/webhooks/{hook}"))[0] == 204
        assert (await api.ask("GET", "/v1/webhook-failures"))[1]["failures"] == []


async def test_an_event_is_sent_when_it_is_there_and_not_when_somebody_looks(api: Api) -> None:
    """By itself the Manager looks every half minute only, which is more than the ear's patience."""
    ear = Ear()
    async with ear.listening() as url:
        await api.ask("POST", "/v1/webhooks", body={"url": url})
        for number in range(3):
            record = call_pb2.CallRecord(call_id=f"c{number}")
            await api.world.wire.manager.ReportCall(pb.ReportCallRequest(record=record))
            assert (await ear.hears(number + 1))["id"] == f"c{number}"


async def test_a_new_token_of_an_old_name_inherits_only_when_it_is_told_to(api: Api) -> None:
    await api.token("ann", "administrator")
    await api.world.add_account()
    assert (await api.ask("PUT", "/v1/accounts/@ann/owner", body={"administrator": "ann"}))[0] == 204
    assert (await api.ask("POST", "/v1/trunks", who="ann", body={"account": "@ann", "login": "anns"}))[0] == 201
    code, said, _ = await api.world.process.command("token", "remove", "ann")
    assert code == 0 and "ann's accounts (1) and trunks (1) go on" in said
    again = {"name": "ann", "role": "administrator"}
    status, problem = await api.ask("POST", "/v1/tokens", body=again)
    assert status == 400 and problem["error"].startswith("ann has accounts, trunks or shares from before")
    status, made = await api.ask("POST", "/v1/tokens", body=again | {"inherit": True})
    assert status == 201
    listed = (await api.ask("GET", "/v1/trunks", who=made["secret"]))[1]
    assert [trunk["login"] for trunk in listed["trunks"]] == ["anns"]


async def test_all_that_was_set_is_read_back(api: Api) -> None:
    account = await api.world.add_account()
    await api.token("ann", "administrator")
    for verb, path, body in (
        ("PUT", "/v1/accounts/@ann/shares/ann", {}),
        ("PUT", "/v1/accounts/@ann/workers", {"worker_ids": ["worker-1"]}),
        ("POST", "/v1/subscriptions", {"name": "small"}),
        ("PUT", "/v1/accounts/@ann/subscription", {"subscription": "small"}),
        ("PUT", "/v1/workers/worker-1/drain", {"on": True}),
    ):
        assert (await api.ask(verb, path, body=body))[0] in (201, 204), path
    shown = (await api.ask("GET", "/v1/accounts/@ann"))[1]["account"]
    assert (shown["shared_with"], shown["worker_ids"], shown["subscription"]) == (["ann"], ["worker-1"], "small")
    worker = (await api.ask("GET", "/v1/services/worker-1"))[1]["service"]
    assert (worker["drained"], worker["account_ids"]) == (True, [account.account_id])
    command = api.world.process.command
    _, told, _ = await command("account", "show", "@ann")
    assert "shared with: ann\nworkers: worker-1\nplan: small" in told and "storage: storage-1" in told
    _, told, _ = await command("worker", "show", "worker-1")
    assert f"accounts assigned to it: {account.account_id}" in told and "told to take no more calls" in told
    _, told, _ = await command("storage", "show", "storage-1")
    assert "sessions: 1" in told
    assert (await command("storage", "show", "worker-1"))[0] == 1
    status, problem = await api.ask("PUT", "/v1/accounts/@ann/workers", body={"worker_ids": ["worker-1", "nobody"]})
    assert (status, problem["detail"]) == (404, "there is no Worker nobody: GET /v1/services shows them")
    assert (await api.ask("GET", "/v1/accounts/@ann"))[1]["account"]["worker_ids"] == ["worker-1"], "nothing is changed"


async def test_a_service_is_called_what_its_owner_calls_it(api: Api) -> None:
    """Also when it attaches again; until it is forgotten, or is called as its machine is."""

    async def name(service_id: str) -> str:
        return str((await api.ask("GET", f"/v1/services/{service_id}"))[1]["service"]["name"])

    command = api.world.process.command
    assert (await api.ask("PUT", "/v1/services/worker-1/name", body={"name": "vienna"}))[0] == 204
    assert (await command("storage", "rename", "storage-1", "vault two"))[1] == "storage-1 is called vault two.\n"
    await api.world.restart()
    assert (await name("worker-1"), await name("storage-1")) == ("vienna", "vault two")
    assert "vienna  worker worker-1" in (await command("worker", "show", "vienna"))[1]
    assert (await command("worker", "rename", "worker-1", ""))[0] == 0
    assert await name("worker-1") == "w"
    changes = (await api.ask("GET", "/v1/changes?kind=service_names&key=worker-1"))[1]["changes"]
    assert [(c["who"], c["action"], c["name"]) for c in changes] == [
        ("command", "delete", "vienna"), ("root", "insert", "vienna"),
    ]  # fmt: skip
    for service_id, named, status in (("nobody", "x", 404), ("worker-1", "x" * 65, 400), ("worker-1", "a\nb", 422)):
        assert (await api.ask("PUT", f"/v1/services/{service_id}/name", body={"name": named}))[0] == status
    await api.world.storage.leave()
    assert (await command("storage", "remove", "storage-1", "--yes"))[0] == 0
    gone = (await api.ask("GET", "/v1/changes?kind=service_names&key=storage-1"))[1]["changes"]
    assert gone[0]["action"] == "delete", "what is forgotten has no name any more"
