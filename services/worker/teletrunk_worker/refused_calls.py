"""Records of calls that were refused before they had a host: who called whom, when, and which row it met.

Only for PBXs whose credentials are known. A PBX that tries again and again is written down so many times a minute;
the metric of refusals counts them all.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from teletrunk.errors import Refusal
from teletrunk.v1 import call_pb2

from teletrunk_worker.policy.admission import Invite

MOST_A_MINUTE: Final = 30  # of one login
_MINUTE_S = 60.0
_MOST_LOGINS = 10_000
# Rows that say that the password was not shown, or could not be looked at.
_UNKNOWN = frozenset({"unauthorized", "wrong-password", "login-not-found", "database-error", "manager-unreachable"})


class RefusedCalls:
    def __init__(
        self,
        worker_id: str,
        is_home: Callable[[str, str], bool],
        report: Callable[[call_pb2.CallRecord], None],
    ) -> None:
        """`is_home` says of a login and an address whether its password has come from there before."""
        self._worker_id = worker_id
        self._is_home = is_home
        self._report = report
        self._noted: OrderedDict[str, tuple[float, int]] = OrderedDict()  # start of a minute, and count

    def note(self, call_id: str, invite: Invite, received_at: float, refusal: Refusal, *, was_asked: bool) -> None:
        """`was_asked`: the Manager has seen the credentials."""
        login = invite.credentials.username
        proven = was_asked and refusal.row.id not in _UNKNOWN
        if not (proven or self._is_home(login, invite.source_address)) or not self._has_room(login):
            return
        now = time.time()
        steps = [
            call_pb2.CallStep(at=received_at, source="pbx", target="worker", text=f"INVITE {invite.called}"),
            call_pb2.CallStep(at=now, source="worker", target="pbx", text=f"{refusal.row.sip_status} {refusal.phrase}"),
        ]
        self._report(
            call_pb2.CallRecord(
                call_id=call_id,
                worker_id=self._worker_id,
                direction=call_pb2.DIRECTION_SIP_TO_TELEGRAM,
                caller=login,
                called=invite.called,
                invited_at=received_at,
                ended_at=now,
                ended_by="gateway",
                error_id=refusal.row.id,
                sip_status=refusal.row.sip_status,
                steps=steps,
            )
        )

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
