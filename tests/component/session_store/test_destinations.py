"""Whom a Storage calls: what the Manager has read goes before what was dialled, which an older Worker says alone."""

from __future__ import annotations

import pytest
from teletrunk.v1 import call_pb2
from teletrunk.v1 import session_store_pb2 as pb

from .storage import CallStream, Storage

pytestmark = pytest.mark.asyncio(loop_scope="module")


def of_kind(kind: call_pb2.DestinationKind.ValueType, value: object) -> call_pb2.Destination:
    return call_pb2.Destination(kind=kind, value=str(value), dialled="200", number="@somebody")


async def test_a_destination_is_not_read_again(store: Storage) -> None:
    _, session_id = await store.account()
    friend = await store.friend("Known")

    async def called(text: str, destination: call_pb2.Destination | None) -> int:
        start = pb.StartCall(session_id=session_id, call_id="c", called=text, destination=destination)
        call = CallStream(store.stub, start=start)
        peer = (await call.until("requested")).peer
        call.close()
        return int(peer.user_id)

    user_id = await called(f"+{friend.phone}", None)
    for destination in (
        of_kind(call_pb2.DESTINATION_KIND_PHONE, friend.phone),
        of_kind(call_pb2.DESTINATION_KIND_USER_ID, user_id),
        of_kind(call_pb2.DESTINATION_KIND_NUMBER, user_id),
        of_kind(call_pb2.DESTINATION_KIND_NUMBER, friend.phone),
    ):
        assert await called("@nobodyhere", destination) == user_id
    unknown = call_pb2.Destination(kind=99, value="?")  # type: ignore[arg-type]  # of a newer Manager
    assert await called(f"+{friend.phone}", unknown) == user_id
