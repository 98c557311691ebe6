"""The call machine: its paths by example, its invariants under any order of events."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from teletrunk.errors import Refusal
from teletrunk_worker.call import effects as do
from teletrunk_worker.call import events as on
from teletrunk_worker.call import machine
from teletrunk_worker.call.machine import CALLER_LEG, Phase, State, step

TARGETS = tuple(on.Target(leg, "trunk", f"sip:{leg}@x") for leg in ("x", "y", "z"))


def play(state: State, *events: on.Event) -> tuple[State, list[do.Effect]]:
    done: list[do.Effect] = []
    for event in events:
        state, effects = step(state, event)
        done += effects
    return state, done


def kinds(effects: list[do.Effect]) -> list[str]:
    return [type(effect).__name__ for effect in effects if not isinstance(effect, do.StartTimer | do.StopTimer)]


def test_sip_to_telegram_answers_only_when_sound_flows() -> None:
    state, done = play(machine.from_sip(), on.Begun(), on.TelegramRinging(), on.TelegramReady())
    assert kinds(done) == ["StartTelegram", "RingSip", "OpenMedia"]
    state, done = play(state, on.MediaConnected())
    assert kinds(done) == ["AnswerSip"] and state.phase is Phase.UP
    state, done = play(state, on.SipEnded(CALLER_LEG, 200), on.TelegramEnded("hangup"), on.MediaClosed())
    assert kinds(done) == ["DiscardTelegram", "CloseMedia", "Finish"]
    assert state.phase is Phase.ENDED and state.ended_by == "pbx"


def test_declined_at_telegram_is_486() -> None:
    state, done = play(machine.from_sip(), on.Begun(), on.TelegramRinging(), on.TelegramEnded("busy"))
    assert do.EndSip(CALLER_LEG, 486, "Busy Here") in done
    assert state.ended_by == "telegram"


def test_cancel_while_ringing_is_missed_at_telegram() -> None:
    _, done = play(machine.from_sip(), on.Begun(), on.TelegramRinging(), on.SipEnded(CALLER_LEG, 487))
    assert do.DiscardTelegram("missed") in done


def test_media_failure_redials_once_and_then_says_so() -> None:
    state, done = play(machine.from_sip(), on.Begun(), on.TelegramReady(), on.MediaFailed("timeout"))
    assert kinds(done)[-2:] == ["DiscardTelegram", "CloseMedia"] and state.phase is Phase.DIALLING
    state, done = play(state, on.MediaClosed(), on.TelegramEnded("disconnect"))
    assert kinds(done) == ["StartTelegram"]
    state, done = play(state, on.TelegramReady(), on.MediaFailed("timeout"))
    ends = [effect for effect in done if isinstance(effect, do.EndSip)]
    assert ends[0].refusal is not None and ends[0].refusal.row.id == "telegram-error"


def test_telegram_to_sip_first_answer_wins() -> None:
    state, done = play(machine.from_telegram(), on.Routed((TARGETS[:2], TARGETS[2:])), on.SipRinging("x"))
    assert kinds(done) == ["DialSip", "DialSip"]
    state, done = play(state, on.SipAnswered("y"))
    assert kinds(done) == ["EndSip", "AcceptTelegram"]
    state, done = play(state, on.SipEnded("x", 487), on.TelegramReady(), on.MediaConnected())
    assert kinds(done) == ["OpenMedia"] and state.phase is Phase.UP and state.winner == "y"
    state, done = play(state, on.TelegramEnded("hangup"), on.SipEnded("y", 200), on.MediaClosed())
    assert kinds(done)[-1] == "Finish" and state.ended_by == "telegram"


def test_next_tier_only_after_all_of_the_first_failed() -> None:
    state, done = play(machine.from_telegram(), on.Routed((TARGETS[:2], TARGETS[2:])), on.SipEnded("x", 486))
    assert kinds(done) == ["DialSip", "DialSip"]
    state, done = play(state, on.SipEnded("y", 486))
    assert kinds(done) == ["DialSip"]
    state, done = play(state, on.SipEnded("z", 603, "Decline"), on.TelegramEnded("busy"))
    assert do.DiscardTelegram("busy") in done and state.last_status == 603 and state.phase is Phase.ENDED


def test_nobody_registered_is_told_to_the_caller() -> None:
    state, done = play(machine.from_telegram(), on.Routed(()))
    assert kinds(done) == ["TellCaller", "DiscardTelegram"]
    assert state.refusal is not None and state.refusal.row.id == "pbx-unreachable"


@pytest.mark.parametrize("kind", ["sip", "telegram"])
def test_a_dead_host_ends_the_call_on_both_sides(kind: str) -> None:
    up, _ = play(machine.from_sip(), on.Begun(), on.TelegramReady(), on.MediaConnected())
    _, done = play(up, on.HostDied(kind, CALLER_LEG))
    assert do.DiscardTelegram("disconnect") in done
    told = do.SpeakForSip if kind == "sip" else do.EndSip
    assert any(isinstance(effect, told) for effect in done)


def test_the_death_of_a_losers_host_ends_no_call() -> None:
    state, _ = play(machine.from_telegram(), on.Routed((TARGETS[:2],)), on.SipAnswered("x"))
    _, done = play(state, on.TelegramReady(), on.MediaConnected(), on.HostDied("sip", "y"))
    assert do.SpeakForSip in {type(effect) for effect in done}
    assert not {"EndSip", "DiscardTelegram"} & set(kinds(done[-2:]))


def test_what_no_host_could_dial_is_not_the_pbxs_answer() -> None:
    full = Refusal("worker-restarting", "all lines of this Worker are busy")
    state, done = play(machine.from_telegram(), on.Routed((TARGETS[:2],)), on.NotDialled("x", full))
    assert kinds(done) == ["DialSip", "DialSip"]
    state, done = play(state, on.SipEnded("y", 0))
    assert (state.ended_by, state.refusal) == ("gateway", full) and do.TellCaller(full) in done
    state, _ = play(machine.from_telegram(), on.Routed((TARGETS[:2],)), on.NotDialled("x", full), on.SipEnded("y", 486))
    assert (state.ended_by, state.last_status) == ("pbx", 486)


def test_a_host_that_does_not_end_a_leg_is_spoken_for() -> None:
    up, _ = play(machine.from_sip(), on.Begun(), on.TelegramReady(), on.MediaConnected(), on.TelegramEnded("hangup"))
    state, done = play(up, on.MediaClosed(), on.Expired("ending"))
    assert kinds(done) == ["SpeakForSip", "Finish"] and state.phase is Phase.ENDED


REFUSAL = Refusal("telegram-error", "x")
LEGS = st.sampled_from([CALLER_LEG, "x", "y", "z"])
EVENTS = st.one_of(
    st.just(on.Begun()),
    st.just(on.Routed((TARGETS[:2], TARGETS[2:]))),
    st.just(on.Routed(())),
    st.just(on.Refused(REFUSAL)),
    st.builds(on.SipRinging, LEGS),
    st.builds(on.SipAnswered, LEGS),
    st.builds(on.SipEnded, LEGS, st.sampled_from([200, 480, 486, 487, 603])),
    st.builds(on.NotDialled, LEGS, st.just(REFUSAL)),
    st.just(on.TelegramRinging()),
    st.just(on.TelegramReady()),
    st.builds(on.TelegramEnded, st.sampled_from(["missed", "busy", "hangup", "disconnect"])),
    st.just(on.TelegramLost(REFUSAL)),
    st.just(on.MediaConnected()),
    st.just(on.MediaFailed("x")),
    st.just(on.MediaClosed()),
    st.builds(on.HostDied, st.sampled_from(["sip", "telegram"]), LEGS),
    st.builds(on.Expired, st.sampled_from(["call", "ending"])),
    st.just(on.HangUp(REFUSAL)),
)


class Rim:
    """Keeps books over what the effects have opened and closed, as the real rim would."""

    def __init__(self, state: State) -> None:
        self.timers: set[str] = set()
        self.legs = {leg for leg, _ in state.sip_legs}
        self.told_to_end: set[str] = set()
        self.finished = 0
        self.media_connected = False

    def note(self, event: on.Event) -> None:
        if isinstance(event, on.MediaConnected):
            self.media_connected = True
        if isinstance(event, on.Expired):
            self.timers.discard(event.timer)

    def carry_out(self, effects: list[do.Effect]) -> None:
        for effect in effects:
            assert not self.finished, "an effect after Finish"
            match effect:
                case do.StartTimer(timer):
                    self.timers.add(timer)
                case do.StopTimer(timer):
                    self.timers.discard(timer)
                case do.DialSip(target):
                    self.legs.add(target.leg)
                case do.EndSip(leg) | do.SpeakForSip(leg):
                    self.told_to_end.add(leg)
                case do.AnswerSip():
                    assert self.media_connected, "200 without media"
                case do.Finish():
                    self.finished += 1


@settings(max_examples=600, deadline=None)
@given(st.booleans(), st.lists(EVENTS, max_size=30))
def test_any_order_of_events_ends_with_everything_released(sip: bool, events: list[on.Event]) -> None:
    state = machine.from_sip() if sip else machine.from_telegram()
    rim = Rim(state)
    ended_by_peer = {event.leg for event in events if isinstance(event, on.SipEnded | on.NotDialled)}
    for event in events:
        rim.note(event)
        state, effects = step(state, event)
        rim.carry_out(effects)
    if state.phase is Phase.ROUTING:  # routing has a deadline of its own, which is a refusal
        state, effects = step(state, on.Refused(REFUSAL))
        rim.carry_out(effects)
    # From here on nothing answers: the timers that the machine itself asked for must end the call,
    # and a call that is up ends when somebody hangs up.
    for _ in range(20):
        if state.phase is Phase.ENDED:
            break
        if state.phase is Phase.UP:
            event: on.Event = on.HangUp(REFUSAL)
        else:
            assert rim.timers, f"stuck in {state.phase} without a timer"
            event = on.Expired(min(rim.timers))
        rim.note(event)
        state, effects = step(state, event)
        rim.carry_out(effects)
    assert state.phase is Phase.ENDED
    assert rim.finished == 1
    assert not rim.timers
    assert rim.legs <= rim.told_to_end | ended_by_peer
