"""What the protos cannot say and the API's description shall: what is required, closed sets of words, examples."""

from __future__ import annotations

from typing import Final

from teletrunk.rest import Role

_V1 = "teletrunk.v1."

# Fields of requests without which there is nothing to do.
REQUIRED: Final = frozenset(
    f"{_V1}{name}"
    for name in (
        "StartAddAccountRequest.phone",
        "SubmitAccountPasswordRequest.password",
        "AddTrunkRequest.account",
        "TestNumberRequest.number",
        "InviteRequest.kind",
        "AddJoinTokenRequest.kind",
        "LiftBanRequest.address",
        "AddSubscriptionRequest.name",
        "AddTokenRequest.name",
        "AddTokenRequest.role",
        "AddWebhookRequest.url",
    )
)

_ROLES = tuple(Role.__members__)
_KINDS = ("worker", "storage")
_SCOPES = ("own", "all")

# Texts that are one of a few words.
CLOSED_SETS: Final[dict[str, tuple[str, ...]]] = {
    f"{_V1}Token.role": _ROLES,
    f"{_V1}Token.scope": _SCOPES,
    f"{_V1}AddTokenRequest.role": _ROLES,
    f"{_V1}AddTokenRequest.scope": ("", *_SCOPES),
    f"{_V1}InviteRequest.kind": _KINDS,
    f"{_V1}AddJoinTokenRequest.kind": _KINDS,
    f"{_V1}JoinToken.kind": _KINDS,
    f"{_V1}Invitation.kind": _KINDS,
    f"{_V1}AttachedService.kind": _KINDS,
    f"{_V1}Change.action": ("insert", "update", "delete"),
}

# The command's words for values of enums, where they are not the value's own name without its beginning.
SHORT_WORDS: Final[dict[str, dict[str, str]]] = {
    "Direction": {"to-telegram": "DIRECTION_SIP_TO_TELEGRAM", "to-sip": "DIRECTION_TELEGRAM_TO_SIP"},
    "TrunkKind": {"registers": "TRUNK_KIND_UNSPECIFIED"},
    "DtmfMethod": {"any": "DTMF_METHOD_UNSPECIFIED"},
    "SrtpPolicy": {"off": "SRTP_POLICY_UNSPECIFIED"},
    "HoldSound": {"silence": "HOLD_SOUND_UNSPECIFIED"},
}

# By the names of fields, wherever they are.
EXAMPLES: Final[dict[str, list[str]]] = {
    "account": ["+15550100", "@anna"],
    "address": ["192.0.2.7"],
    "addresses": ["192.0.2.0/24", "2001:db8::7"],
    "administrator": ["anna"],
    "called": ["+15550123", "@bob"],
    "code": ["12345"],
    "codecs": ["PCMU", "PCMA"],
    "comment": ["front desk"],
    "kind": ["worker"],
    "login": ["office"],
    "name": ["anna"],
    "number": ["+15550123", "@bob"],
    "phone": ["+15550100"],
    "role": ["administrator"],
    "row": ["user-not-found"],
    "subscription": ["small-office"],
    "trunk": ["office"],
    "url": ["https://pbx.example/calls"],
    "username": ["anna"],
}
