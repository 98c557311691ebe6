"""The server's rules of a phone call."""

from __future__ import annotations

import pytest
from pyrogram import errors, raw
from teletrunk_sandbox.control import SandboxControl

from tests.sandbox.dc_talking import accept, confirm, discard, establish, peer, protocol, request, ring
from tests.sandbox.dc_world import Person, PersonFactory

functions, types = raw.functions, raw.types
Busy, Missed, Hangup = (
    types.PhoneCallDiscardReasonBusy,
    types.PhoneCallDiscardReasonMissed,
    types.PhoneCallDiscardReasonHangup,
)


@pytest.fixture
async def two(person: PersonFactory) -> tuple[Person, Person]:
    return await person("Anna"), await person("Bob")


async def ended(side: Person) -> object:
    return (await side.call(types.PhoneCallDiscarded)).reason


async def test_whole_call(two: tuple[Person, Person], control: SandboxControl) -> None:
    anna, bob = two
    waiting = await request(anna, bob)
    assert isinstance(waiting, types.PhoneCallWaiting) and waiting.receive_date is None
    requested = await bob.call(types.PhoneCallRequested)
    assert (requested.admin_id, requested.participant_id) == (anna.user_id, bob.user_id)
    assert len(requested.g_a_hash) == 32

    await bob.ask(functions.phone.ReceivedCall(peer=peer(requested)))
    assert (await anna.call(types.PhoneCallWaiting)).receive_date

    assert isinstance(await accept(bob, requested), types.PhoneCallWaiting)
    accepted = await anna.call(types.PhoneCallAccepted)
    assert accepted.g_b == b"b" * 256
    mine = await confirm(anna, accepted)
    his = await bob.call(types.PhoneCall)
    assert (mine.g_a_or_b, his.g_a_or_b) == (b"b" * 256, b"a" * 256)
    assert mine.key_fingerprint == his.key_fingerprint == 1234567
    assert mine.connections == his.connections and not mine.p2p_allowed
    assert len(mine.connections[0].peer_tag) == 16
    assert mine.custom_parameters.data == '{"network_use_default_route":true}'

    await anna.ask(functions.phone.SendSignalingData(peer=peer(mine), data=b"ping"))
    signal = await bob.update(types.UpdatePhoneCallSignalingData)
    assert (signal.phone_call_id, signal.data) == (mine.id, b"ping")

    await discard(bob, his, duration=42)
    over = await anna.call(types.PhoneCallDiscarded)
    assert isinstance(over.reason, Hangup) and over.duration == 42
    record = next(call for call in await control.calls() if call["id"] == mine.id)
    assert (record["state"], record["reason"], record["duration"]) == ("discarded", "hangup", 42)
    await anna.ask(functions.phone.SetCallRating(peer=peer(mine), rating=5, comment=""))
    assert await bob.ask(functions.phone.SaveCallDebug(peer=peer(his), debug=types.DataJSON(data="{}")))


async def test_reasons_before_the_answer(two: tuple[Person, Person]) -> None:
    anna, bob = two
    requested = await ring(anna, bob)
    await discard(anna, requested)
    assert isinstance(await ended(bob), Missed)
    declined = await ring(anna, bob)
    await discard(bob, declined)
    assert isinstance(await ended(anna), Busy)


async def test_late_requests(two: tuple[Person, Person]) -> None:
    anna, bob = two
    call = await establish(anna, bob)
    with pytest.raises(errors.CallAlreadyAccepted):
        await accept(bob, call)
    await discard(anna, call, types.PhoneCallDiscardReasonDisconnect(), 3)
    assert isinstance(await ended(bob), types.PhoneCallDiscardReasonDisconnect)
    for late in (accept(bob, call), confirm(anna, call), discard(bob, call)):
        with pytest.raises(errors.CallAlreadyDeclined):
            await late
    with pytest.raises(errors.CallNotActive):
        await anna.ask(functions.phone.SendSignalingData(peer=peer(call), data=b"x"))


async def test_wrong_call_and_wrong_side(two: tuple[Person, Person], person: PersonFactory) -> None:
    anna, bob = two
    eve = await person("Eve")
    call = await ring(anna, bob)
    with pytest.raises(errors.CallPeerInvalid):
        await discard(eve, call)
    with pytest.raises(errors.CallPeerInvalid):
        await accept(anna, call)
    with pytest.raises(errors.CallPeerInvalid):
        await confirm(bob, call)
    call.access_hash ^= 1
    with pytest.raises(errors.CallPeerInvalid):
        await accept(bob, call)


async def test_same_random_id(two: tuple[Person, Person]) -> None:
    anna, bob = two
    await request(anna, bob, random_id=77)
    with pytest.raises(errors.RandomIdDuplicate500):
        await request(anna, bob, random_id=77)


