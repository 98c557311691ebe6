"""What happens to a call: the inputs of its machine."""

from __future__ import annotations

from dataclasses import dataclass

from teletrunk.errors import Refusal


@dataclass(frozen=True)
class Target:
    """One place that an incoming Telegram call is offered to: a binding of a trunk."""

    leg: str
    trunk_id: str
    uri: str


@dataclass(frozen=True)
class Begun:
    """SIP to Telegram: the SIP host has the INVITE and waits. The first event of such a call."""


@dataclass(frozen=True)
class Routed:
    """Telegram to SIP: where to offer it, tier by tier. The first event of such a call."""

    tiers: tuple[tuple[Target, ...], ...]


@dataclass(frozen=True)
class Refused:
    """The gateway itself, or a service that it asked, refuses."""

    refusal: Refusal


@dataclass(frozen=True)
class SipRinging:
    leg: str


@dataclass(frozen=True)
class SipAnswered:
    leg: str


@dataclass(frozen=True)
class SipEnded:
    """A SIP leg is over and its host has let it go."""

    leg: str
    status: int
    phrase: str = ""


@dataclass(frozen=True)
class NotDialled:
    """The gateway itself could not dial a target: no host has room for it. The peer has heard nothing."""

    leg: str
    refusal: Refusal


@dataclass(frozen=True)
class TelegramRinging:
    """A device of the called user has the call (receive_date)."""


@dataclass(frozen=True)
class TelegramReady:
    """Both sides have the key; the sound may connect."""


@dataclass(frozen=True)
class TelegramEnded:
    """The phone call is over at Telegram. Reason: missed, busy, hangup or disconnect."""

    reason: str


@dataclass(frozen=True)
class TelegramLost:
    """The link to the Session Storage broke in the middle of the call."""

    refusal: Refusal


@dataclass(frozen=True)
class MediaConnected:
    """Sound flows to and from Telegram."""


@dataclass(frozen=True)
class MediaFailed:
    why: str


@dataclass(frozen=True)
class MediaClosed:
    """The Telegram host has let the call go."""


@dataclass(frozen=True)
class HostDied:
    """The process that carried a leg is gone: `sip` or `telegram`."""

    kind: str
    leg: str = ""


@dataclass(frozen=True)
class Expired:
    """A timer ran out."""

    timer: str


@dataclass(frozen=True)
class HangUp:
    """The gateway ends the call: an operator, or the Worker's end."""

    refusal: Refusal


Event = (
    Begun
    | Routed
    | Refused
    | SipRinging
    | SipAnswered
    | SipEnded
    | NotDialled
    | TelegramRinging
    | TelegramReady
    | TelegramEnded
    | TelegramLost
    | MediaConnected
    | MediaFailed
    | MediaClosed
    | HostDied
    | Expired
    | HangUp
)
