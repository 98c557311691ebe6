"""The call: one state machine for both directions, pure.

`step` takes a state and an event and gives the next state and the effects to carry out. What an event means
depends on the phase; the tables at the end say it at a glance. An event that a phase has no entry for changes
nothing: legs, timers and hosts report late, and twice.

    ROUTING   SIP to Telegram: a host takes the INVITE; Telegram to SIP: the Manager is asked
    DIALLING  the other side is being called
    RINGING   the other side rings
    MEDIA     both people have agreed; sound is connecting
    UP        sound flows
    ENDING    everything has been told to end; waiting until it has
    ENDED     nothing is left

Invariants (held by tests with random event orders): a call always ends; both legs are released; exactly one
`Finish`, the last effect; no `AnswerSip` before `MediaConnected`. Every phase but UP has a timer that ends it.
"""

from __future__ import annotations

from collections.abc import Callable

from teletrunk_worker.call import effects as do
from teletrunk_worker.call import ends, incoming, outgoing, transfer
from teletrunk_worker.call import events as on
from teletrunk_worker.call.state import CALLER_LEG, Phase, State, Step, from_sip, from_telegram

_Handler = Callable[..., Step]


def step(state: State, event: on.Event) -> Step:
    """The next state, and what to do now, in order."""
    return ends.settled(*_handler(state, event)(state, event))


def _handler(state: State, event: on.Event) -> _Handler:
    if isinstance(event, on.Expired) and event.timer != "call":
        return _TIMERS.get(event.timer.partition(" ")[0], ends.ignore)
    tables = _FROM_SIP if state.from_sip else _FROM_TELEGRAM
    return tables.get(state.phase, {}).get(type(event)) or _ALWAYS.get(type(event), ends.ignore)


_Tables = dict[Phase, dict[type, _Handler]]

# Timers other than the phase's own; their handlers look at the phase.
_TIMERS: dict[str, _Handler] = {
    "ending": ends.give_up,
    "plan": ends.plan_over,
    "answer": incoming.unheard,
    "transfer": transfer.expired,
}

_ENDING: dict[type, _Handler] = {
    on.SipEnded: ends.sip_let_go,
    on.NotPlaced: ends.sip_let_go,
    on.TelegramEnded: ends.telegram_let_go,
    on.TelegramLost: ends.telegram_let_go,
    on.NotStarted: ends.telegram_let_go,  # what is not wanted any more
    on.MediaClosed: ends.media_let_go,
    on.NoMedia: ends.media_let_go,
    on.HostDied: ends.host_died_ending,
    on.HangUp: ends.ignore,
    on.SipAnswered: lambda state, event: (state, [do.EndSip(event.leg)] if state.leg(event.leg) else []),
}
_ENDED = dict.fromkeys((on.HangUp, on.HostDied, on.TelegramLost, on.NoMedia), ends.ignore)

_ALWAYS: dict[type, _Handler] = {
    on.HangUp: ends.refused,
    on.HostDied: ends.host_died,
    on.TelegramLost: ends.telegram_lost,
    on.NoMedia: ends.no_place,
}

_UP: dict[type, _Handler] = {
    on.TelegramEnded: ends.telegram_over,
    on.SipEnded: transfer.over,
    on.SipAnswered: transfer.answered,
    on.SipHeard: transfer.heard,
    on.SipRinging: transfer.rings,
    on.SipDetached: transfer.detached,
    on.Placed: transfer.dials,
    on.NotPlaced: transfer.not_placed,
    on.TransferAsked: transfer.asked,
    on.HostDied: transfer.host_died,
    on.MediaFailed: ends.media_lost,
    on.MediaClosed: ends.media_lost,
}

_FROM_SIP: _Tables = {
    Phase.ROUTING: {
        on.Admitted: outgoing.admitted,
        on.Placed: outgoing.place_found,
        on.NotPlaced: ends.leg_not_placed,
        on.Begun: outgoing.begin,
        on.SipEnded: ends.sip_over,
        on.Refused: ends.refused,
        on.Expired: outgoing.not_begun,
    },
    Phase.DIALLING: {
        on.TelegramRinging: outgoing.telegram_rings,
        on.TelegramReady: outgoing.ready,
        on.TelegramEnded: outgoing.telegram_over_dialling,
        on.TelegramLost: outgoing.telegram_lost_dialling,
        on.NotStarted: outgoing.telegram_lost_dialling,
        on.MediaClosed: outgoing.media_closed_dialling,
        on.NoMedia: outgoing.media_closed_dialling,
        on.HostDied: outgoing.media_closed_dialling,
        on.SipEnded: ends.sip_over,
        on.NotPlaced: ends.leg_not_placed,
        on.Expired: outgoing.nobody,
    },
    Phase.RINGING: {
        on.TelegramReady: outgoing.ready,
        on.TelegramEnded: ends.telegram_over,
        on.NotStarted: ends.telegram_lost,
        on.SipEnded: ends.sip_over,
        on.NotPlaced: ends.leg_not_placed,
        on.Expired: outgoing.nobody,
    },
    Phase.MEDIA: {
        on.MediaConnected: ends.media_up,
        on.MediaFailed: outgoing.media_failed_first,
        on.MediaClosed: outgoing.media_failed_first,
        on.Expired: outgoing.media_failed_first,
        on.TelegramEnded: ends.telegram_over,
        on.SipEnded: ends.sip_over,
        on.NotPlaced: ends.leg_not_placed,
    },
    Phase.UP: _UP,
    Phase.ENDING: _ENDING,
    Phase.ENDED: _ENDED,
}

_FROM_TELEGRAM: _Tables = {
    Phase.ROUTING: {
        on.Taken: incoming.taken,
        on.Routed: incoming.offer,
        on.Refused: ends.refused,
        on.TelegramEnded: ends.telegram_over,
        on.Expired: incoming.not_routed,
    },
    Phase.DIALLING: {
        on.Placed: incoming.leg_dials,
        on.Rebound: incoming.rebound,
        on.Withdrawn: incoming.withdrawn,
        on.SipHeard: incoming.leg_heard,
        on.SipRinging: incoming.leg_rings,
        on.SipAnswered: incoming.leg_answered,
        on.SipEnded: incoming.leg_failed,
        on.NotPlaced: incoming.target_not_placed,
        on.HostDied: incoming.target_host_died,
        on.TelegramEnded: ends.telegram_over,
        on.Expired: incoming.tier_expired,
    },
    Phase.MEDIA: {
        on.TelegramReady: incoming.media_opens,
        on.MediaConnected: ends.media_up,
        on.MediaFailed: ends.media_lost,
        on.MediaClosed: ends.media_lost,
        on.Expired: ends.media_lost,
        on.TelegramEnded: ends.telegram_over,
        on.SipEnded: incoming.winner_over,
        on.NotPlaced: incoming.winner_not_placed,
        on.SipAnswered: incoming.late_answer,
    },
    Phase.UP: _UP,
    Phase.ENDING: _ENDING,
    Phase.ENDED: _ENDED,
}
_FROM_TELEGRAM[Phase.RINGING] = _FROM_TELEGRAM[Phase.DIALLING]

__all__ = ["CALLER_LEG", "Phase", "State", "from_sip", "from_telegram", "step"]
