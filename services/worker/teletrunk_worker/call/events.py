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
    caller: str = ""  # what its From says
    headers: tuple[tuple[str, str], ...] = ()
    login: str = ""  # the trunk's
    peer: str = ""  # the binding's address, host:port


@dataclass(frozen=True)
class Admitted:
    """SIP to Telegram: the Manager lets the call in. The first event of such a call."""

    longest_s: int = 0  # how long it may last; 0: no limit


@dataclass(frozen=True)
class Placed:
    """A SIP host has a place for the leg: it waits for the INVITE at `port`, or has been told to dial."""

    leg: str
    port: int = 0


@dataclass(frozen=True)
class Begun:
    """SIP to Telegram: the SIP host has the INVITE and waits."""


@dataclass(frozen=True)
class Taken:
    """Telegram to SIP: the Storage has given us the call. The first event of such a call."""


@dataclass(frozen=True)
class Routed:
    """Telegram to SIP: where to offer it, tier by tier."""

    tiers: tuple[tuple[Target, ...], ...]
    longest_s: int = 0


@dataclass(frozen=True)
class Rebound:
    """PBXs have come, moved or gone since: the same tiers as they are now."""

    tiers: tuple[tuple[Target, ...], ...]


@dataclass(frozen=True)
class Withdrawn:
    """A trunk has been removed or switched off: its PBXs are to be rung no more."""

    trunk_id: str


@dataclass(frozen=True)
class Refused:
    """The Manager, or the gateway itself, does not let the call in."""

    refusal: Refusal


@dataclass(frozen=True)
class SipHeard:
    """The leg's peer has said something, if only 100: it is there."""

    leg: str


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
    cause: int = 0  # Q.850's, that its BYE has named


@dataclass(frozen=True)
class SipDetached:
    """The leg's host moves no sound of the call any more."""

    leg: str


@dataclass(frozen=True)
class TransferAsked:
    """The peer of `leg` wants the call to go on with `target` in its place (REFER, RFC 3515).

    `subscription` is the Event of the NOTIFYs that tell how it goes; empty: it wants none (RFC 4488).
    """

    leg: str
    target: Target
    subscription: str = "refer"


@dataclass(frozen=True)
class NotPlaced:
    """The gateway itself could not carry the leg: no host has room for it, or none can dial it.

    `status`: what the peer has been answered on the way, if it has.
    """

    leg: str
    refusal: Refusal
    status: int = 0


@dataclass(frozen=True)
class NotStarted:
    """The Storage refuses to begin the call at Telegram."""

    refusal: Refusal


@dataclass(frozen=True)
class TelegramRinging:
    """A device of the called user has the call (receive_date)."""


@dataclass(frozen=True)
class TelegramReady:
    """Both sides have the key; the sound may connect. `terms` are for whoever opens it."""

    terms: object = None


@dataclass(frozen=True)
class TelegramEnded:
    """The phone call is over at Telegram. Reason: missed, busy, hangup or disconnect."""

    reason: str


@dataclass(frozen=True)
class TelegramLost:
    """The link to the Session Storage broke in the middle of the call."""

    refusal: Refusal


@dataclass(frozen=True)
class NoMedia:
    """No Telegram host has room for the call's sound."""

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
    """The gateway ends the call: an operator, the Worker's end, or a failure of its own."""

    refusal: Refusal


@dataclass(frozen=True)
class KeysWanted:
    """Somebody presses keys towards the PBX. It changes nothing in a call, and no machine sees it."""

    digits: str


# Signalling between the two ends of Telegram's sound. It changes nothing in a call, and no machine sees it.


@dataclass(frozen=True)
class SignalForMedia:
    data: bytes


@dataclass(frozen=True)
class SignalForTelegram:
    data: bytes


Event = (
    Admitted
    | Placed
    | Begun
    | Taken
    | Routed
    | Rebound
    | Withdrawn
    | Refused
    | SipHeard
    | SipRinging
    | SipAnswered
    | SipEnded
    | SipDetached
    | TransferAsked
    | NotPlaced
    | NotStarted
    | TelegramRinging
    | TelegramReady
    | TelegramEnded
    | TelegramLost
    | NoMedia
    | MediaConnected
    | MediaFailed
    | MediaClosed
    | HostDied
    | Expired
    | HangUp
    | KeysWanted
    | SignalForMedia
    | SignalForTelegram
)