async def test_protocol(two: tuple[Person, Person]) -> None:
    anna, bob = two
    with pytest.raises(errors.CallProtocolFlagsInvalid):
        await request(anna, bob, protocol=protocol(udp_p2p=False, udp_reflector=False))
    with pytest.raises(errors.CallProtocolLayerInvalid):
        await request(anna, bob, protocol=protocol(max_layer=93))
    call = await ring(anna, bob, protocol=protocol(["13.0.0", "9.0.0", "8.0.0"], min_layer=92))
    with pytest.raises(errors.CallProtocolCompatLayerInvalid):
        await accept(bob, call, protocol=protocol(["7.0.0"]))
    await accept(bob, call, protocol=protocol(["8.0.0", "9.0.0"]))
    accepted = await anna.call(types.PhoneCallAccepted)
    assert accepted.protocol.library_versions == ["9.0.0", "8.0.0"]
    assert (accepted.protocol.min_layer, accepted.protocol.max_layer) == (92, 92)


async def test_who_cannot_be_called(two: tuple[Person, Person], control: SandboxControl) -> None:
    anna, bob = two
    with pytest.raises(errors.UserIdInvalid):
        await request(anna, bob, user_id=types.InputUserSelf())
    with pytest.raises(errors.UserIdInvalid):
        await request(anna, bob, user_id=types.InputUser(user_id=bob.user_id, access_hash=0))
    for rule in ("nobody", "contacts"):
        await control.privacy(bob.phone, calls=rule)
        with pytest.raises(errors.UserPrivacyRestricted):
            await request(anna, bob)
    user = await bob.input_of(anna)
    await bob.ask(functions.contacts.AddContact(id=user, first_name="Anna", last_name="", phone=""))
    await request(anna, bob)
    await bob.ask(functions.contacts.Block(id=types.InputPeerUser(user_id=user.user_id, access_hash=user.access_hash)))
    with pytest.raises(errors.UserIsBlocked403):
        await request(anna, bob)


async def test_nobody_has_it_and_nobody_answers(two: tuple[Person, Person], control: SandboxControl) -> None:
    anna, bob = two
    await control.timeouts(receive_s=0.2, ring_s=90)
    try:
        await request(anna, bob)
        await bob.call(types.PhoneCallRequested)
        assert isinstance(await ended(anna), Missed)
        assert isinstance(await ended(bob), Missed)
        await control.timeouts(receive_s=20, ring_s=0.2)
        await ring(anna, bob)
        assert isinstance(await ended(anna), Missed)
        assert isinstance(await ended(bob), Missed)
    finally:
        await control.timeouts(receive_s=20, ring_s=90)


async def test_several_devices(two: tuple[Person, Person], person: PersonFactory) -> None:
    anna, bob = two
    annas_other, bobs_other, bobs_silent = (
        await person(phone=anna.phone),
        await person(phone=bob.phone),
        await person(phone=bob.phone),
    )
    await bobs_silent.ask(functions.account.ChangeAuthorizationSettings(hash=0, call_requests_disabled=True))
    call = await ring(anna, bob)
    await bobs_other.call(types.PhoneCallRequested)
    await accept(bob, call)
    assert await ended(bobs_other) is None
    with pytest.raises(errors.CallAlreadyAccepted):
        await discard(bobs_other, call)
    await confirm(anna, await anna.call(types.PhoneCallAccepted))
    await discard(anna, call)
    await ended(bob)

    declined = await ring(anna, bob)
    await bobs_other.call(types.PhoneCallRequested)
    await discard(bobs_other, declined)
    assert isinstance(await ended(bob), Busy)
    for quiet in (annas_other, bobs_silent):
        await quiet.ask(functions.updates.GetState())  # whatever was pushed before has arrived
        assert not [update for update in quiet.updates if isinstance(update, types.UpdatePhoneCall)]


async def test_second_call(two: tuple[Person, Person], person: PersonFactory, control: SandboxControl) -> None:
    anna, bob = two
    eve = await person("Eve")
    await establish(anna, bob)
    second = await ring(eve, bob)
    await control.one_call_only(bob.phone, True)
    with pytest.raises(errors.CallOccupyFailed500):
        await accept(bob, second)
    await control.one_call_only(bob.phone, False)
    await accept(bob, second)


async def test_call_survives_reconnect(two: tuple[Person, Person], control: SandboxControl) -> None:
    anna, bob = two
    call = await establish(anna, bob)
    before = await control.duplicates()  # of the whole data centre: other tests have had theirs
    await control.cut(bob.phone, 0.5)
    await anna.ask(functions.phone.SendSignalingData(peer=peer(call), data=b"lost"))
    await bob.ask(functions.updates.GetState())
    await anna.ask(functions.phone.SendSignalingData(peer=peer(call), data=b"here"))
    assert (await bob.update(types.UpdatePhoneCallSignalingData)).data == b"here"
    await discard(bob, call, duration=1)
    assert isinstance(await ended(anna), Hangup)
    assert await control.duplicates() == before
