"""The steps of a call from Telegram to SIP: tiers of targets, of which the first to answer has the call."""

from __future__ import annotations

import itertools
from dataclasses import replace

from teletrunk.errors import Refusal

from teletrunk_worker.call import effects as do
from teletrunk_worker.call import events as on
from teletrunk_worker.call.ends import died, end, fail, host_died, leg_not_placed, sip_let_go, sip_over
from teletrunk_worker.call.reasons import says_more
from teletrunk_worker.call.state import (
    MEDIA_TIMEOUT_S,
    ROUTE_TIMEOUT_S,
    SHORTEST_TIER_S,
    TIER_TIMEOUT_S,
    TIERS_S,
    Leg,
    Phase,
    Side,
    Stage,
    State,
    Step,
)


def taken(state: State, event: on.Taken) -> Step:
    return state, [do.StartTimer("call", ROUTE_TIMEOUT_S)]


def not_routed(state: State, event: on.Expired) -> Step:
    return fail(state, Refusal("manager-unreachable"))


def offer(state: State, event: on.Routed) -> Step:
    share = TIERS_S / max(1, sum(1 for tier in event.tiers if tier))
    tier_s = max(SHORTEST_TIER_S, min(TIER_TIMEOUT_S, share))
    return next_tier(replace(state, phase=Phase.DIALLING, tiers=event.tiers, tier_s=tier_s, longest_s=event.longest_s))


def next_tier(state: State) -> Step:
    """Rings the next tier together; when there is none left, the call has failed."""
    tiers = list(itertools.dropwhile(lambda tier: not tier, state.tiers))
    if not tiers:
        if state.last_status:
            return end(state, "pbx", reason="busy", status=state.last_status, phrase=state.last_phrase)
        return fail(state, state.own_failure or Refusal("pbx-unreachable"))
    first, *rest = tiers
    seconds = state.tier_s if any(rest) else TIER_TIMEOUT_S
    return (
        replace(
            state,
            tiers=tuple(rest),
            legs=(*state.legs, *(Leg(target.leg, trunk_id=target.trunk_id) for target in first)),
        ),
        [*(do.DialSip(target) for target in first), do.StartTimer("call", seconds)],
    )


def rebound(state: State, event: on.Rebound) -> Step:
    """Those that wait for their turn are rung where they are by then. Who rings already stays so."""
    passed = len(event.tiers) - len(state.tiers)
    return replace(state, tiers=event.tiers[passed:]) if passed >= 0 else state, []


def withdrawn(state: State, event: on.Withdrawn) -> Step:
    """Its phones ring no more, and it has no turn. Of a call that is answered already nothing changes."""
    tiers = tuple(tuple(target for target in tier if target.trunk_id != event.trunk_id) for tier in state.tiers)
    rung = {leg.name for leg in state.legs if leg.trunk_id == event.trunk_id and leg.stage is not Stage.ENDING}
    legs = tuple(replace(leg, stage=Stage.ENDING) if leg.name in rung else leg for leg in state.legs)
    rest = replace(state, tiers=tiers, legs=legs)
    if not rung:
        return rest, []
    after, actions = go_on(rest)
    return after, [*(do.EndSip(name, 487, "The trunk is not in use any more") for name in sorted(rung)), *actions]


def go_on(state: State) -> Step:
    """One leg less: the others of its tier may still be answered."""
    return (state, []) if state.offering else next_tier(state)


def leg_dials(state: State, event: on.Placed) -> Step:
    leg = state.leg(event.leg)
    if leg is None or leg.stage is not Stage.PLACING:
        return state, []
    return state.at(event.leg, Stage.CALLED), [do.StartTimer(f"answer {event.leg}", state.first_answer_s)]


def leg_heard(state: State, event: on.SipHeard) -> Step:
    leg = state.leg(event.leg)
    if leg is None or leg.stage is not Stage.CALLED:
        return state, []
    return state.at(event.leg, Stage.HEARD), [do.StopTimer(f"answer {event.leg}")]


def leg_rings(state: State, event: on.SipRinging) -> Step:
    leg = state.leg(event.leg)
    if leg is None or leg.stage is Stage.ENDING:
        return state, []
    return replace(state.at(event.leg, Stage.HEARD), phase=Phase.RINGING), [do.StopTimer(f"answer {event.leg}")]


