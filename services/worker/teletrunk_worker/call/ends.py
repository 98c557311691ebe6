"""What happens in both directions of a call: how it comes to an end, and how its sound begins."""

from __future__ import annotations

from dataclasses import replace

from teletrunk.errors import Refusal

from teletrunk_worker.call import effects as do
from teletrunk_worker.call import events as on
from teletrunk_worker.call.state import ENDING_TIMEOUT_S, NO_SOUND, Phase, Side, Stage, State, Step


def ignore(state: State, event: on.Event) -> Step:
    return state, []


def end(
    state: State,
    by: str,
    *,
    reason: str,
    refusal: Refusal | None = None,
    status: int = 0,
    phrase: str = "",
    elsewhere: bool = False,
) -> Step:
    """Tells everything that is still open to end. `reason` is Telegram's, the rest is for SIP.

    A Telegram caller who is not put through for a reason of ours reads it.
    """
    actions: list[do.Effect] = [do.StopTimer("call"), do.StopTimer("plan")]
    if refusal is not None and not state.from_sip and state.phase is not Phase.UP:
        actions.append(do.TellCaller(refusal))
    actions += [
        do.EndSip(leg.name, status, phrase, refusal, elsewhere) for leg in state.legs if leg.stage is not Stage.ENDING
    ]
    if state.telegram is Side.OPEN:
        actions.append(do.DiscardTelegram(reason))
    if state.media is Side.OPEN:
        actions.append(do.CloseMedia())
    actions.append(do.StartTimer("ending", ENDING_TIMEOUT_S))
    ending = replace(
        state,
        phase=Phase.ENDING,
        legs=tuple(replace(leg, stage=Stage.ENDING) for leg in state.legs),
        telegram=closing(state.telegram),
        media=closing(state.media),
        ended_by=by,
        refusal=refusal,
        last_status=status or (refusal.row.sip_status if refusal else 0) or state.last_status,
    )
    return ending, actions


def closing(side: Side) -> Side:
    return Side.CLOSED if side is Side.CLOSED else Side.CLOSING


def settled(state: State, actions: list[do.Effect]) -> Step:
    """A call that is ending has ended once nothing is open."""
    if state.phase is Phase.ENDING and not state.legs and state.telegram is state.media is Side.CLOSED:
        return replace(state, phase=Phase.ENDED), [*actions, do.StopTimer("ending"), do.Finish()]
    return state, actions


def reason_of(state: State) -> str:
    """What Telegram is told when one of the people ends the call in this phase."""
    if state.agreed:
        return "hangup"
    return "missed" if state.from_sip else "busy"


def fail(state: State, refusal: Refusal, status: int = 0) -> Step:
    """The gateway ends the call, for a reason of its own."""
    why = "disconnect" if state.agreed else reason_of(state)
    return end(state, "gateway", reason=why, refusal=refusal, status=status)


def refused(state: State, event: on.Refused | on.HangUp) -> Step:
    return fail(state, event.refusal)


def telegram_lost(state: State, event: on.TelegramLost | on.NotStarted) -> Step:
    """The stream is gone: nothing can be discarded over it. The Storage discards by itself, if it lives."""
    if state.telegram is Side.CLOSED:
        return state, []
    return fail(replace(state, telegram=Side.CLOSED), event.refusal)


def no_place(state: State, event: on.NoMedia) -> Step:
    if state.media is Side.CLOSED:
        return state, []
    return fail(replace(state, media=Side.CLOSED), event.refusal)


def died(kind: str) -> Refusal:
    return Refusal("media-failed", f"{'SIP' if kind == 'sip' else 'Telegram'} host died")


def host_died(state: State, event: on.HostDied) -> Step:
    if event.kind == "telegram":
        if state.media is Side.CLOSED:
            return state, []
        return fail(replace(state, media=Side.CLOSED), died("telegram"))
    if state.leg(event.leg) is None:
        return state, []
    speak: list[do.Effect] = [do.SpeakForSip(event.leg, died("sip"))]
    rest = state.without(event.leg)
    if state.talking and event.leg != state.talking:
        return rest, speak
    ended, actions = fail(rest, died("sip"))
    return ended, speak + actions


