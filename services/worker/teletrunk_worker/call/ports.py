"""What a call's runner carries effects out with.

Each of these takes an effect, returns at once, and answers later by events that it puts into the call's inbox; it may
be refused, be silent, or answer late. What is released says nothing any more.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from teletrunk.errors import Refusal
from teletrunk.v1 import call_pb2

from teletrunk_worker.call import effects as do
from teletrunk_worker.call import events as on
from teletrunk_worker.call.inbox import Put


class SipLeg(Protocol):
    """One leg to a PBX, from the search for a host to the end of its dialog.

    Puts Placed or NotPlaced, then Begun or SipHeard, SipRinging, SipAnswered, and SipEnded or HostDied.
    """

    def ring(self) -> None: ...

    def answer(self) -> None: ...

    def connect(self) -> None:
        """Sound goes to and from this leg from now on."""
        ...

    def detach(self) -> None:
        """The opposite; answered by SipDetached."""
        ...

    def press(self, digits: str) -> None:
        """Keys towards the peer; a comma is a pause."""
        ...

    def notify(self, how: do.NotifyTransfer) -> None: ...

    def end(self, end: do.EndSip) -> None: ...

    def speak(self, refusal: Refusal) -> None:
        """The edge ends the dialog, in place of a host that is dead or does not do it."""
        ...

    def heard(self) -> None:
        """The edge has seen an answer of the peer."""
        ...

    def refused(self, status: int, phrase: str) -> None:
        """The edge has seen the INVITE being refused."""
        ...

    def offers_digits(self) -> bool:
        """Whether the peer's description names RFC 4733's digits."""
        ...

    def release(self) -> None:
        """Keeps nothing of it. A leg that is not over is hung up."""
        ...


class Signalling(Protocol):
    """The phone call at Telegram, over one stream to the Storage.

    Puts TelegramRinging, TelegramReady, SignalForMedia, and NotStarted, TelegramEnded or TelegramLost.
    """

    @property
    def taken(self) -> asyncio.Future[bool]:
        """Whether the Storage has given us the call. Another Worker may have been faster."""
        ...

    def accept(self) -> None: ...

    def signal(self, data: bytes) -> None: ...

    def discard(self, reason: str) -> None:
        """missed, busy, hangup or disconnect; answered by TelegramEnded."""
        ...

    def release(self) -> None:
        """Ends the stream; the Storage discards what is open."""
        ...


class Media(Protocol):
    """The call's sound at Telegram. Puts MediaConnected, MediaFailed, SignalForTelegram, MediaClosed, NoMedia."""

    def signal(self, data: bytes) -> None: ...

    def close(self) -> None: ...

    def release(self) -> None: ...


class Ports(Protocol):
    """Makes the ports of one call."""

    def await_invite(self, put: Put) -> SipLeg:
        """The caller's leg, for which a host waits."""
        ...

    def dial(self, target: on.Target, put: Put) -> SipLeg: ...

    def start_call(self, put: Put) -> Signalling: ...

    def take_call(self, phone_call_id: int, put: Put) -> Signalling: ...

    def open_media(self, terms: object, put: Put) -> Media: ...

    def tell_caller(self, refusal: Refusal) -> None:
        """Writes it into the chat; nobody waits for it."""
        ...

    def release(self) -> None:
        """The call is over."""
        ...


class Records(Protocol):
    """Where a call's record goes."""

    def note(self, record: call_pb2.CallRecord) -> None:
        """What is known so far: it outlives us."""
        ...

    def report(self, record: call_pb2.CallRecord) -> None:
        """The one record of a call that has ended."""
        ...
