"""Flood waits: of the method that earned them, told with their time, and outliving the process."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from teletrunk.v1 import session_store_pb2 as pb

from .storage import Storage, storage

pytestmark = pytest.mark.asyncio(loop_scope="module")
RESOLVE, REQUEST_CALL = "contacts.resolvePhone", "phone.requestCall"
A_DAY_S = 86_400


async def call_works(store: Storage, session_id: str, called: str) -> None:
    call = store.start_call(session_id, called)
    await call.until("requested")
    call.close()


async def refused(store: Storage, session_id: str, called: str) -> int:
    refusal = await store.start_call(session_id, called).refusal()
    assert refusal.row.id == "flood-wait"
    return refusal.retry_after


async def told(store: Storage, session_id: str) -> str:
    report = await store.report(session_id)
    assert report is not None
    return str(report.reason)


async def test_a_wait_of_looking_up_shuts_nobody_out_who_is_known(store: Storage) -> None:
    phone, session_id = await store.account()
    known, new = await store.friend("Known"), await store.friend("New")
    await call_works(store, session_id, f"+{known.phone}")
    await store.control.flood(phone, 60, RESOLVE)
    assert 55 <= await refused(store, session_id, f"+{new.phone}") <= 60
    await call_works(store, session_id, f"+{known.phone}")
    said = await told(store, session_id)
    found = re.fullmatch(r"Telegram wants no contacts\.resolvePhone before (.+) UTC", said)
    assert found is not None, said
    until = datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    assert 50 <= (until - datetime.now(UTC)).total_seconds() <= 62


async def test_a_wait_that_is_over_is_not_told_of(store: Storage) -> None:
    phone, session_id = await store.account()
    friend = await store.friend()
    await store.control.flood(phone, 1, RESOLVE)
    await refused(store, session_id, f"+{friend.phone}")
    while await told(store, session_id):
        pass
    await call_works(store, session_id, f"+{friend.phone}")


async def test_a_peer_flood_is_of_its_method_and_outlives_the_process(tmp_path: Path) -> None:
    async with storage(tmp_path) as store:
        phone, session_id = await store.account()
        friend = await store.friend()
        await store.control.peer_flood(phone, True)
        await store.control.trace(phone, True)
        assert A_DAY_S - 5 <= await refused(store, session_id, f"+{friend.phone}") <= A_DAY_S
        await store.kill()
        await store.start()
        await store.active(session_id)
        await store.control.peer_flood(phone, False)
        assert A_DAY_S - 60 <= await refused(store, session_id, f"+{friend.phone}") <= A_DAY_S
        asked = [call["method"].lower() for call in await store.control.trace_log(phone)]
        assert asked.count(REQUEST_CALL.lower()) == 1
        assert REQUEST_CALL in await told(store, session_id)


async def test_whoever_wants_it_asks_again_after_a_peer_flood(store: Storage) -> None:
    phone, session_id = await store.account()
    friend = await store.friend()
    await store.control.peer_flood(phone, True)
    await refused(store, session_id, f"+{friend.phone}")
    await store.control.peer_flood(phone, False)
    await store.stub.ForgetFloodWaits(pb.ForgetFloodWaitsRequest(session_id=session_id), timeout=5)
    assert await told(store, session_id) == ""
    assert session_id not in [row[0] for row in store.rows("method_waits")]
    await call_works(store, session_id, f"+{friend.phone}")
