"""The command with a Manager of the version before: its lists have no `next`."""

from __future__ import annotations

import asyncio
from typing import Any

from teletrunk.cli.client import every, goes_on
from teletrunk.v1 import admin_pb2 as pb
from teletrunk.v1 import live_calls_pb2 as live_pb
from teletrunk.v1 import manager_pb2

LOGINS = [f"t{number:04}" for number in range(1_200)]


async def older(request: Any, timeout: float) -> pb.ListTrunksResponse:
    fit = [login for login in LOGINS if login > request.after][: request.limit or 500]
    return pb.ListTrunksResponse(trunks=[pb.Trunk(login=login) for login in fit])


async def newer(request: Any, timeout: float) -> pb.ListTrunksResponse:
    fit = [login for login in LOGINS[:1_000] if login > (request.page or request.after)][:500]
    more = fit and fit[-1] != LOGINS[999]
    return pb.ListTrunksResponse(trunks=[pb.Trunk(login=login) for login in fit], next=fit[-1] if more else "")


def test_all_pages_are_asked_for() -> None:
    assert [trunk.login for trunk in asyncio.run(every(older, pb.ListTrunksRequest())).trunks] == LOGINS
    answer = asyncio.run(every(newer, pb.ListTrunksRequest()))
    assert [trunk.login for trunk in answer.trunks] == LOGINS[:1_000] and not answer.next


def test_an_export_goes_on_after_the_last_call() -> None:
    request = pb.ListCallsRequest(limit=2)
    page = pb.ListCallsResponse()
    page.calls.add(call_id="c2"), page.calls.add(call_id="c1")
    assert goes_on(request, page) and request.older_than == "c1"
    assert not goes_on(request, pb.ListCallsResponse())


def test_a_list_that_always_had_next_ends_where_it_says() -> None:
    calls = [manager_pb2.LiveCall(call_id=str(number)) for number in range(500)]
    assert not goes_on(live_pb.ListLiveCallsRequest(), live_pb.ListLiveCallsResponse(calls=calls))
