"""The error contract: every refusal, in one table.

A refusal is raised as `Refusal(row id)` where its real condition is met. SIP answers, gRPC statuses, chat texts
and metric labels are all derived from the row. `docs/errors.md` says what each means to the people who see it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import grpc

Flow = Literal["common", "registration", "sip-to-telegram", "telegram-to-sip"]
Mender = Literal["caller", "pbx-admin", "account-owner", "operator", "telegram"]

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
DENIED = grpc.StatusCode.PERMISSION_DENIED
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
MISSING = grpc.StatusCode.NOT_FOUND


@dataclass(frozen=True)
class Row:
    """One documented refusal."""

    id: str
    sip_status: int
    phrase: str
    flow: Flow
    mender: Mender
    grpc_status: grpc.StatusCode
    remedy: str
    q850: int = 0  # a cause number of ITU-T Q.850, where one fits
    retry_after: int = 0  # seconds; 0: no Retry-After
    counts_to_ban: bool = False


_ROWS = (
    Row("unauthorized", 401, "Unauthorized", "common", "pbx-admin", grpc.StatusCode.UNAUTHENTICATED,
        "A first challenge is normal. If it repeats, enter the trunk's login and password in the PBX.", 21),
    Row("subscription-limit", 402, "Gateway subscription limit", "common", "account-owner",
        grpc.StatusCode.RESOURCE_EXHAUSTED, "Look at the account's plan: lines, validity and durations.", 34),
    Row("database-error", 500, "Database error", "common", "operator", grpc.StatusCode.INTERNAL,
        "The Manager's database does not answer: look at the Manager's log.", 41),
    Row("manager-unreachable", 503, "Manager unreachable", "common", "operator", UNAVAILABLE,
        "The Worker cannot reach the Manager: check that it runs and that the network between them is up.", 38, 60),
    Row("wrong-password", 403, "Wrong password", "registration", "pbx-admin", DENIED,
        "Enter the trunk's password in the PBX, or make a new one: teletrunk trunk reset-password LOGIN.", 21,
        counts_to_ban=True),
    Row("ip-not-allowed", 403, "IP address is not allowed", "registration", "pbx-admin", DENIED,
        "Add the PBX's address to the trunk's trusted addresses, or clear that list.", 21, counts_to_ban=True),
    Row("account-inactive", 403, "Telegram account is inactive", "registration", "account-owner", PRECONDITION,
        "Telegram ended the account's authorization: sign in again with teletrunk account add PHONE.", 21),
    Row("storage-off", 403, "Session storage is off", "registration", "operator", UNAVAILABLE,
        "Start the Session Storage that holds the account's session.", 38, 60),
    Row("worker-off", 403, "Worker is off", "registration", "operator", UNAVAILABLE,
        "The Worker is draining or disabled: use another, or wait until it is back.", 38, 60),
    Row("registration-type-not-allowed", 403, "PBX registration is not allowed on this Worker", "registration",
        "operator", DENIED, "Register at a Worker that allows it, or use another kind of connection.", 21),
    Row("session-access-revoked", 403, "Access to the session is revoked", "registration", "account-owner", DENIED,
        "The owner of the Telegram session took the right to use it away: ask them.", 21),
    Row("login-not-found", 404, "Login is not found", "registration", "pbx-admin", MISSING,
        "Check the login in the PBX; teletrunk trunk list shows those that exist.", 1, counts_to_ban=True),
    Row("privacy-restricted", 403, "Called user restricts calls", "sip-to-telegram", "caller", DENIED,
        "The called user must allow calls from this account in Telegram's privacy settings.", 21),
    Row("user-not-found", 404, "Telegram user is not found", "sip-to-telegram", "caller", MISSING,
        "Check the number or username; a hidden number cannot be found by phone.", 1),
    Row("not-registered", 404, "SIP account is not registered", "sip-to-telegram", "pbx-admin", PRECONDITION,
        "Let the PBX register before it calls.", 20),
    Row("telegram-timeout", 408, "Telegram request timeout", "sip-to-telegram", "telegram",
        grpc.StatusCode.DEADLINE_EXCEEDED, "Telegram did not answer in time: call less often, or try again.", 102),
    Row("no-confirmed-contact", 480, "user_id has no confirmed contact", "sip-to-telegram", "caller", PRECONDITION,
        "Call by phone or @username, or let the user write to the account first.", 20),
    Row("telegram-error", 500, "Telegram error", "sip-to-telegram", "telegram", grpc.StatusCode.INTERNAL,
        "Try again; if it stays, the phrase names Telegram's own error.", 41),
    Row("no-active-session", 503, "No active session", "sip-to-telegram", "pbx-admin", PRECONDITION,
        "The Worker has no live session for the account yet: wait a few seconds after registering.", 41, 5),
    Row("session-disconnected", 503, "Telegram session is disconnected", "sip-to-telegram", "account-owner",
        UNAVAILABLE, "The session's link to Telegram is down or no longer authorized: teletrunk account list.", 38, 30),
    Row("storage-unreachable", 503, "Session storage is unreachable", "sip-to-telegram", "operator", UNAVAILABLE,
        "The Worker cannot reach the Session Storage: check that it runs and the network between them.", 38, 60),
    Row("flood-wait", 503, "Too Many Requests", "sip-to-telegram", "account-owner",
        grpc.StatusCode.RESOURCE_EXHAUSTED, "Telegram limits this account: wait, and call less often.", 42),
    Row("worker-restarting", 503, "Worker is restarting", "sip-to-telegram", "operator", UNAVAILABLE,
        "The Worker has not finished starting, or is full or draining: try again.", 41, 30),
    Row("caller-is-gateway", 482, "Loop detected", "telegram-to-sip", "caller", PRECONDITION,
        "Call from a Telegram account that has no gateway of its own.", 25),
    Row("pbx-unreachable", 480, "PBX is unreachable", "telegram-to-sip", "pbx-admin", UNAVAILABLE,
        "The PBX is not registered or does not answer: check its trunk.", 20),
    Row("worker-unavailable", 503, "Worker is unavailable", "telegram-to-sip", "operator", UNAVAILABLE,
        "No Worker carries this account's calls now: start one.", 38),
)  # fmt: skip

TABLE: Final[dict[str, Row]] = {row.id: row for row in _ROWS}


class Refusal(Exception):
    """A call or registration is refused, for a reason of the table.

    `detail` says which of the row's causes it was, or carries Telegram's own word; it becomes part of the phrase.
    `retry_after` overrides the row's.
    """

    def __init__(self, row_id: str, detail: str = "", retry_after: int = 0) -> None:
        self.row = TABLE[row_id]
        self.detail = detail
        self.retry_after = retry_after or self.row.retry_after
        super().__init__(self.phrase)

    @property
    def phrase(self) -> str:
        """The SIP reason phrase, on one line."""
        detail = f": {self.detail}" if self.detail else ""
        if self.row.id == "flood-wait":
            detail = f": retry after {self.retry_after}"
        return " ".join(f"{self.row.phrase}{detail}".split())[:200]

    def sip_headers(self) -> list[tuple[str, str]]:
        """Reason (RFC 3326), Warning and Retry-After, in the order in which they are sent."""
        text = self.phrase.replace("\\", "").replace('"', "'")
        headers = [("Reason", f'SIP;cause={self.row.sip_status};text="{text}"')]
        if self.row.q850:
            headers.append(("Reason", f"Q.850;cause={self.row.q850}"))
        headers.append(("Warning", f'399 teletrunk "{self.row.id}"'))
        if self.retry_after:
            headers.append(("Retry-After", str(self.retry_after)))
        return headers
