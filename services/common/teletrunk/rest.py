"""The REST API as a table: each line is one RPC of the services for people, and how HTTP reaches it.

The Manager serves it and the `teletrunk` command speaks it when it is far from the Manager.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, Final

from teletrunk.v1 import admin_pb2, fleet_pb2, live_calls_pb2, subscription_pb2


class Role(enum.IntEnum):
    """Each may do what those before it may.

    Viewers and administrators have to do with accounts that are theirs or shared with them, and with their trunks and
    calls. What concerns the whole installation, to look at or to change, is the owners'.
    """

    viewer = 1
    administrator = 2
    owner = 3


_MAKE: Final = frozenset(
    (
        "StartAddAccount",
        "StartAddAccountByQr",
        "AddTrunk",
        "Invite",
        "AddJoinToken",
        "AddSubscription",
        "AddToken",
        "AddWebhook",
    )
)


@dataclass(frozen=True)
class Route:
    """`{name}` in the path is a field of the request; the others are the query's (GET, DELETE) or the body's."""

    rpc: str
    verb: str
    path: str
    role: Role
    module: Any

    @property
    def request(self) -> Any:
        """The class of its request message."""
        return getattr(self.module, f"{self.rpc}Request")

    @property
    def response(self) -> Any:
        return getattr(self.module, f"{self.rpc}Response")

    @property
    def status(self) -> int:
        """Of a success: 201 when something new is there, 204 when there is nothing to tell."""
        if self.verb != "GET" and not self.response.DESCRIPTOR.fields:
            return 204
        return 201 if self.rpc in _MAKE else 200

    @property
    def tag(self) -> str:
        """What it is about: the first word of its path."""
        return self.path.split("/")[2]

    @property
    def fields_in_path(self) -> tuple[str, ...]:
        return tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{"))


_V, _A, _O = Role.viewer, Role.administrator, Role.owner

ROUTES: Final = (
    Route("ListAccounts", "GET", "/v1/accounts", _V, admin_pb2),
    Route("GetAccount", "GET", "/v1/accounts/{account}", _V, admin_pb2),
    Route("StartAddAccount", "POST", "/v1/sign-ins", _A, admin_pb2),
    Route("StartAddAccountByQr", "POST", "/v1/qr-sign-ins", _A, admin_pb2),
    Route("AwaitAccountQr", "POST", "/v1/qr-sign-ins/{sign_in_id}/wait", _A, admin_pb2),
    Route("SubmitAccountCode", "POST", "/v1/sign-ins/{sign_in_id}/code", _A, admin_pb2),
    Route("SubmitAccountPassword", "POST", "/v1/sign-ins/{sign_in_id}/password", _A, admin_pb2),
    Route("ResendAccountCode", "POST", "/v1/sign-ins/{sign_in_id}/resend", _A, admin_pb2),
    Route("CheckAccount", "GET", "/v1/accounts/{account}/check", _V, admin_pb2),
    Route("RetryAccount", "POST", "/v1/accounts/{account}/retry", _A, admin_pb2),
    Route("RemoveAccount", "DELETE", "/v1/accounts/{account}", _A, admin_pb2),
    Route("ShareAccount", "PUT", "/v1/accounts/{account}/shares/{administrator}", _A, admin_pb2),
    Route("UnshareAccount", "DELETE", "/v1/accounts/{account}/shares/{administrator}", _A, admin_pb2),
    Route("TransferAccount", "PUT", "/v1/accounts/{account}/owner", _A, admin_pb2),
    Route("ListTrunks", "GET", "/v1/trunks", _V, admin_pb2),
    Route("GetTrunk", "GET", "/v1/trunks/{trunk}", _V, admin_pb2),
    Route("AddTrunk", "POST", "/v1/trunks", _A, admin_pb2),
    Route("ResetTrunkPassword", "POST", "/v1/trunks/{trunk}/password", _A, admin_pb2),
    Route("ChangeTrunk", "PATCH", "/v1/trunks/{trunk}", _A, admin_pb2),
    Route("TestNumber", "POST", "/v1/trunks/{trunk}/test-number", _A, admin_pb2),
    Route("RemoveTrunk", "DELETE", "/v1/trunks/{trunk}", _A, admin_pb2),
    Route("Trust", "PUT", "/v1/trunks/{trunk}/trusted", _A, fleet_pb2),
    Route("ListServices", "GET", "/v1/services", _O, admin_pb2),
    Route("GetService", "GET", "/v1/services/{service_id}", _O, admin_pb2),
    Route("Invite", "POST", "/v1/invitations", _O, fleet_pb2),
    Route("ListInvitations", "GET", "/v1/invitations", _O, fleet_pb2),
    Route("RevokeInvitation", "DELETE", "/v1/invitations/{id}", _O, fleet_pb2),
    Route("Revoke", "DELETE", "/v1/services/{service_id}", _O, fleet_pb2),
    Route("ApproveStorage", "POST", "/v1/storages/{storage_id}/approval", _O, fleet_pb2),
    Route("RemoveService", "POST", "/v1/services/{service_id}/removal", _O, fleet_pb2),
    Route("RenameService", "PUT", "/v1/services/{service_id}/name", _O, fleet_pb2),
    Route("ListJoinTokens", "GET", "/v1/join-tokens", _O, fleet_pb2),
    Route("AddJoinToken", "POST", "/v1/join-tokens", _O, fleet_pb2),
    Route("RevokeJoinToken", "DELETE", "/v1/join-tokens/{id}", _O, fleet_pb2),
    Route("Assign", "PUT", "/v1/accounts/{account}/workers", _A, fleet_pb2),
    Route("Drain", "PUT", "/v1/workers/{worker_id}/drain", _O, fleet_pb2),
    Route("ListBans", "GET", "/v1/bans", _O, fleet_pb2),
    Route("LiftBan", "DELETE", "/v1/bans", _O, fleet_pb2),
    Route("ListCalls", "GET", "/v1/calls", _V, admin_pb2),
    Route("GetCall", "GET", "/v1/calls/{call_id}", _V, admin_pb2),
    Route("ListLiveCalls", "GET", "/v1/live-calls", _V, live_calls_pb2),
    Route("SendDigits", "POST", "/v1/live-calls/{call_id}/digits", _A, live_calls_pb2),
    Route("HangUp", "DELETE", "/v1/live-calls/{call_id}", _A, live_calls_pb2),
    Route("ListSubscriptions", "GET", "/v1/subscriptions", _O, subscription_pb2),
    Route("GetSubscription", "GET", "/v1/subscriptions/{subscription}", _O, subscription_pb2),
    Route("AddSubscription", "POST", "/v1/subscriptions", _O, subscription_pb2),
    Route("ChangeSubscription", "PUT", "/v1/subscriptions/{subscription}", _O, subscription_pb2),
    Route("RemoveSubscription", "DELETE", "/v1/subscriptions/{subscription}", _O, subscription_pb2),
    Route("IncludeAccount", "PUT", "/v1/accounts/{account}/subscription", _O, subscription_pb2),
    Route("ListChanges", "GET", "/v1/changes", _O, admin_pb2),
    Route("GetToken", "GET", "/v1/tokens/{name}", _O, admin_pb2),
    Route("ListTokens", "GET", "/v1/tokens", _O, admin_pb2),
    Route("AddToken", "POST", "/v1/tokens", _O, admin_pb2),
    Route("RemoveToken", "DELETE", "/v1/tokens/{name}", _O, admin_pb2),
    Route("ListWebhooks", "GET", "/v1/webhooks", _O, admin_pb2),
    Route("AddWebhook", "POST", "/v1/webhooks", _O, admin_pb2),
    Route("RemoveWebhook", "DELETE", "/v1/webhooks/{webhook_id}", _O, admin_pb2),
    Route("TestWebhook", "POST", "/v1/webhooks/{webhook_id}/ping", _O, admin_pb2),
    Route("ListWebhookFailures", "GET", "/v1/webhook-failures", _O, admin_pb2),
)
