"""What webhooks hear of calls, registrations, sessions, services and bans."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from teletrunk.v1 import call_pb2
from teletrunk.v1 import manager_pb2 as pb
from teletrunk_manager.letters import signature

from tests.integration.manager_process import refusal
from tests.integration.rest_world import Api, Ear


async def test_a_webhook_hears_of_a_call_once_it_listens(api: Api) -> None:
    ear = Ear(refuse=1)
    server = await asyncio.start_server(ear.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    made = (await api.ask("POST", "/v1/webhooks", body={"url": f"http://127.0.0.1:{port}/hook"}))[1]
    for wrong in ("ftp://x", "http://host:99x/", "http://[::1", "http://", "https:///x"):
        assert (await api.ask("POST", "/v1/webhooks", body={"url": wrong}))[0] == 400
    step = call_pb2.CallStep(at=1.0, source="pbx", target="worker", text="INVITE")
    record = call_pb2.CallRecord(call_id="c1", caller="office", steps=[step])
    for _ in range(2):
        await api.world.wire.manager.ReportCall(pb.ReportCallRequest(record=record))
    async with asyncio.timeout(20):
        while len(ear.heard) < 2:
            ear.news.clear()
            await ear.news.wait()
    (first, body), (second, again) = ear.heard
    assert body == again
    event = json.loads(body)
    assert (event["event"], event["id"], event["call"]["caller"]) == ("call.ended", "c1", "office")
    assert event["call"]["steps"] == []
    assert first["teletrunk-delivery"] == second["teletrunk-delivery"]
    at, _, signed = second["teletrunk-signature"].removeprefix("t=").partition(",v1=")
    assert signed == signature(made["secret"], at, body)
    assert abs(time.time() - int(at)) < 60
    async with asyncio.timeout(10):
        while (await api.ask("GET", "/v1/webhooks"))[1]["webhooks"][0]["waiting"]:
            await asyncio.sleep(0.1)
    assert len(ear.heard) == 2
    server.close()


async def test_a_webhook_hears_what_becomes_of_services_sessions_and_registrations(api: Api) -> None:
    world = api.world
    account = await world.add_account()
    trunk = (await world.add_trunk("office")).trunk
    session = {"session_id": account.session_id}
    await world.report(pb.SESSION_STATE_ACTIVE, **session)
    await world.worker.beat()
    ear = Ear(refuse=0)
    server = await asyncio.start_server(ear.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    await api.ask("POST", "/v1/webhooks", body={"url": url})

    async def heard(event: str) -> dict[str, Any]:
        """What was told of an event of this name, which is the only one since the last that was looked for."""
        async with asyncio.timeout(20):
            while not ear.heard:
                ear.news.clear()
                await ear.news.wait()
        told: dict[str, Any] = json.loads(ear.heard.pop(0)[1])
        assert told["event"] == event
        return told

    await world.worker.beat(pb.Heartbeat(registered_trunk_ids=[trunk.trunk_id]))
    up = await heard("registration.up")
    assert (up["login"], up["account_id"], up["worker_id"]) == ("office", account.account_id, "worker-1")
    await world.worker.beat()
    assert (await heard("registration.down"))["trunk_id"] == trunk.trunk_id
    call = pb.LiveCall(call_id="c1", account_id=account.account_id, called="@bob", invited_at=100.0)
    await world.worker.beat(pb.Heartbeat(calls=[call]))
    began = (await heard("call.started"))["call"]
    assert (began["call_id"], began["called"], began["worker_id"]) == ("c1", "@bob", "worker-1")
    assert began["invited_at_rfc3339"] == "1970-01-01T00:01:40.000Z"
    call.answered_at = 101.0
    await world.worker.beat(pb.Heartbeat(calls=[call]))
    assert (await heard("call.answered"))["call"]["answered_at"] == 101.0
    await world.worker.beat()
    await api.ask("POST", "/v1/subscriptions", body={"name": "none", "limits": {"lines": 0}})
    await api.ask("PUT", "/v1/accounts/@ann/subscription", body={"subscription": "none"})
    for _ in range(3):
        assert (await refusal(world.rings(account.session_id)))[0] == "subscription-limit"
    limit = await heard("plan.limit")
    assert (limit["name"], limit["why"]) == ("none", "no paid line"), "once for all three"
    await world.report(pb.SESSION_STATE_CONNECTING, **session)
    lost = await heard("session.lost")
    assert (lost["account_id"], lost["username"]) == (account.account_id, "Ann")
    await world.report(pb.SESSION_STATE_ACTIVE, **session)
    await heard("session.back")
    world.worker.say(pb.AttachRequest(banned=pb.Ban(network="192.0.2.9", until=time.time() + 60, times=1)))
    assert (await heard("address.banned"))["network"] == "192.0.2.9"
    await world.worker.leave()
    assert (await heard("worker.away"))["id"] == "worker-1"
    await world.attach()
    await heard("worker.back")
    server.close()
