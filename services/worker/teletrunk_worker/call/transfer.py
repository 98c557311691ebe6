"""A PBX passes a call that is up on to another of its numbers: blind transfer (RFC 3515, RFC 5589 6).

Telegram's side stays as it is. The leg of who is called takes the place of the one that asked, once it is answered and
the old one has let go of the sound: a ring has one writer. A PBX may hang its own leg up as soon as it was told that
the transfer is tried; the person at Telegram then waits for the new one alone.
"""

from __future__ import annotations

from dataclasses import replace

from teletrunk.errors import Refusal

from teletrunk_worker.call import effects as do
from teletrunk_worker.call import ends
from teletrunk_worker.call import events as on
from teletrunk_worker.call.incoming import late_answer, winner_not_placed, winner_over
from teletrunk_worker.call.state import TRANSFER_TIMEOUT_S, Leg, Phase, Stage, State, Step, Transfer

_TIMER = "transfer"


def may_begin(state: State, name: str) -> bool:
    leg = state.leg(name)
    up = state.phase is Phase.UP and state.transfer is None
    return up and name == state.talking and leg is not None and leg.stage is not Stage.ENDING


def asked(state: State, event: on.TransferAsked) -> Step:
    if not may_begin(state, event.leg):  # it was true when the request was answered
        leg = state.leg(event.leg)
        hears = leg is not None and leg.stage is not Stage.ENDING
        return state, [do.NotifyTransfer(event.leg, event.subscription, 603, "Decline")] if hears else []
    transfer = Transfer(event.leg, event.target.leg, event.subscription)
    begun = replace(state, transfer=transfer, legs=(*state.legs, Leg(transfer.leg)))
    trying = do.NotifyTransfer(transfer.by, transfer.subscription, 100, "Trying")
    return begun, [do.DialSip(event.target), trying, do.StartTimer(_TIMER, TRANSFER_TIMEOUT_S)]


def dials(state: State, event: on.Placed) -> Step:
    leg = state.leg(event.leg)
    return (state.at(event.leg, Stage.CALLED) if leg is not None and leg.stage is Stage.PLACING else state), []


def heard(state: State, event: on.SipHeard) -> Step:
    leg = state.leg(event.leg)
    return (state.at(event.leg, Stage.HEARD) if leg is not None and leg.stage is Stage.CALLED else state), []


def rings(state: State, event: on.SipRinging) -> Step:
    transfer = state.transfer
    if transfer is None or event.leg != transfer.leg or transfer.rings:
        return state, []
    ringing = replace(state.at(event.leg, Stage.HEARD), transfer=replace(transfer, rings=True))
    return ringing, _tell(ringing, transfer, 180, "Ringing")


def answered(state: State, event: on.SipAnswered) -> Step:
    transfer, leg = state.transfer, state.leg(event.leg)
    if event.leg == state.talking:  # the caller's leg says so of our own 200
        return state, []
    if leg is None or transfer is None or event.leg != transfer.leg:
        return late_answer(state, event)
    if transfer.answered:
        return state, []
    there = replace(state.at(event.leg, Stage.HEARD), transfer=replace(transfer, answered=True))
    if there.leg(transfer.by) is None:
        return _complete(there, transfer)
    return there, [do.DetachSip(transfer.by)]


def detached(state: State, event: on.SipDetached) -> Step:
    transfer = state.transfer
    if transfer is None or event.leg != transfer.by or not transfer.answered:
        return state, []
    return _complete(state, transfer)


def over(state: State, event: on.SipEnded) -> Step:
    """A leg of a call that is up has ended."""
    leg, transfer = state.leg(event.leg), state.transfer
    if leg is None or leg.stage is Stage.ENDING:
        return ends.sip_let_go(state, event)
    if transfer is not None and event.leg == transfer.leg:
        return _failed(state.without(event.leg), transfer, event.status, event.phrase)
    if transfer is not None and event.leg == transfer.by:
        return _without_asker(state.without(event.leg), transfer)
    return winner_over(state, event)


def not_placed(state: State, event: on.NotPlaced) -> Step:
    transfer = state.transfer
    if transfer is not None and event.leg == transfer.leg and state.leg(event.leg) is not None:
        return _failed_here(state.without(event.leg), transfer, event.refusal)
    if transfer is not None and event.leg == transfer.by and state.leg(event.leg) is not None:
        return _without_asker(state.without(event.leg), transfer)
    return winner_not_placed(state, event)


def host_died(state: State, event: on.HostDied) -> Step:
    transfer = state.transfer
    if transfer is None or state.leg(event.leg) is None or event.leg not in (transfer.leg, transfer.by):
        return ends.host_died(state, event)
    rest, died = state.without(event.leg), ends.died("sip")
    asker = event.leg == transfer.by
    after, actions = _without_asker(rest, transfer) if asker else _failed_here(rest, transfer, died)
    return after, [do.SpeakForSip(event.leg, died), *actions]


def expired(state: State, event: on.Expired) -> Step:
    transfer = state.transfer
    if state.phase is not Phase.UP or transfer is None:
        return state, []
    if transfer.answered:  # the old leg's host hangs, and is killed for it
        return _complete(state, transfer)
    after, actions = _failed(state.at(transfer.leg, Stage.ENDING), transfer, 408, "No answer")
    return after, [do.EndSip(transfer.leg, 487, "No answer"), *actions]


def _without_asker(state: State, transfer: Transfer) -> Step:
    return _complete(state, transfer) if transfer.answered else (state, [])


def _complete(state: State, transfer: Transfer) -> Step:
    told = _tell(state, transfer, 200, "OK")
    over: list[do.Effect] = [do.EndSip(transfer.by, 200, "Transferred")] if state.leg(transfer.by) else []
    moved = replace(state.at(transfer.by, Stage.ENDING), winner=transfer.leg, transfer=None)
    return moved, [do.StopTimer(_TIMER), do.ConnectSip(transfer.leg), *told, *over]


def _failed_here(state: State, transfer: Transfer, refusal: Refusal) -> Step:
    if state.leg(transfer.by) is None:
        return ends.fail(replace(state, transfer=None), refusal)
    return _failed(state, transfer, refusal.row.sip_status, refusal.phrase)


def _failed(state: State, transfer: Transfer, status: int, phrase: str) -> Step:
    """The call goes on with who has asked; if nobody has stayed, it is over."""
    left = replace(state, transfer=None)
    if state.leg(transfer.by) is None:
        return ends.end(left, "pbx", reason="hangup", status=status, phrase=phrase)
    again: list[do.Effect] = [do.ConnectSip(transfer.by)] if transfer.answered else []
    return left, [do.StopTimer(_TIMER), *again, *_tell(state, transfer, max(status, 300), phrase)]


def _tell(state: State, transfer: Transfer, status: int, phrase: str) -> list[do.Effect]:
    if state.leg(transfer.by) is None:
        return []
    return [do.NotifyTransfer(transfer.by, transfer.subscription, status, phrase)]
