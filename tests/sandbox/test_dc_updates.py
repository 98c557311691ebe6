"""What becomes of updates, and how a client that was away, or lost some, finds out."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from pyrogram import Client, errors, raw
from teletrunk_sandbox.control import SandboxControl

from tests.sandbox.dc_talking import discard, request, ring
from tests.sandbox.dc_world import DEADLINE, Dc, Person, PersonFactory, leave, new_client

functions, types = raw.functions, raw.types


class Listener(Client):
    """A client that keeps its updates as they came."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.heard: asyncio.Queue[Any] = asyncio.Queue()

    async def handle_updates(self, updates: Any) -> None:
        self.heard.put_nowait(updates)


async def state_of(one: Person) -> Any:
    return await one.ask(functions.updates.GetState())


async def difference(one: Person, state: Any, **limits: int) -> Any:
    query = functions.updates.GetDifference(pts=state.pts, date=state.date, qts=state.qts, **limits)
    return await one.ask(query)


async def later(state: Any) -> None:
    """Until what happens is of another second than the state."""
    async with asyncio.timeout(DEADLINE):
        while int(time.time()) <= state.date:
            await asyncio.sleep(0.02)


@pytest.fixture
async def two(person: PersonFactory) -> tuple[Person, Person]:
    anna, bob = await person("Anna"), await person("Bob")
    await anna.input_of(bob)
    return anna, bob


async def test_what_is_sent_to_nobody_is_lost_and_the_difference_has_it(
    two: tuple[Person, Person], control: SandboxControl
) -> None:
    anna, bob = two
    state = await state_of(bob)
    await later(state)
    await control.cut(bob.phone, 1.0)
    call = await request(anna, bob)
    await anna.client.send_message(bob.user_id, "are you there?")
    found = await difference(bob, state)
    assert [update.phone_call.id for update in found.other_updates] == [call.id]
    assert isinstance(found.other_updates[0].phone_call, types.PhoneCallRequested)
    assert [message.message for message in found.new_messages] == ["are you there?"]
    assert {user.id for user in found.users} == {anna.user_id, bob.user_id}
    assert found.state.seq == state.seq + 1 and found.state.pts == state.pts + 1
    assert not bob.updates
    assert isinstance(await difference(bob, found.state), types.updates.DifferenceEmpty)
    await discard(anna, call)


async def test_a_chat_says_that_a_call_has_ended(two: tuple[Person, Person], control: SandboxControl) -> None:
    anna, bob = two
    state = await state_of(bob)
    await later(state)
    await control.differences(False)
    try:
        call = await ring(anna, bob)
        await discard(anna, call)
        found = await difference(bob, state)
    finally:
        await control.differences(True)
    assert found.other_updates == []
    (message,) = found.new_messages
    assert isinstance(message, types.MessageService) and not message.out
    assert message.action.call_id == call.id
    assert isinstance(message.action.reason, types.PhoneCallDiscardReasonMissed)


async def test_calls_are_counted(dc: Dc, two: tuple[Person, Person], control: SandboxControl) -> None:
    """A hole in the count shows that one is missing, and `updatesTooLong` that there is more."""
    anna, bob = two
    session = await bob.client.export_session_string()
    await leave(bob.client)
    made = new_client(dc, Listener, session_string=session)
    await made.connect()
    before = (await made.invoke(functions.updates.GetState())).seq
    await request(anna, bob)
    await control.lose(bob.phone)
    await request(anna, bob)
    await request(anna, bob)
    await control.too_long(bob.phone)
    async with asyncio.timeout(DEADLINE):
        heard = [await made.heard.get() for _ in range(3)]
    await made.disconnect()
    assert [updates.seq for updates in heard[:2]] == [before + 1, before + 3]
    assert isinstance(heard[2], types.UpdatesTooLong)


async def test_a_difference_is_of_a_state_that_there_was(two: tuple[Person, Person]) -> None:
    anna, bob = two
    state = await state_of(bob)
    for number in range(120):
        await anna.ask(
            functions.messages.SendMessage(
                peer=types.InputPeerUser(user_id=bob.user_id, access_hash=(await anna.input_of(bob)).access_hash),
                message=str(number),
                random_id=number + 1,
            )
        )
    first = await difference(bob, state)
    assert isinstance(first, types.updates.DifferenceSlice)
    rest = await difference(bob, first.intermediate_state)
    assert isinstance(rest, types.updates.Difference)
    said = [message.message for each in (first, rest) for message in each.new_messages]
    assert said == [str(number) for number in range(120)]
    long = await difference(bob, state, pts_total_limit=10)
    assert isinstance(long, types.updates.DifferenceTooLong) and long.pts == rest.state.pts
    for pts, date, error in (
        (rest.state.pts + 1, 1, errors.PersistentTimestampInvalid),
        (0, 1, errors.PersistentTimestampEmpty),
        (1, 0, errors.DateEmpty),
    ):
        with pytest.raises(error):
            await bob.ask(functions.updates.GetDifference(pts=pts, date=date, qts=0))
