"""The error contract: every refusal, in one table.

A refusal is raised as `Refusal(row id)` where its real condition is met. SIP answers, gRPC statuses, chat texts
and metric labels are all derived from the row, and so are `docs/errors.md` and what `teletrunk explain` prints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import grpc

from teletrunk.remedies import (
    ADD_ACCOUNT,
    ADD_TRUNK,
    CHANGE_TRUNK,
    LIST_ACCOUNTS,
    LIST_STORAGES,
    LIST_TRUNKS,
    RESET_TRUNK_PASSWORD,
    TEST_NUMBER,
    Part,
    Shows,
    command_line,
)
from teletrunk.v1.call_pb2 import REFUSAL_CAUSE_UNSPECIFIED, RefusalCause

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
    essence: str  # what it means, in one sentence
    advice: Sequence[Part]  # what to do
    q850: int = 0  # a cause number of ITU-T Q.850, where one fits
    retry_after: int = 0  # seconds; 0: no Retry-After
    counts_to_ban: bool = False
    detail: str = ""  # what can follow the phrase, after a colon

    @property
    def remedy(self) -> str:
        """What to do, for a person at the command line."""
        return command_line(self.advice)


_ROWS = (
    Row("unauthorized", 401, "Unauthorized", "common", "pbx-admin", grpc.StatusCode.UNAUTHENTICATED,
        "The request came without credentials, or with some that have expired, and is asked to come again with them.",
        "Once at the beginning is normal. If it repeats, enter the trunk's login and password in the PBX, and see that "
        "it answers digest challenges.", 21),
    Row("subscription-limit", 402, "Gateway subscription limit", "common", "account-owner",
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "The account's plan does not allow this call; the phrase says which limit was met.",
        "Free a line or wait for the next period; for more, have the account's plan extended.", 34,
        detail="no paid line | expired | all lines busy | total duration exceeded | failed calls exceeded"),
    Row("database-error", 500, "Database error", "common", "operator", grpc.StatusCode.INTERNAL,
        "The Manager runs, but its database fails or refuses.",
        "Look for `database failed` in the Manager's log; see that the disk is not full and nothing holds a lock.",
        41),
    Row("manager-unreachable", 503, "Manager unreachable", "common", "operator", UNAVAILABLE,
        "The Worker cannot ask the Manager: the link is down, or no answer came in time.",
        "See that the Manager runs and that the Worker reaches its address. Calls that are up go on.", 38, 60),
    Row("wrong-password", 403, "Wrong password", "registration", "pbx-admin", DENIED,
        "The login exists, but the password in the PBX is another.",
        ("Enter the trunk's password in the PBX, or make a new one: ", RESET_TRUNK_PASSWORD.of(trunk="LOGIN"), "."), 21,
        counts_to_ban=True),
    Row("ip-not-allowed", 403, "IP address is not allowed", "registration", "pbx-admin", DENIED,
        "The password is right, but the PBX's address is not among those that the trunk trusts.",
        "Add the PBX's public address or subnet to the trunk's trusted addresses, or empty that list.", 21,
        counts_to_ban=True),
    Row("account-inactive", 403, "Telegram account is inactive", "registration", "account-owner", PRECONDITION,
        "Telegram has ended the account's sign-in here, or has closed the account.",
        ("Sign in again with ", ADD_ACCOUNT, "; the trunks stay. If Telegram has blocked the account, use another."),
        21, detail="Telegram's name of the reason"),
    Row("storage-off", 403, "Session storage is off", "registration", "operator", UNAVAILABLE,
        "The Session Storage that holds the account's session is not attached to the Manager.",
        ("Start that Session Storage: ", Shows(LIST_STORAGES, "which are attached"), "."), 38, 60),
    Row("worker-off", 403, "Worker is off", "registration", "operator", UNAVAILABLE,
        "This Worker takes no registrations now: it is disabled, or is being drained before it stops.",
        "Register at another Worker, or wait until this one is back.", 38, 60),
    Row("registration-type-not-allowed", 403, "PBX registration is not allowed on this Worker", "registration",
        "operator", DENIED,
        "This Worker is set up for other kinds of connection than a PBX that registers.",
        "Register at a Worker that allows it, or use another kind of connection.", 21),
    Row("session-access-revoked", 403, "Access to the session is revoked", "registration", "account-owner", DENIED,
        "Whoever made the trunk may not use the account's Telegram session any more.",
        "Ask the account's owner for access, or make the trunk for an account of your own.", 21),
    Row("login-not-found", 404, "Login is not found", "registration", "pbx-admin", MISSING,
        "There is no trunk with this login, or it was removed.",
        ("Compare the login in the PBX with ", LIST_TRUNKS, "; ", ADD_TRUNK, " makes a new trunk."), 1,
        counts_to_ban=True),
    Row("privacy-restricted", 403, "Called user restricts calls", "sip-to-telegram", "caller", DENIED,
        "The called person's privacy settings do not let this account call, or they have blocked it.",
        "Ask the called person to allow calls from this account in Telegram, under Privacy and Security, Calls.", 21),
    Row("user-not-found", 404, "Telegram user is not found", "sip-to-telegram", "caller", MISSING,
        "What was dialled leads to nobody whom this account may find at Telegram.",
        "Check the number or username. People can hide from being found by number: then dial @username.", 1,
        detail="why, when it is not Telegram that says so"),
    Row("number-not-allowed", 403, "Number is not allowed", "sip-to-telegram", "pbx-admin", DENIED,
        "The trunk's dial rules do not let this number through; the phrase names the rule.",
        ("Look at what they make of it: ", TEST_NUMBER.of(trunk="LOGIN"),
         ". Dial another number, or change the trunk's dial rules."), 21, detail="the rule that it does not match"),
    Row("not-registered", 404, "SIP account is not registered", "sip-to-telegram", "pbx-admin", PRECONDITION,
        "The PBX calls with the login of a trunk that is not registered at this Worker.",
        "Let the PBX register, here, before it calls, and renew in time.", 20),
    Row("telegram-timeout", 408, "Telegram request timeout", "sip-to-telegram", "telegram",
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "Telegram got the request and gave no answer in time.",
        "Try again later. Telegram slows accounts down that look up or call many people: call less often.", 102),
    Row("no-confirmed-contact", 480, "user_id has no confirmed contact", "sip-to-telegram", "caller", PRECONDITION,
        "A user id was dialled of a person with whom this account has had no contact yet.",
        "Dial the phone number or @username instead, or let the person write to the account or call it once.", 20),
    Row("telegram-error", 500, "Telegram error", "sip-to-telegram", "telegram", grpc.StatusCode.INTERNAL,
        "Telegram refused the call for another reason, or the sound to Telegram could not be connected.",
        "Try again. If it stays, the words after the colon are Telegram's own; without sound, see that the Worker may "
        "send UDP to the internet.", 41, detail="MESSAGE"),
    Row("no-active-session", 503, "No active session", "sip-to-telegram", "pbx-admin", PRECONDITION,
        "The call came before the account's session was ready here.",
        "Call again a few seconds after the PBX has registered; if it stays, let the PBX register anew.", 41, 5),
    Row("session-disconnected", 503, "Telegram session is disconnected", "sip-to-telegram", "account-owner",
        UNAVAILABLE,
        "The account is known, but its connection to Telegram is down or no longer signed in.",
        ("Wait half a minute: it connects by itself. If ", Shows(LIST_ACCOUNTS, "it signed out"),
         ", sign in again; if restored or copied, run teletrunk storage adopt: it never connects before."),
        38, 30, detail="Telegram's name of the reason, or how far the clock is wrong"),
    Row("storage-unreachable", 503, "Session storage is unreachable", "sip-to-telegram", "operator", UNAVAILABLE,
        "The Worker has no link to the Session Storage that holds the account's session.",
        "See that the Session Storage runs and that the Worker reaches its address.", 38, 60),
    Row("flood-wait", 503, "Too Many Requests", "sip-to-telegram", "account-owner",
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "Telegram has limited this account for a time, for calling or looking up too much.",
        "Wait as long as it says. Then call less often, or spread the calls over several accounts.", 42,
        detail="retry after N"),
    Row("worker-restarting", 503, "Worker is restarting", "sip-to-telegram", "operator", UNAVAILABLE,
        "The Worker takes no call now: it has just started, or is stopping.",
        "Try again in half a minute, or have the call go to another Worker.", 41, 30),
    Row("caller-is-gateway", 482, "Loop detected", "telegram-to-sip", "caller", PRECONDITION,
        "The caller's account is itself connected to a gateway, and a call between two gateways could go in circles.",
        "Call from a Telegram account that has no gateway of its own.", 25),
    Row("pbx-unreachable", 480, "PBX is unreachable", "telegram-to-sip", "pbx-admin", UNAVAILABLE,
        "No PBX is registered for the called account, or it gives no answer.",
        "Call later. The PBX's administrator should see that its trunk is registered, and let SIP in.", 20),
    Row("worker-unavailable", 503, "Worker is unavailable", "telegram-to-sip", "operator", UNAVAILABLE,
        "No Worker carries the called account's calls at the moment.",
        "Call later. Whoever runs the gateway should start a Worker, or look at its log.", 38),
    Row("caller-not-allowed", 403, "Caller is not allowed", "telegram-to-sip", "pbx-admin", DENIED,
        "The called account takes no calls from this Telegram user.",
        "Ask whoever runs the PBX to put you among the callers that its trunk allows.", 21),
    Row("bad-request", 400, "Bad Request", "common", "pbx-admin", grpc.StatusCode.INVALID_ARGUMENT,
        "Something in the message cannot be read as SIP; the phrase names the header.",
        "Report it to whoever makes the PBX, with the message as it was sent. A NAT helper (SIP ALG) on the way may "
        "have spoilt it: switch that off.", 95, detail="what cannot be read, the header first"),
    Row("message-too-large", 513, "Message Too Large", "common", "pbx-admin", grpc.StatusCode.INVALID_ARGUMENT,
        "The message is longer than can be carried: 4,000 bytes for what goes to a call's media host.",
        "Let the PBX offer fewer codecs and no video, and send fewer headers of its own.", 95,
        detail="what is too long"),
    Row("no-common-codec", 488, "No common codec", "sip-to-telegram", "pbx-admin", PRECONDITION,
        "The PBX offers no codec of sound that the trunk has, or answers with none; the phrase lists both.",
        ("Allow one of the trunk's codecs in the PBX, or the PBX's in the trunk: ",
         CHANGE_TRUNK.of(trunk="LOGIN").giving("--codecs", "codecs"), "."),
        88, detail="offered A, B; this trunk has C, D | answered A; offered C, D"),
    Row("transfer-refused", 603, "Transfer is refused", "common", "pbx-admin", PRECONDITION,
        "The PBX asks by REFER that a call goes on elsewhere, which cannot be: the call stays as it is.",
        ("Transfer calls that are up, to a number of the same PBX, without asking that number first. Transfers are "
         "allowed by ", CHANGE_TRUNK.of(trunk="LOGIN").giving("--transfers", "options.transfers"), "."), 21,
        detail="this trunk allows none | only to a number of this PBX | only to a number, and not to another call | "
        "why else it cannot be"),
    Row("ended-by-operator", 480, "Ended by an operator", "common", "caller", PRECONDITION,
        "Somebody who looks after the gateway has ended the call; its record says who.",
        "Call again, or ask whoever runs the gateway why.", 31),
    Row("worker-full", 503, "All lines of this Worker are busy", "common", "operator", UNAVAILABLE,
        "The Worker carries as many calls as it is allowed to.",
        "Try again when a call has ended. For more at a time raise TELETRUNK_MAX_CALLS or add a Worker.", 34, 30),
    Row("media-failed", 500, "Media failed", "common", "operator", grpc.StatusCode.INTERNAL,
        "A process of the gateway that carries sound has died, hung, or had no room; the phrase says which.",
        "Call again: it is replaced within seconds. If it repeats, send the Worker's log to its makers.", 41,
        detail="SIP host | Telegram host, and what happened to it"),
)  # fmt: skip

_FOR_STRANGERS: Final = "Call again later. If it stays so, tell whoever has this account."
TABLE: Final[dict[str, Row]] = {row.id: row for row in _ROWS}


class Refusal(Exception):
    """A call or registration is refused, for a reason of the table.

    `detail` says more, or carries Telegram's own word; it becomes part of the phrase. `retry_after` overrides the
    row's. `cause` is which of several the row has here: such a refusal is made by `causes.py`.
    """

    def __init__(
        self,
        row_id: str,
        detail: str = "",
        retry_after: int = 0,
        cause: RefusalCause.ValueType = REFUSAL_CAUSE_UNSPECIFIED,
    ) -> None:
        self.row = TABLE[row_id]
        self.detail = detail
        self.cause = cause
        self.retry_after = retry_after or self.row.retry_after
        super().__init__(self.phrase)

    @property
    def phrase(self) -> str:
        """The SIP reason phrase, on one line."""
        detail = f": {self.detail}" if self.detail else ""
        if self.row.id == "flood-wait":
            detail = f": retry after {self.retry_after}"
        return " ".join(f"{self.row.phrase}{detail}".split())[:200]

    def for_caller(self) -> str:
        """What a Telegram caller reads in the chat, who may be anybody: nothing of what others have to mend."""
        row = self.row
        is_theirs = row.flow == "telegram-to-sip" or row.mender == "caller"
        return f"{row.sip_status} {row.phrase}\n{row.remedy if is_theirs else _FOR_STRANGERS}"

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
