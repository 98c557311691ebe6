"""What a test may ask of the data centre; each public method is a command of the control channel."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from teletrunk_sandbox import dispatch, privacy, srp
from teletrunk_sandbox.accounts import digits_of
from teletrunk_sandbox.connection import Connection
from teletrunk_sandbox.errors import CommandError
from teletrunk_sandbox.faults import Fault, Twist

if TYPE_CHECKING:
    from teletrunk_sandbox.server import DataCentre
    from teletrunk_sandbox.state import Authorization, User

REVOCATIONS = ("AUTH_KEY_UNREGISTERED", "SESSION_REVOKED", "USER_DEACTIVATED", "USER_DEACTIVATED_BAN")


class Commands:
    """The commands, by name. `SandboxControl` says what each is for."""

    def __init__(self, dc: DataCentre) -> None:
        self._dc = dc

    def add_user(
        self,
        phone: str,
        first_name: str,
        last_name: str = "",
        username: str | None = None,
        password: str | None = None,
        more_usernames: Sequence[str] = (),
    ) -> int:
        user = self._dc.accounts.by_phone(phone) or self._dc.state.add_user(digits_of(phone), first_name)
        user.first_name, user.last_name, user.username = first_name, last_name, username
        user.more_usernames = list(more_usernames)
        user.password = srp.protect(password) if password else None
        user.deactivated = False
        self._dc.state.save_user(user)
        return user.id

    def user(self, phone: str | None = None, user_id: int | None = None) -> dict[str, Any]:
        user = self._user(phone) if phone else self._dc.state.users.get(user_id or 0)
        if user is None:
            raise CommandError(f"no user {user_id}")
        return {
            "id": user.id,
            "phone": user.phone,
            "first_name": user.first_name,
            "last_name": user.last_name,
            "username": user.username,
            "has_password": user.password is not None,
            "deactivated": user.deactivated,
            "contacts": user.contacts,
            "blocked": user.blocked,
            "privacy": user.privacy,
            "devices": [device.key_id.hex() for device in self._devices(user)],
        }

    def code(self, phone: str) -> str:
        sent = self._dc.sign_ins.last_code(digits_of(phone))
        if sent is None:
            raise CommandError(f"no code was sent to {phone}")
        return sent.code

    def expire_code(self, phone: str) -> None:
        sent = self._dc.sign_ins.last_code(digits_of(phone))
        if sent is None:
            raise CommandError(f"no code was sent to {phone}")
        sent.expires = time.monotonic() - 1

    def home(self, phone: str, dc_id: int) -> None:
        user = self._user(phone)
        user.home_dc = dc_id
        self._dc.state.save_user(user)

    def login_token_seconds(self, seconds: int) -> None:
        self._dc.login_tokens.seconds = seconds

    def flood(self, phone: str, seconds: int, method: str | None = None, times: int = 1) -> None:
        self._dc.faults.add(digits_of(phone), Fault(method, 420, f"FLOOD_WAIT_{seconds}", times))

    def peer_flood(self, phone: str, on: bool) -> None:
        flooded = self._dc.faults.peer_flood
        (flooded.add if on else flooded.discard)(digits_of(phone))

    def error(self, phone: str, method: str, code: int, message: str, times: int = 1) -> None:
        self._dc.faults.add(digits_of(phone), Fault(method, code, message, times))

    def answer(self, phone: str, method: str, answer: str, times: int = 1) -> None:
        if answer not in dispatch.twists():
            raise CommandError(f"must be one of {', '.join(dispatch.twists())}")
        self._dc.faults.add_twist(digits_of(phone), Twist(method, answer, times))

    def clock(self, ahead_s: float, reconnect: bool = True) -> None:
        self._dc.clock.ahead = ahead_s
        if reconnect:
            self._dc.sessions.each_connection(Connection.close)
            self._dc.sessions.forget_all()  # their message ids were of the old time

    def delay(self, phone: str, seconds: float, method: str | None = None) -> None:
        self._dc.faults.delay(digits_of(phone), seconds, method)

    def revoke(self, phone: str, reason: str = "AUTH_KEY_UNREGISTERED") -> None:
        if reason not in REVOCATIONS:
            raise CommandError(f"reason must be one of {', '.join(REVOCATIONS)}")
        user = self._user(phone)
        for device in self._devices(user):
            self._dc.revoke(device, reason)
        if reason.startswith("USER_DEACTIVATED"):
            user.deactivated = True
            self._dc.state.save_user(user)

    def forget_key(self, phone: str) -> None:
        for device in self._devices(self._user(phone)):
            self._dc.state.forget_authorization(device)
            for connection, _ in self._dc.sessions.connections([device]):
                connection.refuse_key()

    def cut(self, phone: str, seconds: float) -> None:
        devices = self._devices(self._user(phone))
        for device in devices:
            self._dc.faults.cut(device.key_id, seconds)
        for connection, _ in self._dc.sessions.connections(devices):
            connection.close()

    def lose(self, phone: str, times: int = 1) -> None:
        self._dc.faults.lose(self._user(phone).phone, times)

    def too_long(self, phone: str) -> None:
        self._dc.updates.push_too_long(self._user(phone))

    def differences(self, have_calls: bool) -> None:
        self._dc.faults.differences_have_calls = have_calls

    def privacy(self, phone: str, calls: str | None = None, found_by_phone: str | None = None) -> None:
        user = self._user(phone)
        for key, preset in (("phone_call", calls), ("added_by_phone", found_by_phone)):
            if preset is not None and preset not in privacy.PRESETS:
                raise CommandError(f"must be one of {', '.join(privacy.PRESETS)}")
            if preset is not None:
                user.privacy[key] = list(privacy.PRESETS[preset])
        self._dc.state.save_user(user)

    def block(self, phone: str, blocked: str, on: bool = True) -> None:
        user, other = self._user(phone), self._user(blocked)
        user.blocked = [*(known for known in user.blocked if known != other.id), *([other.id] if on else [])]
        self._dc.state.save_user(user)

    def one_call_only(self, phone: str, on: bool) -> None:
        user = self._user(phone)
        user.one_call_only = on
        self._dc.state.save_user(user)

    def timeouts(self, receive_s: float, ring_s: float) -> None:
        self._dc.calls.timeouts.receive, self._dc.calls.timeouts.ring = receive_s, ring_s

    def reflector(self, on: bool = True, loss: float = 0.0) -> None:
        self._dc.reflector.on, self._dc.reflector.loss = on, loss

    def reflector_counts(self) -> dict[str, int]:
        return {"forwarded": self._dc.reflector.forwarded, "dropped": self._dc.reflector.dropped}

    def connections(self, phone: str) -> list[dict[str, str]]:
        return [
            {
                "auth_key_id": session.authorization.key_id.hex(),
                "session_id": session.id.hex(),
                "peer": connection.peer,
            }
            for connection, session in self._dc.sessions.connections(self._devices(self._user(phone)))
        ]

    def duplicates(self) -> int:
        return self._dc.sessions.duplicates

    def trace(self, phone: str, on: bool) -> None:
        self._dc.faults.trace(digits_of(phone), on)

    def trace_log(self, phone: str) -> list[dict[str, Any]]:
        calls = self._dc.faults.trace_log(digits_of(phone))
        return [{"method": method, "time": at} for method, at in calls]

    def calls(self) -> list[dict[str, Any]]:
        return [
            {
                "id": call.id,
                "state": call.state.value,
                "admin": call.admin.phone,
                "participant": call.participant.phone,
                "date": call.date,
                "receive_date": call.receive_date,
                "start_date": call.start_date,
                "end_date": call.end_date,
                "reason": call.reason,
                "duration": call.duration,
            }
            for call in self._dc.calls.all()
        ]

    def _user(self, phone: str) -> User:
        user = self._dc.accounts.by_phone(phone)
        if user is None:
            raise CommandError(f"no user {phone}")
        return user

    def _devices(self, user: User) -> list[Authorization]:
        return self._dc.state.authorizations_of(user.id)
