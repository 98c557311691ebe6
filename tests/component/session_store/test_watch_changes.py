"""A Worker's watch is told of one session more, or less, by as much as that is, and hears of all others meanwhile."""

from __future__ import annotations

import asyncio

import pytest
from teletrunk import rpc
from teletrunk.v1 import manager_pb2
from teletrunk.v1 import session_store_pb2 as pb
from teletrunk_worker.links.storage import StorageLinks

from tests.cable import cable

from .storage import PATIENCE_S, TOKEN, Storage, calls

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("count", [1, 10_000])
async def test_another_session_costs_as_much_whatever_there_is(store: Storage, count: int) -> None:
    phones = {session_id: phone for phone, session_id in [await store.account(), await store.account()]}
    first, second = phones
    friend = await store.friend()
    arrived: asyncio.Queue[pb.IncomingCall] = asyncio.Queue()
    async with cable(int(store.address.rpartition(":")[2])) as link:
        links = StorageLinks(rpc.Security(TOKEN))
        links.on_incoming = arrived.put_nowait

        def watch(*session_ids: str) -> None:
            ids = (*session_ids, *(f"storage-2/{number}" for number in range(count - 1)))
            address = f"127.0.0.1:{link.port}"
            links.configure(
                {id_: manager_pb2.SessionAssignment(session_id=id_, storage_address=address) for id_ in ids},
                watch=True,
            )

        async def hears(session_id: str) -> None:
            await calls(friend, phones[session_id])
            async with asyncio.timeout(PATIENCE_S):
                while (await arrived.get()).session_id != session_id:
                    pass  # calls that wait are told again

        try:
            watch(first)
            await hears(first)
            before = link.carried
            watch(first, second)
            await hears(second)
            watch(second)
            await hears(second)
            watch(first, second)
            await hears(first)
            assert link.carried - before < 5_000
        finally:
            await links.close()