def unheard(state: State, event: on.Expired) -> Step:
    """A PBX whose port is closed, or that is gone: nobody shall wait half a minute for SIP's own timeout."""
    name = event.timer.partition(" ")[2]
    leg = state.leg(name)
    if state.phase not in (Phase.DIALLING, Phase.RINGING) or leg is None or leg.stage is not Stage.CALLED:
        return state, []
    after, actions = go_on(state.at(name, Stage.ENDING))
    return after, [do.EndSip(name, phrase="no answer at all"), *actions]


def _refused(state: State, status: int, phrase: str) -> State:
    """Of several refusals the one that says most of the people who were called counts (RFC 3261 16.7, step 6)."""
    if state.last_status and says_more(state.last_status, status):
        return state
    return replace(state, last_status=status, last_phrase=phrase)


def leg_failed(state: State, event: on.SipEnded) -> Step:
    leg = state.leg(event.leg)
    if leg is None:
        return state, []
    rest = state.without(event.leg)
    if leg.stage is Stage.ENDING:
        return rest, []
    silent = leg.stage is Stage.CALLED  # it is the host, or the edge, that says so: nobody has answered
    if event.status and not silent:  # what one PBX has said counts more than that another says nothing
        rest = _refused(rest, event.status, event.phrase)
    return go_on(rest)


def target_not_placed(state: State, event: on.NotPlaced) -> Step:
    """A failure of ours: another target may do better, and if none does it is not the PBX that gets the blame."""
    return failed_here(state, event.leg, event.refusal)


def failed_here(state: State, name: str, refusal: Refusal) -> Step:
    leg = state.leg(name)
    if leg is None:
        return state, []
    rest = state.without(name)
    if leg.stage is Stage.ENDING:
        return rest, []
    return go_on(replace(rest, own_failure=refusal))


def target_host_died(state: State, event: on.HostDied) -> Step:
    if event.kind != "sip" or state.leg(event.leg) is None:
        return host_died(state, event)
    after, actions = failed_here(state, event.leg, died("sip"))
    return after, [do.SpeakForSip(event.leg, died("sip")), *actions]


def tier_expired(state: State, event: on.Expired) -> Step:
    """Nobody of this tier answered: stop ringing it and try the next."""
    stop: list[do.Effect] = [
        do.EndSip(leg.name, 487, "No answer") for leg in state.legs if leg.stage is not Stage.ENDING
    ]
    if any(leg.stage is Stage.HEARD for leg in state.legs):
        state = _refused(state, 480, "No answer")
    elif any(leg.stage is Stage.PLACING for leg in state.legs):
        state = replace(state, own_failure=Refusal("media-failed", "SIP host did not take the call"))
    after, actions = next_tier(replace(state, legs=tuple(replace(leg, stage=Stage.ENDING) for leg in state.legs)))
    return after, stop + actions


def leg_answered(state: State, event: on.SipAnswered) -> Step:
    """The first 200 wins; the rest are cancelled, and Telegram is told to connect."""
    leg = state.leg(event.leg)
    if leg is None:
        return state, []
    if leg.stage is Stage.ENDING:
        return late_answer(state, event)
    others: list[do.Effect] = [
        do.EndSip(other.name, 487, elsewhere=True)
        for other in state.legs
        if other is not leg and other.stage is not Stage.ENDING
    ]
    legs = tuple(replace(leg, stage=Stage.HEARD if leg.name == event.leg else Stage.ENDING) for leg in state.legs)
    won = replace(state, phase=Phase.MEDIA, winner=event.leg, legs=legs, tiers=())
    return won, [*others, do.AcceptTelegram(), do.StartTimer("call", MEDIA_TIMEOUT_S)]


def late_answer(state: State, event: on.SipAnswered) -> Step:
    """A 200 crossed our CANCEL: that dialog is up and needs a BYE."""
    if event.leg == state.winner or state.leg(event.leg) is None:
        return state, []
    return state, [do.EndSip(event.leg, 487, elsewhere=bool(state.winner))]


def media_opens(state: State, event: on.TelegramReady) -> Step:
    if state.telegram is not Side.OPEN or state.media is not Side.CLOSED:
        return state, []
    return replace(state, media=Side.OPEN), [do.OpenMedia(event.terms)]


def winner_over(state: State, event: on.SipEnded) -> Step:
    return sip_over(state, event) if event.leg == state.talking else sip_let_go(state, event)


def winner_not_placed(state: State, event: on.NotPlaced) -> Step:
    return leg_not_placed(state, event) if event.leg == state.talking else sip_let_go(state, event)
