"""Finding, addressing and writing to people."""

from __future__ import annotations

import pytest
from pyrogram import errors, raw
from teletrunk_sandbox.control import SandboxControl

from tests.sandbox.dc_world import PersonFactory

functions, types = raw.functions, raw.types


async def test_resolve_by_name_phone_and_import(person: PersonFactory) -> None:
    anna = await person("Anna")
    bob = await person("Bob", username="bob_the_builder")
    by_name = await anna.ask(functions.contacts.ResolveUsername(username="Bob_The_Builder"))
    by_phone = await anna.input_of(bob)
    contact = types.InputPhoneContact(client_id=7, phone="+" + bob.phone, first_name="B", last_name="")
    stranger = types.InputPhoneContact(client_id=8, phone="+15550000000", first_name="S", last_name="")
    imported = await anna.ask(functions.contacts.ImportContacts(contacts=[contact, stranger]))
    assert [(one.user_id, one.client_id) for one in imported.imported] == [(bob.user_id, 7)]
    assert by_name.users[0].access_hash == by_phone.access_hash == imported.users[0].access_hash
    kept = await anna.ask(functions.contacts.GetContacts(hash=0))
    assert [contact.user_id for contact in kept.contacts] == [bob.user_id]
    assert kept.users[0].phone == bob.phone and by_name.users[0].phone is None


async def test_nobody_there(person: PersonFactory) -> None:
    anna = await person("Anna")
    with pytest.raises(errors.UsernameNotOccupied):
        await anna.ask(functions.contacts.ResolveUsername(username="nobody_of_this_name"))
    with pytest.raises(errors.UsernameInvalid):
        await anna.ask(functions.contacts.ResolveUsername(username="1"))
    with pytest.raises(errors.PhoneNotOccupied):
        await anna.ask(functions.contacts.ResolvePhone(phone="15550000000"))
    with pytest.raises(errors.PhoneNotOccupied):  # digits alone
        await anna.ask(functions.contacts.ResolvePhone(phone=f"+{anna.phone}"))


async def test_hidden_number_is_not_found(person: PersonFactory, control: SandboxControl) -> None:
    anna, bob = await person("Anna"), await person("Bob")
    await control.privacy(bob.phone, found_by_phone="nobody")
    with pytest.raises(errors.PhoneNotOccupied):
        await anna.input_of(bob)


async def test_access_hash_belongs_to_its_account(person: PersonFactory) -> None:
    anna, bob, eve = await person("Anna"), await person("Bob"), await person("Eve")
    annas, eves = await anna.input_of(bob), await eve.input_of(bob)
    assert annas.access_hash != eves.access_hash
    assert (await anna.ask(functions.users.GetUsers(id=[annas])))[0].first_name == "Bob"
    with pytest.raises(errors.UserIdInvalid):
        await eve.ask(functions.users.GetUsers(id=[annas]))
    with pytest.raises(errors.PeerIdInvalid):
        peer = types.InputPeerUser(user_id=bob.user_id, access_hash=0)
        await anna.ask(functions.messages.SendMessage(peer=peer, message="x", random_id=1))


async def test_users_of_four_bytes(person: PersonFactory) -> None:
    anna = await person("Anna")
    assert (await anna.ask(functions.users.GetUsers(id=[types.InputUserSelf()])))[0].is_self
    await anna.ask(
        functions.account.SetPrivacy(key=types.InputPrivacyKeyPhoneCall(), rules=[types.InputPrivacyValueDisallowAll()])
    )
    rules = await anna.ask(functions.account.GetPrivacy(key=types.InputPrivacyKeyPhoneCall()))
    assert isinstance(rules.rules[0], types.PrivacyValueDisallowAll)
    p2p = await anna.ask(functions.account.GetPrivacy(key=types.InputPrivacyKeyPhoneP2P()))
    assert isinstance(p2p.rules[0], types.PrivacyValueAllowAll)


async def test_messages_reach_both_sides(person: PersonFactory) -> None:
    anna, bob = await person("Anna"), await person("Bob")
    annas_other = await person(phone=anna.phone)
    before = await bob.ask(functions.updates.GetState())
    await anna.input_of(bob)
    sent = await anna.client.send_message(bob.user_id, "hello")
    assert sent.text == "hello" and sent.outgoing
    got = (await bob.update(types.UpdateNewMessage)).message
    assert (got.message, got.out, got.peer_id.user_id) == ("hello", False, anna.user_id)
    assert (await annas_other.update(types.UpdateNewMessage)).message.out
    assert (await bob.client.send_message(anna.user_id, "hi")).text == "hi"  # the push taught him her hash

    await anna.client.edit_message_text(bob.user_id, sent.id, "hello!")
    assert (await bob.update(types.UpdateEditMessage)).message.message == "hello!"
    history = [message.text async for message in anna.client.get_chat_history(bob.user_id)]
    assert history == ["hi", "hello!"]
    difference = await bob.ask(functions.updates.GetDifference(pts=before.pts, date=before.date, qts=0))
    assert [message.message for message in difference.new_messages] == ["hello!", "hi"]

    await anna.client.delete_messages(bob.user_id, sent.id)
    assert (await bob.update(types.UpdateDeleteMessages)).messages == [got.id]


async def test_a_reply_leads_to_its_original(person: PersonFactory) -> None:
    anna, bob = await person("Anna"), await person("Bob")
    user = await anna.input_of(bob)
    peer = types.InputPeerUser(user_id=user.user_id, access_hash=user.access_hash)
    sent = await anna.ask(functions.messages.SendMessage(peer=peer, message="first", random_id=1))
    first = next(update.id for update in sent.updates if isinstance(update, types.UpdateMessageID))
    await bob.update(types.UpdateNewMessage)
    reply = types.InputReplyToMessage(reply_to_msg_id=first)
    await anna.ask(functions.messages.SendMessage(peer=peer, message="second", random_id=2, reply_to=reply))
    second = (await bob.update(types.UpdateNewMessage)).message
    asked = [types.InputMessageReplyTo(id=second.id), types.InputMessageID(id=second.id)]
    found = await bob.ask(functions.messages.GetMessages(id=asked))
    assert [message.message for message in found.messages] == ["first", "second"]
    assert second.reply_to.reply_to_msg_id == found.messages[0].id


async def test_long_history_is_packed(person: PersonFactory) -> None:
    anna, bob = await person("Anna"), await person("Bob")
    await anna.input_of(bob)
    text = "x" * 4000
    for _ in range(3):
        await anna.client.send_message(bob.user_id, text)
    assert [message.text async for message in anna.client.get_chat_history(bob.user_id)] == [text] * 3


async def test_blocked_people_cannot_write(person: PersonFactory) -> None:
    anna, bob = await person("Anna"), await person("Bob")
    user = await bob.input_of(anna)
    peer = types.InputPeerUser(user_id=user.user_id, access_hash=user.access_hash)
    await anna.input_of(bob)
    await bob.ask(functions.contacts.Block(id=peer))
    with pytest.raises(errors.UserIsBlocked403):
        await anna.client.send_message(bob.user_id, "hello")
    await bob.ask(functions.contacts.Unblock(id=peer))
    await anna.client.send_message(bob.user_id, "hello")
