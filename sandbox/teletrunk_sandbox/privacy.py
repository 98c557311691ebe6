"""Privacy settings: https://core.telegram.org/api/privacy, and block lists."""

from __future__ import annotations

import re
from typing import Any

from pyrogram import raw
from pyrogram.raw.core import TLObject

from teletrunk_sandbox import tl
from teletrunk_sandbox.dispatch import Request, method
from teletrunk_sandbox.errors import bad_request
from teletrunk_sandbox.state import User

Rule = dict[str, Any]

_DEFAULTS: dict[str, str] = {"phone_number": "AllowContacts"}
PRESETS: dict[str, list[Rule]] = {
    "all": [{"rule": "AllowAll"}],
    "contacts": [{"rule": "AllowContacts"}, {"rule": "DisallowAll"}],
    "nobody": [{"rule": "DisallowAll"}],
}


def allows(owner: User, viewer: User, key: str) -> bool:
    """Whether the owner's rules for `key` let the viewer; a rule that names the viewer comes first."""
    rules = rules_of(owner, key)
    for named in (True, False):
        for rule in rules:
            if ("users" in rule) is named and _concerns(rule, owner, viewer):
                return str(rule["rule"]).startswith("Allow")
    return False


def rules_of(owner: User, key: str) -> list[Rule]:
    """The rules that are in force for a key."""
    return owner.privacy.get(key) or [{"rule": _DEFAULTS.get(key, "AllowAll")}]


def _concerns(rule: Rule, owner: User, viewer: User) -> bool:
    name = str(rule["rule"])
    if name.endswith("Users"):
        return viewer.id in rule["users"]
    return name.endswith("All") or (name.endswith("Contacts") and viewer.id in owner.contacts)


def _key_name(key: TLObject[Any]) -> str:
    """`inputPrivacyKeyPhoneCall` is kept as `phone_call`."""
    short = key.QUALNAME.rpartition("PrivacyKey")[2]
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", short).lower()


def _stored(request: Request, rule: TLObject[Any]) -> Rule:
    name = rule.QUALNAME.rpartition("PrivacyValue")[2]
    if isinstance(rule, raw.types.InputPrivacyValueAllowUsers | raw.types.InputPrivacyValueDisallowUsers):
        found = [request.dc.accounts.from_input(request.user, user).id for user in tl.boxed(rule.users)]
        return {"rule": name, "users": found}
    return {"rule": name}


def _answer(request: Request, key: str) -> raw.types.account.PrivacyRules:
    rules = []
    named: set[int] = set()
    for rule in rules_of(request.user, key):
        kind = getattr(raw.types, f"PrivacyValue{rule['rule']}")
        rules.append(tl.make(kind, **({"users": rule["users"]} if "users" in rule else {})))
        named.update(rule.get("users", ()))
    return raw.types.account.PrivacyRules(rules=rules, chats=[], users=request.dc.users_for(request.user, named))


@method(raw.functions.account.GetPrivacy)
def get_privacy(request: Request, query: raw.functions.account.GetPrivacy) -> tl.Answer:
    """account.getPrivacy: the rules of one key."""
    return _answer(request, _key_name(query.key))


@method(raw.functions.account.SetPrivacy)
def set_privacy(request: Request, query: raw.functions.account.SetPrivacy) -> tl.Answer:
    """account.setPrivacy: replace the rules of one key."""
    key = _key_name(query.key)
    rules = [_stored(request, rule) for rule in tl.boxed(query.rules)]
    if not rules:
        raise bad_request("PRIVACY_VALUE_INVALID")
    request.user.privacy[key] = rules
    request.dc.state.save_user(request.user)
    return _answer(request, key)


@method(raw.functions.contacts.Block)
def block(request: Request, query: raw.functions.contacts.Block) -> tl.Answer:
    """contacts.block: the user can neither call nor write any more."""
    user = request.dc.accounts.from_input(request.user, query.id)
    if user.id not in request.user.blocked:
        request.user.blocked.append(user.id)
        request.dc.state.save_user(request.user)
    return True


@method(raw.functions.contacts.Unblock)
def unblock(request: Request, query: raw.functions.contacts.Unblock) -> tl.Answer:
    """contacts.unblock: undo contacts.block."""
    user = request.dc.accounts.from_input(request.user, query.id)
    if user.id in request.user.blocked:
        request.user.blocked.remove(user.id)
        request.dc.state.save_user(request.user)
    return True
