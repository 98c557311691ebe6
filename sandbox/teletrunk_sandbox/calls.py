"""The rules of one-to-one calls: who hears of what, and when a call ends by itself.

https://core.telegram.org/api/end-to-end/voice-calls
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from pyrogram import raw

from teletrunk_sandbox.call import Call, CallState, Relay, common_protocol
from teletrunk_sandbox.errors import RpcRefusal, bad_request
from teletrunk_sandbox.state import Authorization, User

if TYPE_CHECKING:
    from teletrunk_sandbox.server import DataCentre

log = structlog.get_logger(__name__)

_KEPT_CALLS = 10_000


@dataclass(slots=True)
class Timeouts:
    """How long a call may wait for a device to have it, and then for someone to answer."""

    receive: float = 20.0
    ring: float = 90.0


class Calls:
    """All calls, those that are over too, for late requests and for the tests."""

    def __init__(self, dc: DataCentre) -> None:
        self._dc = dc
        self._calls: dict[int, Call] = {}
        self._random_ids: set[tuple[int, int]] = set()
        self.timeouts = Timeouts()

    def all(self) -> list[Call]:
        """Every call since the start, the oldest first."""
        return list(self._calls.values())

    def of(self, user: User, peer: raw.types.InputPhoneCall) -> Call:
        """The call that a user names by id and access hash."""
        call = self._calls.get(peer.id)
        if call is None or call.access_hash != peer.access_hash or not call.involves(user):
            raise bad_request("CALL_PEER_INVALID")
        return call

    def request(
        self,
        device: Authorization,
        admin: User,
        participant: User,
        query: raw.functions.phone.RequestCall,
        protocol: raw.types.PhoneCallProtocol,
        relay: Relay,
    ) -> Call:
        """Let the callee's devices ring; the call ends as missed unless one reports in time."""
        if (admin.id, query.random_id) in self._random_ids:
            raise RpcRefusal(500, "RANDOM_ID_DUPLICATE")
        self._random_ids.add((admin.id, query.random_id))
        call = Call(
            id=secrets.randbits(62),
            admin=admin,
            admin_device=device,
            participant=participant,
            g_a_hash=query.g_a_hash,
            protocol=protocol,
            relay=relay,
            video=bool(query.video),
        )
        self._calls[call.id] = call
        self._drop_oldest()
        self._tell(call, participant, self._ringing_devices(call))
        self._end_after(call, self.timeouts.receive)
        log.info("call requested", call=call.id, admin=admin.phone, participant=participant.phone)
        return call

    def receive(self, call: Call, user: User) -> None:
        """A device rings: the caller is told, once."""
        self._expect(call, user is call.participant, CallState.REQUESTED)
        if call.receive_date is None:
            call.receive_date = int(time.time())
            self._tell(call, call.admin, [call.admin_device])
            self._end_after(call, self.timeouts.ring)

    def accept(
        self, call: Call, user: User, device: Authorization, g_b: bytes, protocol: raw.types.PhoneCallProtocol
    ) -> None:
        """One device answers: the caller is told, the callee's other devices fall silent."""
        self._expect(call, user is call.participant, CallState.REQUESTED)
        if user.one_call_only and self._is_talking(user):
            raise RpcRefusal(500, "CALL_OCCUPY_FAILED")
        call.protocol = common_protocol(call.protocol, protocol)
        call.g_b, call.participant_device = g_b, device
        call.state = CallState.ACCEPTED
        self._stop_timer(call)
        self._tell(call, call.admin, [call.admin_device])
        others = [other for other in self._ringing_devices(call) if other is not device]
        silence = raw.types.UpdatePhoneCall(phone_call=call.as_discarded())
        self._dc.updates.push(user, [silence], self._both(call), to=others)

    def confirm(self, call: Call, user: User, g_a: bytes, key_fingerprint: int) -> None:
        """The caller has the key: the call is up, both get the reflector."""
        self._expect(call, user is call.admin, CallState.ACCEPTED)
        call.g_a, call.key_fingerprint = g_a, key_fingerprint
        call.start_date = int(time.time())
        call.state = CallState.CONFIRMED
        self._tell(call, call.participant, self._devices(call, call.participant))
        log.info("call confirmed", call=call.id)

    def signal(self, call: Call, user: User, data: bytes) -> None:
        """Pass signalling data on to the other device."""
        if call.state is not CallState.CONFIRMED:
            raise bad_request("CALL_NOT_ACTIVE")
        other = call.other(user)
        update = raw.types.UpdatePhoneCallSignalingData(phone_call_id=call.id, data=data)
        self._dc.updates.push(other, [update], (), to=self._devices(call, other))

    def hang_up(self, call: Call, user: User, device: Authorization, reason: str, duration: int) -> None:
        """One side ends the call; before it was accepted, the side decides the reason."""
        if call.state is CallState.DISCARDED:
            raise bad_request("CALL_ALREADY_DECLINED")
        answered_elsewhere = call.participant_device not in (None, device)
        if user is call.participant and answered_elsewhere:
            raise bad_request("CALL_ALREADY_ACCEPTED")
        if call.state is CallState.REQUESTED:
            reason = "missed" if user is call.admin else "busy"
        talked = call.state is CallState.CONFIRMED
        self._discard(call, reason, max(0, duration) if talked else None, but=device)

    def close(self) -> None:
        """Stop all timers."""
        for call in self._calls.values():
            self._stop_timer(call)

    def _expect(self, call: Call, right_side: bool, state: CallState) -> None:
        if not right_side:
            raise bad_request("CALL_PEER_INVALID")
        if call.state is CallState.DISCARDED:
            raise bad_request("CALL_ALREADY_DECLINED")
        if call.state is not state:
            early = state is CallState.ACCEPTED and call.state is CallState.REQUESTED
            raise bad_request("CALL_PEER_INVALID" if early else "CALL_ALREADY_ACCEPTED")

    def _discard(self, call: Call, reason: str, duration: int | None, but: Authorization | None = None) -> None:
        self._stop_timer(call)
        concerned = {user.id: self._devices(call, user) for user in (call.admin, call.participant)}
        call.state, call.reason, call.duration = CallState.DISCARDED, reason, duration
        call.end_date = int(time.time())
        for user in (call.admin, call.participant):
            self._tell(call, user, [device for device in concerned[user.id] if device is not but])
        self._dc.messages.note_call(call)
        log.info("call discarded", call=call.id, reason=reason, duration=duration)

    def _devices(self, call: Call, user: User) -> list[Authorization]:
        """The devices that follow a call: all of the callee's until one has accepted."""
        if user is call.admin:
            return [call.admin_device]
        return [call.participant_device] if call.participant_device else self._ringing_devices(call)

    def _ringing_devices(self, call: Call) -> list[Authorization]:
        devices = self._dc.state.authorizations_of(call.participant.id)
        return [device for device in devices if not device.call_requests_disabled]

    def _tell(self, call: Call, user: User, devices: Iterable[Authorization]) -> None:
        update = raw.types.UpdatePhoneCall(phone_call=call.seen_by(user))
        self._dc.updates.push(user, [update], self._both(call), to=devices)

    def _both(self, call: Call) -> set[int]:
        return {call.admin.id, call.participant.id}

    def _is_talking(self, user: User) -> bool:
        busy = (CallState.ACCEPTED, CallState.CONFIRMED)
        return any(call.state in busy and call.involves(user) for call in self._calls.values())

    def _end_after(self, call: Call, seconds: float) -> None:
        self._stop_timer(call)
        loop = asyncio.get_running_loop()
        call.timer = loop.call_later(seconds, self._discard, call, "missed", None)

    def _stop_timer(self, call: Call) -> None:
        if call.timer:
            call.timer.cancel()
            call.timer = None

    def _drop_oldest(self) -> None:
        if len(self._calls) > _KEPT_CALLS:
            ended = (call for call in self._calls.values() if call.state is CallState.DISCARDED)
            if (oldest := next(ended, None)) is not None:  # one that is up is not forgotten, however old
                del self._calls[oldest.id]
