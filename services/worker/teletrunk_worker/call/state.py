"""What the call machine knows of a call."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

from teletrunk.errors import Refusal

from teletrunk_worker.call import effects as do
from teletrunk_worker.call import events as on


class Phase(Enum):
    ROUTING = "routing"
    DIALLING = "dialling"
    RINGING = "ringing"
    MEDIA = "media"
    UP = "up"
    ENDING = "ending"
    ENDED = "ended"


class Stage(Enum):
    """How far a SIP leg is."""

    PLACING = "placing"  # a host is looked for: the peer knows nothing yet
    CALLED = "called"  # the peer has the INVITE, and has said nothing
    HEARD = "heard"
    ENDING = "ending"  # told to end


@dataclass(frozen=True)
class Leg:
    name: str
    stage: Stage = Stage.PLACING
    trunk_id: str = ""


class Side(Enum):
    """What is open at Telegram: the phone call, and its sound."""

    CLOSED = "closed"
    OPEN = "open"
    CLOSING = "closing"  # told to end


CALLER_LEG: Final = "a"  # the SIP leg of a call that comes from SIP
PLACE_TIMEOUT_S: Final = 12.0  # a pool of hosts gives up after 10 s
INVITE_TIMEOUT_S: Final = 5.0  # from the edge to the host, on one machine
ROUTE_TIMEOUT_S: Final = 10.0  # the Manager's answer is waited for 4.5 s, and asked for again within one
RECEIVE_TIMEOUT_S: Final = 25.0  # Telegram's own call_receive_timeout is 20 s: it should act first
RING_TIMEOUT_S: Final = 95.0  # and its call_ring_timeout 90 s
MEDIA_TIMEOUT_S: Final = 15.0  # ntgcalls gives up after 10 s
TIER_TIMEOUT_S: Final = 60.0  # the last tier, or the only one, rings so long
TIERS_S: Final = 85.0  # what all tiers have of the time that Telegram lets its user ring
SHORTEST_TIER_S: Final = 10.0
TRANSFER_TIMEOUT_S: Final = 60.0
ENDING_TIMEOUT_S: Final = 10.0
FIRST_ANSWER_S: Final = 12.0
NO_SOUND: Final = "no sound within the time limit"


@dataclass(frozen=True)
class Transfer:
    """A leg is called that shall take another one's place."""

    by: str  # whose peer has asked for it; it may have hung up since
    leg: str
    subscription: str
    rings: bool = False
    answered: bool = False  # it waits for the other one to let go of the sound


@dataclass(frozen=True)
class State:
    """Everything the machine knows."""

    from_sip: bool
    phase: Phase = Phase.ROUTING
    legs: tuple[Leg, ...] = ()  # those that are not over
    telegram: Side = Side.CLOSED
    media: Side = Side.CLOSED
    redialled: bool = False
    winner: str = ""
    transfer: Transfer | None = None
    tiers: tuple[tuple[on.Target, ...], ...] = ()
    tier_s: float = TIER_TIMEOUT_S  # how long one of several rings
    first_answer_s: float = FIRST_ANSWER_S  # how long a PBX may take to say anything at all to an INVITE
    longest_s: int = 0  # how long the account's plan lets it last
    last_status: int = 0  # what a PBX has said: of several refusals the one that says most
    last_phrase: str = ""
    ended_by: str = ""  # pbx, telegram or gateway
    refusal: Refusal | None = field(default=None, compare=False)
    own_failure: Refusal | None = field(default=None, compare=False)  # why a target could not be called

    def leg(self, name: str) -> Leg | None:
        return next((leg for leg in self.legs if leg.name == name), None)

    def at(self, name: str, stage: Stage) -> State:
        """With the leg at that stage."""
        return replace(self, legs=tuple(replace(leg, stage=stage) if leg.name == name else leg for leg in self.legs))

    def without(self, name: str) -> State:
        return replace(self, legs=tuple(leg for leg in self.legs if leg.name != name))

    @property
    def offering(self) -> bool:
        """Whether a leg is there that may still be answered."""
        return any(leg.stage is not Stage.ENDING for leg in self.legs)

    @property
    def talking(self) -> str:
        """The leg that has the call's sound, if there is one."""
        return self.winner or (CALLER_LEG if self.from_sip else "")

    @property
    def agreed(self) -> bool:
        """Whether both people want to talk, so that an end is a failure or a hang-up."""
        return self.phase in (Phase.MEDIA, Phase.UP)


Step = tuple[State, list[do.Effect]]


def from_sip() -> State:
    """A call that a PBX makes: its one SIP leg is there from the start."""
    return State(True, legs=(Leg(CALLER_LEG),))


def from_telegram(first_answer_s: float = FIRST_ANSWER_S) -> State:
    """A call that a Telegram user makes: it waits at Telegram, received and ringing."""
    return State(False, telegram=Side.OPEN, first_answer_s=first_answer_s)
