"""One call as the server holds it, and as each device sees it."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pyrogram import raw
from pyrogram.raw.core import TLObject

from teletrunk_sandbox.errors import RpcRefusal, bad_request
from teletrunk_sandbox.state import Authorization, User

LOWEST_LAYER, HIGHEST_LAYER = 65, 92
_PARAMETERS = '{"network_use_default_route":true}'  # lets ICE work where there is only a loopback interface


class CallState(StrEnum):
    """How far a call has come."""

    REQUESTED = "requested"
    ACCEPTED = "accepted"
    CONFIRMED = "confirmed"
    DISCARDED = "discarded"


REASONS: dict[str, type[Any]] = {
    "missed": raw.types.PhoneCallDiscardReasonMissed,
    "busy": raw.types.PhoneCallDiscardReasonBusy,
    "hangup": raw.types.PhoneCallDiscardReasonHangup,
    "disconnect": raw.types.PhoneCallDiscardReasonDisconnect,
}


@dataclass(frozen=True, slots=True)
class Relay:
    """Where the media reflector is reached."""

    ip: str
    port: int


@dataclass(slots=True, eq=False)
class Call:
    """A call from `admin` to `participant`, Telegram's words for caller and callee.

    Each side is one device: the admin's from the start, the participant's once it has accepted.
    """

    id: int
    admin: User
    admin_device: Authorization
    participant: User
    g_a_hash: bytes
    protocol: raw.types.PhoneCallProtocol
    relay: Relay
    video: bool = False
    state: CallState = CallState.REQUESTED
    participant_device: Authorization | None = None
    g_a: bytes = b""
    g_b: bytes = b""
    key_fingerprint: int = 0
    date: int = field(default_factory=lambda: int(time.time()))
    receive_date: int | None = None
    start_date: int | None = None
    end_date: int | None = None
    reason: str | None = None
    duration: int | None = None
    access_hash: int = field(default_factory=lambda: secrets.randbits(63))
    peer_tag: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    timer: asyncio.TimerHandle | None = None

    def involves(self, user: User) -> bool:
        """Whether a user is one of the two."""
        return user in (self.admin, self.participant)

    def other(self, user: User) -> User:
        """The one whom a user talks to."""
        return self.participant if user is self.admin else self.admin

    def seen_by(self, user: User) -> TLObject[Any]:
        """The phoneCall object of a device of `user` that takes part."""
        match self.state:
            case CallState.DISCARDED:
                return self.as_discarded()
            case CallState.CONFIRMED:
                return self._as_established(user)
            case CallState.ACCEPTED if user is self.admin:
                return raw.types.PhoneCallAccepted(g_b=self.g_b, **self._common())
            case CallState.REQUESTED if user is self.participant:
                return raw.types.PhoneCallRequested(g_a_hash=self.g_a_hash, **self._common())
            case _:
                return raw.types.PhoneCallWaiting(receive_date=self.receive_date, **self._common())

    def as_discarded(self) -> raw.types.PhoneCallDiscarded:
        """The end of the call; without a reason, the end for a device that was not the one to answer."""
        reason = REASONS[self.reason]() if self.reason else None
        return raw.types.PhoneCallDiscarded(id=self.id, reason=reason, duration=self.duration, video=self.video)

    def _as_established(self, user: User) -> raw.types.PhoneCall:
        return raw.types.PhoneCall(
            g_a_or_b=self.g_b if user is self.admin else self.g_a,
            key_fingerprint=self.key_fingerprint,
            connections=[
                raw.types.PhoneConnection(
                    id=self.id, ip=self.relay.ip, ipv6="", port=self.relay.port, peer_tag=self.peer_tag
                )
            ],
            start_date=self.start_date or 0,
            p2p_allowed=False,
            custom_parameters=raw.types.DataJSON(data=_PARAMETERS),
            **self._common(),
        )

    def _common(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "access_hash": self.access_hash,
            "date": self.date,
            "admin_id": self.admin.id,
            "participant_id": self.participant.id,
            "protocol": self.protocol,
            "video": self.video,
        }


def check_protocol(protocol: raw.types.PhoneCallProtocol) -> None:
    """Refuse what no server accepts, whoever the other side is."""
    if not protocol.udp_p2p and not protocol.udp_reflector:
        raise bad_request("CALL_PROTOCOL_FLAGS_INVALID")
    if not LOWEST_LAYER <= protocol.min_layer <= protocol.max_layer <= HIGHEST_LAYER:
        raise bad_request("CALL_PROTOCOL_LAYER_INVALID")


def common_protocol(
    admins: raw.types.PhoneCallProtocol, participants: raw.types.PhoneCallProtocol
) -> raw.types.PhoneCallProtocol:
    """What both sides can do, the library versions in the admin's order of preference."""
    versions = [version for version in admins.library_versions if version in participants.library_versions]
    low, high = max(admins.min_layer, participants.min_layer), min(admins.max_layer, participants.max_layer)
    if not versions or low > high:
        raise RpcRefusal(406, "CALL_PROTOCOL_COMPAT_LAYER_INVALID")
    return raw.types.PhoneCallProtocol(
        udp_p2p=bool(admins.udp_p2p and participants.udp_p2p),
        udp_reflector=bool(admins.udp_reflector and participants.udp_reflector),
        min_layer=low,
        max_layer=high,
        library_versions=versions,
    )
