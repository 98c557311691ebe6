"""The call: one state machine for both directions, pure.

`step` takes a state and an event and gives the next state and the effects to carry out. What an event means
depends on the phase; the tables at the end say it at a glance. An event that a phase has no entry for changes
nothing: legs, timers and hosts report late, and twice.

    ROUTING   Telegram to SIP: the Manager is asked
    DIALLING  the other side is being called
    RINGING   the other side rings
    MEDIA     both people have agreed; sound is connecting
    UP        sound flows
    ENDING    everything has been told to end; waiting until it has
    ENDED     nothing is left

Invariants (held by tests with random event orders): a call always ends; both legs are released; exactly one
`Finish`, the last effect; no `AnswerSip` before `MediaConnected`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum

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


CALLER_LEG = "a"  # the SIP leg of a call that comes from SIP
RECEIVE_TIMEOUT_S = 25.0  # Telegram's own call_receive_timeout is 20 s: it should act first
RING_TIMEOUT_S = 95.0  # and its call_ring_timeout 90 s
MEDIA_TIMEOUT_S = 15.0  # ntgcalls gives up after 10 s
TIER_TIMEOUT_S = 60.0
ENDING_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class State:
    """Everything the machine knows. `sip_legs` maps a live SIP leg to whether it was told to end."""

    from_sip: bool
    phase: Phase
    sip_legs: tuple[tuple[str, bool], ...] = ()
    telegram_open: bool = False
    telegram_ending: bool = False
    media_open: bool = False
    media_closing: bool = False
    redialled: bool = False
    winner: str = ""
    tiers: tuple[tuple[on.Target, ...], ...] = ()
    last_status: int = 0
    last_phrase: str = ""
    ended_by: str = ""  # pbx, telegram or gateway
    refusal: Refusal | None = field(default=None, compare=False)
    not_dialled: Refusal | None = field(default=None, compare=False)  # why a target could not even be called

    def live(self, leg: str) -> bool:
        return any(name == leg for name, _ in self.sip_legs)


Step = tuple[State, list[do.Effect]]


def from_sip() -> State:
    """A call that a PBX makes: its one SIP leg is there from the start."""
    return State(True, Phase.ROUTING, sip_legs=((CALLER_LEG, False),))


def from_telegram() -> State:
    """A call that a Telegram user makes: it waits at Telegram, received and ringing."""
    return State(False, Phase.ROUTING, telegram_open=True)


def step(state: State, event: on.Event) -> Step:
    """The next state, and what to do now, in order."""
    handler = _table(state).get(type(event))
    if handler is None:
        handler = _ALWAYS.get(type(event), _ignore)
    return _settled(*handler(state, event))


def _table(state: State) -> dict[type, _Handler]:
    tables = _FROM_SIP if state.from_sip else _FROM_TELEGRAM
    return tables.get(state.phase, {})


# Both directions.


def _ignore(state: State, event: on.Event) -> Step:
    return state, []


def _end(
    state: State,
    by: str,
    *,
    reason: str,
    refusal: Refusal | None = None,
    status: int = 0,
    phrase: str = "",
) -> Step:
    """Tells everything that is still open to end. `reason` is Telegram's, the rest is for SIP."""
    actions: list[do.Effect] = [do.StopTimer("call")]
    for leg, ending in state.sip_legs:
        if not ending:
            actions.append(do.EndSip(leg, status, phrase, refusal))
    if state.telegram_open and not state.telegram_ending:
        actions.append(do.DiscardTelegram(reason))
    if state.media_open and not state.media_closing:
        actions.append(do.CloseMedia())
    actions.append(do.StartTimer("ending", ENDING_TIMEOUT_S))
    return (
        replace(
            state,
            phase=Phase.ENDING,
            sip_legs=tuple((leg, True) for leg, _ in state.sip_legs),
            telegram_ending=state.telegram_open,
            media_closing=state.media_open,
            ended_by=state.ended_by or by,
            refusal=state.refusal or refusal,
            last_status=status or (refusal.row.sip_status if refusal else 0) or state.last_status,
        ),
        actions,
    )


def _settled(state: State, actions: list[do.Effect]) -> Step:
    """A call that is ending has ended once nothing is open."""
    if state.phase is Phase.ENDING and not (state.sip_legs or state.telegram_open or state.media_open):
        return replace(state, phase=Phase.ENDED), [*actions, do.StopTimer("ending"), do.Finish()]
    return state, actions


def _without(state: State, leg: str) -> State:
    return replace(state, sip_legs=tuple(item for item in state.sip_legs if item[0] != leg))


def _reason(state: State) -> str:
    """What Telegram is told when we end the call from this phase."""
    if state.phase in (Phase.MEDIA, Phase.UP):
        return "hangup"
    return "missed" if state.from_sip else "busy"