def host_died_ending(state: State, event: on.HostDied) -> Step:
    if event.kind == "telegram":
        return replace(state, media=Side.CLOSED), []
    if state.leg(event.leg) is None:
        return state, []
    return state.without(event.leg), [do.SpeakForSip(event.leg, state.refusal or died("sip"))]


def sip_over(state: State, event: on.SipEnded) -> Step:
    """The SIP side has ended the call (or was refused what it asked)."""
    if state.leg(event.leg) is None:
        return state, []
    reason = "disconnect" if state.agreed and event.cause in BROKEN else reason_of(state)
    return end(state.without(event.leg), "pbx", reason=reason, status=event.status, phrase=event.phrase)


def leg_not_placed(state: State, event: on.NotPlaced) -> Step:
    """The one leg that the call has: the caller's, or the one that has answered."""
    if state.leg(event.leg) is None:
        return state, []
    return fail(state.without(event.leg), event.refusal, event.status)


def sip_let_go(state: State, event: on.SipEnded | on.NotPlaced) -> Step:
    return state.without(event.leg), []


def telegram_let_go(state: State, event: on.TelegramEnded) -> Step:
    return replace(state, telegram=Side.CLOSED), []


def media_let_go(state: State, event: on.MediaClosed) -> Step:
    return replace(state, media=Side.CLOSED), []


def give_up(state: State, event: on.Expired) -> Step:
    """Something did not answer that it has ended. It is counted as gone, and a peer of SIP is told by the edge."""
    if state.phase is not Phase.ENDING:
        return state, []
    refusal = state.refusal or died("sip")
    speak: list[do.Effect] = [do.SpeakForSip(leg.name, refusal) for leg in state.legs]
    return replace(state, legs=(), telegram=Side.CLOSED, media=Side.CLOSED), speak


def plan_over(state: State, event: on.Expired) -> Step:
    if state.phase is not Phase.UP:
        return state, []
    return end(state, "gateway", reason="hangup", refusal=Refusal("subscription-limit", "total duration exceeded"))


def telegram_over(state: State, event: on.TelegramEnded) -> Step:
    """Telegram has ended the call. What SIP hears depends on how far the call was."""
    if state.telegram is Side.CLOSED:
        return state, []
    gone = replace(state, telegram=Side.CLOSED)
    if not state.from_sip and not state.agreed and event.reason == "hangup":  # who gives up has "missed" it
        return end(gone, "telegram", reason="", status=487, phrase="Answered on another device", elsewhere=True)
    status, phrase = FOR_SIP.get(event.reason, (480, "Temporarily Unavailable"))
    if state.phase is Phase.UP:
        status, phrase = 200, "Telegram user hung up"
    return end(gone, "telegram", reason="", status=status, phrase=phrase)


# Q.850's causes of calls that nobody has hung up: the way or the phone behind the PBX is gone, or out of order.
BROKEN = frozenset({27, 34, 38, 41, 42, 47, 102})

# What an unanswered call's end at Telegram is called in SIP.
FOR_SIP = {
    "busy": (486, "Busy Here"),
    "missed": (480, "No answer"),
    "hangup": (480, "Telegram user hung up"),
    "disconnect": (503, "Telegram media failed"),
}


def media_up(state: State, event: on.MediaConnected) -> Step:
    if state.media is not Side.OPEN:
        return state, []
    answer: list[do.Effect] = [do.AnswerSip()] if state.from_sip else []
    limit: list[do.Effect] = [do.StartTimer("plan", state.longest_s)] if state.longest_s else []
    return replace(state, phase=Phase.UP), [do.StopTimer("call"), *answer, *limit]


def media_lost(state: State, event: on.MediaFailed | on.MediaClosed | on.Expired) -> Step:
    if state.media is Side.CLOSED and not isinstance(event, on.Expired):
        return state, []
    why = event.why if isinstance(event, on.MediaFailed) else NO_SOUND
    return fail(without_closed(state, event), Refusal("telegram-error", why))


def without_closed(state: State, event: on.Event) -> State:
    """A host that closes by itself has nothing left to close."""
    return replace(state, media=Side.CLOSED) if isinstance(event, on.MediaClosed) else state
