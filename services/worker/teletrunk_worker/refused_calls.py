"""Records of calls that were refused before they had a host: who called whom, when, and which row it met.

Only for PBXs whose credentials are known. A PBX that tries again and again is written down so many times a minute;
the metric of refusals counts them all.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import structlog
from teletrunk.errors import Refusal
from teletrunk.v1 import call_pb2

from teletrunk_worker.call.record import caller_leg, note_refusal
from teletrunk_worker.policy.admission import Invite

log = structlog.get_logger()

MOST_A_MINUTE: Final = 30  # of one login
_MINUTE_S = 60.0
_MOST_LOGINS = 10_000
# Rows that say that the password was not shown, or could not be looked at.
_UNKNOWN = frozenset({"unauthorized", "wrong-password", "login-not-found", "database-error", "manager-unreachable"})


class RefusedCalls:
    def __init__(
        self,
        is_home: Callable[[str, str], bool],
        report: Callable[[call_pb2.CallRecord], None],
    ) -> None:
        """`is_home` says of a login and an address whether its password has come from there before."""
        self._is_home = is_home
        self._report = report
        self._noted: OrderedDict[str, tuple[float, int]] = OrderedDict()  # start of a minute, and count

    def note(self, record: call_pb2.CallRecord, invite: Invite, refusal: Refusal, *, was_asked: bool) -> None:
        """Fills in and reports a record that was begun for the call. `was_asked`: the Manager has seen the digest."""
        login = invite.credentials.username
        proven = was_asked and refusal.row.id not in _UNKNOWN
        if not (proven or self._is_home(login, invite.source_address)) or not self._has_room(login):
            return
        called = invite.called.encode("utf-8", "replace").decode()  # bytes that are no UTF-8 cannot be stored
        record.caller, record.called = login, called
        record.sip_legs.append(caller_leg(invite))
        record.ended_at, record.ended_by = time.time(), "gateway"
        note_refusal(record, refusal)
        record.sip_status = refusal.row.sip_status
        answer = f"{refusal.row.sip_status} {refusal.phrase}"
        asked = call_pb2.CallStep(at=record.invited_at, source="pbx", target="worker", text=f"INVITE {called}")
        said = call_pb2.CallStep(at=record.ended_at, source="worker", target="pbx", text=answer)
        record.steps.extend([asked, said])
        self._report(record)
        log.info(
            "call refused", call_id=record.call_id, row=refusal.row.id, caller=login, called=called,
            sip_call_id=record.sip_legs[0].sip_call_id, peer=invite.peer, trunk_id=record.sip_legs[0].trunk_id,
        )  # fmt: skip

    def _has_room(self, login: str) -> bool:
        now = time.monotonic()
        began, count = self._noted.get(login, (now, 0))
        if now - began >= _MINUTE_S:
            began, count = now, 0
        self._noted[login] = (began, count + 1)
        self._noted.move_to_end(login)
        if len(self._noted) > _MOST_LOGINS:
            self._noted.popitem(last=False)
        return count < MOST_A_MINUTE