def _refused(state: State, event: on.Refused | on.TelegramLost | on.HangUp) -> Step:
    reason = "disconnect" if state.phase in (Phase.MEDIA, Phase.UP) else _reason(state)
    return _end(state, "gateway", reason=reason, refusal=event.refusal)


def _turned_away(state: State, event: on.Refused) -> Step:
    """A Telegram caller reads why nobody answers."""
    ended, actions = _refused(state, event)
    return ended, [do.TellCaller(event.refusal), *actions]


def _telegram_lost(state: State, event: on.TelegramLost) -> Step:
    """The stream is gone: nothing can be discarded over it. The Storage discards by itself, if it lives."""
    return _refused(replace(state, telegram_open=False), event)


def _host_died(state: State, event: on.HostDied) -> Step:
    refusal = Refusal("telegram-error", "media process failed")
    if event.kind == "telegram":
        if not state.media_open:
            return state, []
        state = replace(state, media_open=False)
        if state.phase in (Phase.ENDING, Phase.ENDED):
            return state, []
        return _end(state, "gateway", reason="disconnect", refusal=refusal)
    if not state.live(event.leg):
        return state, []
    speak: list[do.Effect] = [do.SpeakForSip(event.leg, refusal)]
    state = _without(state, event.leg)
    lost = state.winner and event.leg != state.winner
    if state.phase in (Phase.ENDING, Phase.ENDED) or lost or (state.sip_legs and not state.winner):
        return state, speak
    ended, actions = _end(state, "gateway", reason="disconnect", refusal=refusal)
    return ended, speak + actions


def _sip_over(state: State, event: on.SipEnded) -> Step:
    """The SIP side has ended the call (or was refused what it asked)."""
    if not state.live(event.leg):
        return state, []
    ended = replace(_without(state, event.leg), last_status=event.status, last_phrase=event.phrase)
    return _end(ended, "pbx", reason=_reason(state), status=event.status, phrase=event.phrase)


def _sip_let_go(state: State, event: on.SipEnded | on.NotDialled) -> Step:
    return _without(state, event.leg), []


def _telegram_let_go(state: State, event: on.TelegramEnded) -> Step:
    return replace(state, telegram_open=False), []


def _media_let_go(state: State, event: on.MediaClosed) -> Step:
    return replace(state, media_open=False), []


def _give_up(state: State, event: on.Expired) -> Step:
    """Something did not answer that it has ended. It is counted as gone, and a peer of SIP is told by the edge."""
    if event.timer != "ending":
        return state, []
    refusal = state.refusal or Refusal("telegram-error", "media process failed")
    speak: list[do.Effect] = [do.SpeakForSip(leg, refusal) for leg, _ in state.sip_legs]
    return replace(state, sip_legs=(), telegram_open=False, media_open=False), speak


def _telegram_over(state: State, event: on.TelegramEnded) -> Step:
    """Telegram has ended the call. What SIP hears depends on how far the call was."""
    status, phrase = _FOR_SIP.get(event.reason, (480, "Temporarily Unavailable"))
    if state.phase is Phase.UP:
        status, phrase = 200, "Telegram user hung up"
    gone = replace(state, telegram_open=False)
    return _end(gone, "telegram", reason=event.reason, status=status, phrase=phrase)


# What an unanswered call's end at Telegram is called in SIP.
_FOR_SIP = {
    "busy": (486, "Busy Here"),
    "missed": (480, "No answer"),
    "hangup": (480, "Telegram user hung up"),
    "disconnect": (503, "Telegram media failed"),
}


def _media_up(state: State, event: on.MediaConnected) -> Step:
    answer: list[do.Effect] = [do.AnswerSip()] if state.from_sip else []
    return replace(state, phase=Phase.UP), [do.StopTimer("call"), *answer]


def _media_lost(state: State, event: on.MediaFailed | on.Expired) -> Step:
    why = event.why if isinstance(event, on.MediaFailed) else "no sound within the time limit"
    return _end(state, "gateway", reason="disconnect", refusal=Refusal("telegram-error", why))


def _ready(state: State, event: on.TelegramReady) -> Step:
    return (
        replace(state, phase=Phase.MEDIA, media_open=True, media_closing=False),
        [do.OpenMedia(), do.StartTimer("call", MEDIA_TIMEOUT_S)],
    )


# SIP to Telegram.


def _begin(state: State, event: on.Begun) -> Step:
    return (
        replace(state, phase=Phase.DIALLING, telegram_open=True),
        [do.StartTelegram(), do.StartTimer("call", RECEIVE_TIMEOUT_S)],
    )


