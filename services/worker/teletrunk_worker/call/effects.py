"""What a call's machine wants done: its outputs, carried out at the rim."""

from __future__ import annotations

from dataclasses import dataclass

from teletrunk.errors import Refusal

from teletrunk_worker.call.events import Target


@dataclass(frozen=True)
class AwaitInvite:
    """Find a SIP host for the caller's leg; answered by Placed or NotPlaced, and by Begun when it has the INVITE."""


@dataclass(frozen=True)
class StartTelegram:
    """Resolve the called user and phone.requestCall."""


@dataclass(frozen=True)
class AcceptTelegram:
    """phone.acceptCall."""


@dataclass(frozen=True)
class DiscardTelegram:
    """phone.discardCall with missed, busy, hangup or disconnect; answered by TelegramEnded."""

    reason: str


@dataclass(frozen=True)
class OpenMedia:
    """Give `terms`, key and servers, to a Telegram host; answered by MediaConnected, MediaFailed or NoMedia."""

    terms: object = None


@dataclass(frozen=True)
class CloseMedia:
    """Answered by MediaClosed."""


@dataclass(frozen=True)
class RingSip:
    """180 to the caller."""


@dataclass(frozen=True)
class AnswerSip:
    """200 to the caller."""


@dataclass(frozen=True)
class DialSip:
    """Find a SIP host and have it dial; answered by Placed or NotPlaced."""

    target: Target


@dataclass(frozen=True)
class EndSip:
    """Refuse, CANCEL or BYE, whichever the leg needs; answered by SipEnded.

    `refusal` is the gateway's own reason. Without one, `status` and `phrase` pass the other side's word on.
    `elsewhere`: another phone has the call, which its own shall not list as missed.
    """

    leg: str
    status: int = 0
    phrase: str = ""
    refusal: Refusal | None = None
    elsewhere: bool = False


@dataclass(frozen=True)
class ConnectSip:
    """Sound goes to and from this leg from now on. No other leg of the call may have it then."""

    leg: str


@dataclass(frozen=True)
class DetachSip:
    """The leg's host lets go of the call's sound, and its dialog stays; answered by SipDetached."""

    leg: str


@dataclass(frozen=True)
class NotifyTransfer:
    """Tell the leg that asked for a transfer how it goes (RFC 3515 2.4.5)."""

    leg: str
    subscription: str
    status: int
    phrase: str


@dataclass(frozen=True)
class SpeakForSip:
    """The SIP host is dead, or does not do what it was told: tell the peer in its place."""

    leg: str
    refusal: Refusal


@dataclass(frozen=True)
class TellCaller:
    """Write a refusal of ours into the chat with the Telegram caller."""

    refusal: Refusal


@dataclass(frozen=True)
class StartTimer:
    timer: str
    seconds: float


@dataclass(frozen=True)
class StopTimer:
    timer: str


@dataclass(frozen=True)
class Finish:
    """Both legs are released: write the record, give the line back, stop all timers. The last effect."""


Effect = (
    AwaitInvite
    | StartTelegram
    | AcceptTelegram
    | DiscardTelegram
    | OpenMedia
    | CloseMedia
    | RingSip
    | AnswerSip
    | DialSip
    | EndSip
    | ConnectSip
    | DetachSip
    | NotifyTransfer
    | SpeakForSip
    | TellCaller
    | StartTimer
    | StopTimer
    | Finish
)
