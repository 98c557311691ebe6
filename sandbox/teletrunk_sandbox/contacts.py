"""Finding people and keeping them: https://core.telegram.org/api/contacts."""

from __future__ import annotations

from typing import Any

from pyrogram import raw

from teletrunk_sandbox import privacy, tl
from teletrunk_sandbox.accounts import digits_of
from teletrunk_sandbox.dispatch import Request, method
from teletrunk_sandbox.errors import RpcRefusal, bad_request
from teletrunk_sandbox.state import User


def _found_by_phone(request: Request, phone: str) -> User | None:
    user = request.dc.accounts.by_phone(phone)
    if user is None or user.deactivated:
        return None
    return user if user is request.user or privacy.allows(user, request.user, "added_by_phone") else None


def _resolved(request: Request, user: User) -> raw.types.contacts.ResolvedPeer:
    return raw.types.contacts.ResolvedPeer(
        peer=raw.types.PeerUser(user_id=user.id),
        chats=[],
        users=[request.dc.accounts.seen_by(request.user, user)],
    )


def _keep(request: Request, user: User) -> None:
    if user.id not in request.user.contacts and user is not request.user:
        request.user.contacts.append(user.id)
        request.dc.state.save_user(request.user)


@method(raw.functions.contacts.ResolveUsername)
def resolve_username(request: Request, query: raw.functions.contacts.ResolveUsername) -> tl.Answer:
    """contacts.resolveUsername: a public name's user."""
    return _resolved(request, request.dc.accounts.by_username(query.username.lstrip("@")))


@method(raw.functions.contacts.ResolvePhone)
def resolve_phone(request: Request, query: raw.functions.contacts.ResolvePhone) -> tl.Answer:
    """contacts.resolvePhone: a number's user, if that user lets himself be found."""
    user = _found_by_phone(request, query.phone) if query.phone.isdecimal() else None  # digits alone, without a +
    if user is None:
        raise bad_request("PHONE_NOT_OCCUPIED")
    return _resolved(request, user)


@method(raw.functions.contacts.ImportContacts)
def import_contacts(request: Request, query: raw.functions.contacts.ImportContacts) -> tl.Answer:
    """contacts.importContacts: those of the numbers that have a Telegram account."""
    imported: list[raw.types.ImportedContact] = []
    for contact in tl.boxed(query.contacts):
        user = _importable(request, contact)
        if user:
            _keep(request, user)
            imported.append(raw.types.ImportedContact(user_id=user.id, client_id=contact.client_id))
    return raw.types.contacts.ImportedContacts(
        imported=list(imported),
        popular_invites=[],
        retry_contacts=[],
        users=request.dc.users_for(request.user, {contact.user_id for contact in imported}),
    )


def _importable(request: Request, contact: Any) -> User | None:
    try:
        return _found_by_phone(request, digits_of(contact.phone))
    except RpcRefusal:
        return None  # one wrong number does not spoil the others


@method(raw.functions.contacts.AddContact)
def add_contact(request: Request, query: raw.functions.contacts.AddContact) -> tl.Answer:
    """contacts.addContact: keep a user whom one can address already."""
    user = request.dc.accounts.from_input(request.user, query.id)
    _keep(request, user)
    return request.dc.updates.compose(request.user, [], {user.id})


@method(raw.functions.contacts.DeleteContacts)
def delete_contacts(request: Request, query: raw.functions.contacts.DeleteContacts) -> tl.Answer:
    """contacts.deleteContacts: keep some users no more."""
    gone = {request.dc.accounts.from_input(request.user, user).id for user in tl.boxed(query.id)}
    request.user.contacts = [user_id for user_id in request.user.contacts if user_id not in gone]
    request.dc.state.save_user(request.user)
    return request.dc.updates.compose(request.user, [], gone)


@method(raw.functions.contacts.GetContacts)
def get_contacts(request: Request, query: raw.functions.contacts.GetContacts) -> tl.Answer:
    """contacts.getContacts: all that are kept."""
    users = request.dc.users_for(request.user, request.user.contacts)
    return raw.types.contacts.Contacts(
        contacts=[raw.types.Contact(user_id=user.id, mutual=bool(user.mutual_contact)) for user in users],
        saved_count=len(users),
        users=list(users),
    )


@method(raw.functions.users.GetUsers)
def get_users(request: Request, query: raw.functions.users.GetUsers) -> tl.Answer:
    """users.getUsers: those that the account may address, each as it sees them."""
    found = [request.dc.accounts.from_input(request.user, user) for user in tl.boxed(query.id)]
    return [request.dc.accounts.seen_by(request.user, user) for user in found]


@method(raw.functions.users.GetFullUser)
def get_full_user(request: Request, query: raw.functions.users.GetFullUser) -> tl.Answer:
    """users.getFullUser: among others, whether the user takes calls from here."""
    user = request.dc.accounts.from_input(request.user, query.id)
    callable_ = user is not request.user and privacy.allows(user, request.user, "phone_call")
    full = tl.make(
        raw.types.UserFull,
        id=user.id,
        settings=raw.types.PeerSettings(),
        notify_settings=raw.types.PeerNotifySettings(),
        blocked=user.id in request.user.blocked,
        phone_calls_available=user is not request.user,
        phone_calls_private=not callable_,
        video_calls_available=callable_,
    )
    return raw.types.users.UserFull(full_user=full, chats=[], users=[request.dc.accounts.seen_by(request.user, user)])