def _telegram_rings(state: State, event: on.TelegramRinging) -> Step:
    return replace(state, phase=Phase.RINGING), [do.RingSip(), do.StartTimer("call", RING_TIMEOUT_S)]


def _nobody(state: State, event: on.Expired) -> Step:
    return _end(state, "gateway", reason="missed", status=480, phrase="No answer")


def _media_failed_first(state: State, event: on.MediaFailed | on.Expired) -> Step:
    """No sound: ntgcalls sometimes never connects, and a second try does. The caller still hears ringing."""
    if state.redialled:
        return _media_lost(state, event)
    return (
        replace(state, phase=Phase.DIALLING, redialled=True, media_open=True, media_closing=True, telegram_ending=True),
        [do.DiscardTelegram("disconnect"), do.CloseMedia(), do.StartTimer("call", RECEIVE_TIMEOUT_S)],
    )


def _redial_when_clear(state: State) -> Step:
    """The second try begins once the first is out of the way."""
    if state.telegram_open or state.media_open:
        return state, []
    return replace(state, telegram_open=True, telegram_ending=False, media_closing=False), [do.StartTelegram()]


def _telegram_over_dialling(state: State, event: on.TelegramEnded) -> Step:
    if state.telegram_ending:
        return _redial_when_clear(replace(state, telegram_open=False))
    return _telegram_over(state, event)


def _media_closed_dialling(state: State, event: on.MediaClosed) -> Step:
    state = replace(state, media_open=False)
    return _redial_when_clear(state) if state.telegram_ending else (state, [])


# Telegram to SIP.


def _offer(state: State, event: on.Routed) -> Step:
    return _next_tier(replace(state, phase=Phase.DIALLING, tiers=event.tiers))


def _next_tier(state: State) -> Step:
    """Rings the next tier together; when there is none left, the call has failed."""
    tiers = [tier for tier in state.tiers if tier]
    if not tiers:
        if state.last_status:
            return _end(state, "pbx", reason="busy", status=state.last_status, phrase=state.last_phrase)
        refusal = state.not_dialled or Refusal("pbx-unreachable")
        ended, actions = _end(state, "gateway", reason="busy", refusal=refusal)
        return ended, [do.TellCaller(refusal), *actions]
    first, *rest = tiers
    return (
        replace(state, tiers=tuple(rest), sip_legs=state.sip_legs + tuple((target.leg, False) for target in first)),
        [*(do.DialSip(target) for target in first), do.StartTimer("call", TIER_TIMEOUT_S)],
    )


def _offering(state: State) -> bool:
    return any(not ending for _, ending in state.sip_legs)


def _leg_rings(state: State, event: on.SipRinging) -> Step:
    return (replace(state, phase=Phase.RINGING), []) if state.live(event.leg) else (state, [])


def _leg_failed(state: State, event: on.SipEnded) -> Step:
    if not state.live(event.leg):
        return state, []
    remembered = _without(state, event.leg)
    if event.status:  # what one PBX has said counts more than that another says nothing
        remembered = replace(remembered, last_status=event.status, last_phrase=event.phrase)
    return (remembered, []) if _offering(remembered) else _next_tier(remembered)


def _leg_not_dialled(state: State, event: on.NotDialled) -> Step:
    """A failure of ours: another target may do better, and if none does it is not the PBX that gets the blame."""
    if not state.live(event.leg):
        return state, []
    remembered = replace(_without(state, event.leg), not_dialled=event.refusal)
    return (remembered, []) if _offering(remembered) else _next_tier(remembered)


def _leg_host_died(state: State, event: on.HostDied) -> Step:
    if event.kind != "sip" or not state.live(event.leg):
        return _host_died(state, event)
    speak = do.SpeakForSip(event.leg, Refusal("telegram-error", "media process failed"))
    after, actions = _leg_failed(state, on.SipEnded(event.leg, 500, "media process failed"))
    return after, [speak, *actions]


def _tier_expired(state: State, event: on.Expired) -> Step:
    """Nobody of this tier answered: stop ringing it and try the next."""
    if event.timer != "call":
        return state, []
    stop: list[do.Effect] = [do.EndSip(leg, 487, "No answer") for leg, ending in state.sip_legs if not ending]
    quiet = replace(state, sip_legs=tuple((leg, True) for leg, _ in state.sip_legs), last_status=480)
    after, actions = _next_tier(replace(quiet, last_phrase="No answer"))
    return after, stop + actions


def _leg_answered(state: State, event: on.SipAnswered) -> Step:
    """The first 200 wins; the rest are cancelled, and Telegram is told to connect."""
    if not state.live(event.leg):
        return state, []
    others: list[do.Effect] = [
        do.EndSip(leg, 487, elsewhere=True) for leg, ending in state.sip_legs if leg != event.leg and not ending
    ]
    legs = tuple((leg, ending or leg != event.leg) for leg, ending in state.sip_legs)
    won = replace(state, phase=Phase.MEDIA, winner=event.leg, sip_legs=legs, tiers=())
    return won, [*others, do.AcceptTelegram(), do.StartTimer("call", MEDIA_TIMEOUT_S)]


def _late_answer(state: State, event: on.SipAnswered) -> Step:
    """A second 200 crossed our CANCEL: that dialog is up and needs a BYE."""
    if event.leg == state.winner or not state.live(event.leg):
        return state, []
    return state, [do.EndSip(event.leg, 487, elsewhere=True)]


def _media_opens(state: State, event: on.TelegramReady) -> Step:
    return replace(state, media_open=True), [do.OpenMedia()]


def _winner_over(state: State, event: on.SipEnded) -> Step:
    return _sip_over(state, event) if event.leg == state.winner else _sip_let_go(state, event)


_Handler = Callable[[State, "on.Event"], Step]
_Tables = dict[Phase, dict[type, Callable[..., Step]]]

_ENDING: dict[type, Callable[..., Step]] = {
    on.SipEnded: _sip_let_go,
    on.NotDialled: _sip_let_go,
    on.TelegramEnded: _telegram_let_go,
    on.TelegramLost: _telegram_let_go,
    on.MediaClosed: _media_let_go,
    on.Refused: _telegram_let_go,  # the Storage refused to start what is not wanted any more
    on.HangUp: _ignore,
    on.Expired: _give_up,
    on.SipAnswered: lambda state, event: (state, [do.EndSip(event.leg)] if state.live(event.leg) else []),
}

_ALWAYS: dict[type, Callable[..., Step]] = {
    on.HangUp: _refused,
    on.HostDied: _host_died,
    on.TelegramLost: _telegram_lost,
}

_FROM_SIP: _Tables = {
    Phase.ROUTING: {on.Begun: _begin, on.SipEnded: _sip_over, on.Refused: _refused},
    Phase.DIALLING: {
        on.TelegramRinging: _telegram_rings,
        on.TelegramReady: _ready,
        on.TelegramEnded: _telegram_over_dialling,
        on.Refused: lambda state, event: _refused(replace(state, telegram_open=False), event),
        on.SipEnded: _sip_over,
        on.MediaClosed: _media_closed_dialling,
        on.Expired: _nobody,
    },
    Phase.RINGING: {
        on.TelegramReady: _ready,
        on.TelegramEnded: _telegram_over,
        on.Refused: lambda state, event: _refused(replace(state, telegram_open=False), event),
        on.SipEnded: _sip_over,
        on.Expired: _nobody,
    },
    Phase.MEDIA: {
        on.MediaConnected: _media_up,
        on.MediaFailed: _media_failed_first,
        on.Expired: _media_failed_first,
        on.TelegramEnded: _telegram_over,
        on.SipEnded: _sip_over,
    },
    Phase.UP: {on.TelegramEnded: _telegram_over, on.SipEnded: _sip_over, on.MediaFailed: _media_lost},
    Phase.ENDING: _ENDING,
    Phase.ENDED: dict.fromkeys((on.HangUp, on.HostDied, on.TelegramLost), _ignore),
}

_FROM_TELEGRAM: _Tables = {
    Phase.ROUTING: {on.Routed: _offer, on.Refused: _turned_away, on.TelegramEnded: _telegram_over},
    Phase.DIALLING: {
        on.SipRinging: _leg_rings,
        on.SipAnswered: _leg_answered,
        on.SipEnded: _leg_failed,
        on.NotDialled: _leg_not_dialled,
        on.HostDied: _leg_host_died,
        on.TelegramEnded: _telegram_over,
        on.Refused: _refused,
        on.Expired: _tier_expired,
    },
    Phase.MEDIA: {
        on.TelegramReady: _media_opens,
        on.MediaConnected: _media_up,
        on.MediaFailed: _media_lost,
        on.Expired: _media_lost,
        on.TelegramEnded: _telegram_over,
        on.SipEnded: _winner_over,
        on.NotDialled: _sip_let_go,
        on.SipAnswered: _late_answer,
        on.Refused: _refused,
    },
    Phase.UP: {
        on.TelegramEnded: _telegram_over,
        on.SipEnded: _winner_over,
        on.NotDialled: _sip_let_go,
        on.SipAnswered: _late_answer,
        on.MediaFailed: _media_lost,
    },
    Phase.ENDING: _ENDING,
    Phase.ENDED: dict.fromkeys((on.HangUp, on.HostDied, on.TelegramLost), _ignore),
}
_FROM_TELEGRAM[Phase.RINGING] = _FROM_TELEGRAM[Phase.DIALLING]
