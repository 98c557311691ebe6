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
from teletrunk_worker.call.state import Side

from .call_events import EVENTS, REFUSAL, TARGETS


def play(state: State, *events: on.Event) -> tuple[State, list[do.Effect]]:
    done: list[do.Effect] = []
    for event in events:
        state, effects = step(state, event)
        done += effects
    return state, done


def kinds(effects: list[do.Effect]) -> list[str]:
    return [type(effect).__name__ for effect in effects if not isinstance(effect, do.StartTimer | do.StopTimer)]


def test_sip_to_telegram_answers_only_when_sound_flows() -> None:
    state, done = play(
        machine.from_sip(), on.Admitted(), on.Placed(CALLER_LEG), on.Begun(), on.TelegramRinging(), on.TelegramReady()
    )
    assert kinds(done) == ["AwaitInvite", "StartTelegram", "RingSip", "OpenMedia"]
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


@pytest.mark.parametrize(("tiers", "seconds"), [(1, [60.0]), (2, [42.5, 60.0]), (3, [85 / 3, 85 / 3, 60.0])])
def test_each_tier_rings_its_share_of_the_time_that_telegram_rings(tiers: int, seconds: list[float]) -> None:
    """Telegram rings for a minute and a half: the third of three tiers was never rung."""
    targets = tuple((target,) for target in TARGETS[:tiers])
    _, done = play(machine.from_telegram(), on.Routed(((), *targets, ())), *[on.Expired("call")] * (tiers - 1))
    assert [effect.seconds for effect in done if isinstance(effect, do.StartTimer)] == seconds


def test_however_many_tiers_there_are_each_rings_for_a_while() -> None:
    many = tuple((on.Target(str(n), "trunk", f"sip:{n}@x"),) for n in range(30))
    _, done = play(machine.from_telegram(), on.Routed(many))
    assert do.StartTimer("call", 10.0) in done


@pytest.mark.parametrize(
    ("said", "counts"),
    [((486, 404), 486), ((404, 486), 486), ((603, 486), 603), ((503, 404), 404), ((404, 503), 404), ((486, 480), 480)],
)
def test_of_several_refusals_the_one_that_says_most_counts(said: tuple[int, int], counts: int) -> None:
    """A number that one of the PBXs does not have says nothing of the people who were asked (RFC 3261 16.7 step 6)."""
    first, second = said
    routed = on.Routed((TARGETS[:2],))
    state, _ = play(machine.from_telegram(), routed, on.SipEnded("x", first), on.SipEnded("y", second))
    assert state.last_status == counts


def test_who_waits_is_rung_where_it_is_when_its_turn_comes() -> None:
    tiers = ((), TARGETS[:1], (), TARGETS[2:])
    state, _ = play(machine.from_telegram(), on.Routed(tiers), on.Placed("x"), on.SipRinging("x"))
    moved = ((), TARGETS[:1], TARGETS[1:2], ())
    state, done = play(state, on.Rebound(moved))
    assert not done, "who rings already stays so"
    state, done = play(state, on.SipEnded("x", 486))
    assert done[0] == do.DialSip(TARGETS[1])
    state, done = play(state, on.Rebound(tiers), on.SipEnded("y", 486))
    assert do.DialSip(TARGETS[2]) in done, "of the last tier, which was empty for a while"


def test_a_trunk_that_is_taken_away_rings_no_more_and_has_no_turn() -> None:
    gone, other = on.Target("x", "gone", "sip:x@x"), on.Target("y", "other", "sip:y@x")
    later, last = on.Target("z", "gone", "sip:z@x"), on.Target("w", "other", "sip:w@x")
    routed = on.Routed(((gone, other), (later,), (last,)))
    state, _ = play(machine.from_telegram(), routed, on.Placed("x"), on.Placed("y"), on.SipRinging("y"))
    state, done = play(state, on.Withdrawn("gone"))
    assert [effect.leg for effect in done if isinstance(effect, do.EndSip)] == ["x"], "the other one rings on"
    state, done = play(state, on.Withdrawn("gone"), on.SipEnded("x", 487), on.SipEnded("y", 486))
    assert [effect for effect in done if isinstance(effect, do.DialSip)] == [do.DialSip(last)]
    state, done = play(state, on.Withdrawn("other"))
    assert kinds(done)[0] == "EndSip" and "TellCaller" not in kinds(done) and state.last_status == 486, (
        "what a PBX has said counts"
    )


def test_a_trunk_that_is_taken_away_keeps_the_call_that_it_has_answered() -> None:
    routed = on.Routed((TARGETS[:1],))
    state, _ = play(machine.from_telegram(), routed, on.Placed("x"), on.SipAnswered("x"))
    after, done = play(state, on.Withdrawn("trunk"))
    assert (after, done) == (state, [])


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


UP = (on.Placed(CALLER_LEG), on.Begun(), on.TelegramReady(), on.MediaConnected(), on.SipAnswered(CALLER_LEG))
REFER = on.TransferAsked(CALLER_LEG, on.Target("t", "trunk", "sip:t@x"))


def notified(effects: list[do.Effect]) -> list[int]:
    return [effect.status for effect in effects if isinstance(effect, do.NotifyTransfer)]


def test_a_transferred_leg_has_the_sound_once_the_old_one_has_let_go() -> None:
    state, done = play(machine.from_sip(), *UP, REFER, on.Placed("t"), on.SipRinging("t"), on.SipAnswered("t"))
    assert kinds(done)[-1] == "DetachSip" and notified(done) == [100, 180]
    state, done = play(state, on.SipDetached(CALLER_LEG), on.SipEnded(CALLER_LEG, 200))
    assert kinds(done) == ["ConnectSip", "NotifyTransfer", "EndSip"] and notified(done) == [200]
    state, done = play(state, on.SipEnded("t", 200), on.TelegramEnded("hangup"), on.MediaClosed())
    assert state.phase is Phase.ENDED and state.ended_by == "pbx"


def test_a_transfer_is_tried_once_at_a_time_and_not_forever() -> None:
    state, done = play(machine.from_sip(), *UP, REFER, on.TransferAsked(CALLER_LEG, on.Target("u", "trunk", "sip:u@x")))
    assert notified(done) == [100, 603] and kinds(done).count("DialSip") == 1
    state, done = play(state, on.Placed("t"), on.Expired("transfer"))
    assert kinds(done) == ["EndSip", "NotifyTransfer"] and notified(done) == [408] and state.transfer is None
    assert state.phase is Phase.UP


def test_who_asked_for_a_transfer_and_then_says_nothing_any_more_has_not_ended_it() -> None:
    """Its host hangs up by itself: the person at Telegram waits for who is called."""
    asked, _ = play(machine.from_sip(), *UP, REFER, on.Placed("t"))
    state, done = play(asked, on.NotPlaced(CALLER_LEG, Refusal("pbx-unreachable")))
    assert kinds(done) == [] and state.phase is Phase.UP and state.transfer is not None
    state, done = play(state, on.SipAnswered("t"))
    assert "ConnectSip" in kinds(done) and state.talking == "t"


def test_hosts_that_die_during_a_transfer() -> None:
    asked, _ = play(machine.from_sip(), *UP, REFER, on.Placed("t"))
    state, done = play(asked, on.Expired("transfer"), on.HostDied("sip", "t"))
    assert kinds(done)[-1] == "SpeakForSip" and state.phase is Phase.UP, "a leg that nobody wanted any more"
    state, done = play(asked, on.HostDied("sip", "t"))
    assert kinds(done) == ["SpeakForSip", "NotifyTransfer"] and state.phase is Phase.UP
    state, done = play(asked, on.HostDied("sip", CALLER_LEG), on.SipAnswered("t"))
    assert kinds(done) == ["SpeakForSip", "ConnectSip"] and state.phase is Phase.UP
    state, done = play(asked, on.SipEnded(CALLER_LEG, 200), on.HostDied("sip", "t"))
    assert state.ended_by == "gateway" and state.refusal is not None and state.refusal.row.id == "media-failed"
    state, done = play(asked, on.SipAnswered("t"), on.SipEnded("t", 200))
    assert kinds(done) == ["DetachSip", "ConnectSip", "NotifyTransfer"], "it has the sound again"


def test_the_death_of_a_losers_host_ends_no_call() -> None:
    state, _ = play(machine.from_telegram(), on.Routed((TARGETS[:2],)), on.SipAnswered("x"))
    _, done = play(state, on.TelegramReady(), on.MediaConnected(), on.HostDied("sip", "y"))
    assert do.SpeakForSip in {type(effect) for effect in done}
    assert not {"EndSip", "DiscardTelegram"} & set(kinds(done[-2:]))


def test_what_no_host_could_dial_is_not_the_pbxs_answer() -> None:
    full = Refusal("worker-full")
    state, done = play(machine.from_telegram(), on.Routed((TARGETS[:2],)), on.NotPlaced("x", full))
    assert kinds(done) == ["DialSip", "DialSip"]
    state, done = play(state, on.SipEnded("y", 0))
    assert (state.ended_by, state.refusal) == ("gateway", full) and do.TellCaller(full) in done
    state, _ = play(machine.from_telegram(), on.Routed((TARGETS[:2],)), on.NotPlaced("x", full), on.SipEnded("y", 486))
    assert (state.ended_by, state.last_status) == ("pbx", 486)


def test_a_host_that_does_not_end_a_leg_is_spoken_for() -> None:
    up, _ = play(machine.from_sip(), on.Begun(), on.TelegramReady(), on.MediaConnected(), on.TelegramEnded("hangup"))
    state, done = play(up, on.MediaClosed(), on.Expired("ending"))
    assert kinds(done) == ["SpeakForSip", "Finish"] and state.phase is Phase.ENDED


def test_a_dead_host_is_not_the_pbxs_answer() -> None:
    state, _ = play(machine.from_telegram(), on.Routed((TARGETS[:1],)), on.Placed("x"), on.SipRinging("x"))
    state, done = play(state, on.HostDied("sip", "x"))
    assert kinds(done) == ["SpeakForSip", "TellCaller", "DiscardTelegram"]
    assert state.ended_by == "gateway" and state.refusal is not None and state.refusal.row.id == "media-failed"


def test_an_invite_that_no_host_takes_is_our_failure() -> None:
    state, done = play(machine.from_sip(), on.Admitted(), on.Placed(CALLER_LEG), on.Expired("call"))
    assert kinds(done) == ["AwaitInvite", "EndSip"] and state.ended_by == "gateway"
    assert state.refusal is not None and state.refusal.row.id == "media-failed"


def test_sound_that_finds_no_host_is_our_failure_and_not_tried_twice() -> None:
    full = Refusal("worker-full")
    state, done = play(machine.from_sip(), on.Begun(), on.TelegramReady(), on.NoMedia(full))
    assert kinds(done)[-2:] == ["EndSip", "DiscardTelegram"] and (state.ended_by, state.refusal) == ("gateway", full)


def test_a_telegram_caller_reads_why_nobody_talks() -> None:
    answered, _ = play(machine.from_telegram(), on.Routed((TARGETS[:1],)), on.Placed("x"), on.SipAnswered("x"))
    for event in (on.TelegramLost(REFUSAL), on.NoMedia(REFUSAL), on.MediaFailed("x"), on.HostDied("sip", "x")):
        state = answered if isinstance(event, on.TelegramLost | on.HostDied) else play(answered, on.TelegramReady())[0]
        assert "TellCaller" in kinds(play(state, event)[1])
    up, _ = play(answered, on.TelegramReady(), on.MediaConnected())
    assert "TellCaller" not in kinds(play(up, on.TelegramLost(REFUSAL))[1]), "they have talked"


def test_the_accounts_own_device_has_the_call() -> None:
    ringing, _ = play(machine.from_telegram(), on.Routed((TARGETS[:2],)), on.Placed("x"), on.SipRinging("x"))
    _, done = play(ringing, on.TelegramEnded("hangup"))
    ends = [effect for effect in done if isinstance(effect, do.EndSip)]
    assert len(ends) == 2 and all(end.elsewhere for end in ends)
    _, done = play(ringing, on.TelegramEnded("missed"))
    assert not any(isinstance(effect, do.EndSip) and effect.elsewhere for effect in done), "the caller has given up"


def test_a_pbx_that_says_nothing_is_given_up_and_one_that_has_spoken_is_not() -> None:
    state, done = play(machine.from_telegram(7.0), on.Routed((TARGETS[:2],)), on.Placed("x"), on.Placed("y"))
    assert do.StartTimer("answer x", 7.0) in done
    state, done = play(state, on.SipHeard("y"), on.Expired("answer y"))
    assert kinds(done) == []
    state, done = play(state, on.Expired("answer x"))
    assert kinds(done) == ["EndSip"] and state.phase is Phase.DIALLING
    state, done = play(state, on.SipEnded("x", 487), on.SipEnded("y", 408))
    assert (state.ended_by, state.last_status) == ("pbx", 408), "its own word"
    alone, _ = play(machine.from_telegram(), on.Routed((TARGETS[:1],)), on.Placed("x"))
    for silent in (on.Expired("answer x"), on.SipEnded("x", 408), on.SipEnded("x", 480)):
        state, done = play(alone, silent)
        assert state.refusal is not None and state.refusal.row.id == "pbx-unreachable"


def test_a_200_that_crosses_the_end_of_its_tier_wins_nothing() -> None:
    state, _ = play(machine.from_telegram(), on.Routed((TARGETS[:1], TARGETS[1:])), on.Placed("x"), on.SipRinging("x"))
    state, done = play(state, on.Expired("call"), on.SipAnswered("x"))
    assert kinds(done) == ["EndSip", "DialSip", "DialSip", "EndSip"] and not state.winner


def test_a_late_ready_of_the_first_try_opens_nothing() -> None:
    state, _ = play(machine.from_sip(), on.Begun(), on.TelegramReady(), on.MediaFailed("x"))
    again, done = play(state, on.TelegramReady(), on.TelegramRinging())
    assert done == [] and again == state
    state, done = play(state, on.Expired("call"))
    assert state.refusal is not None and state.refusal.row.id == "telegram-error", "the first try never ended"


def test_a_plan_ends_the_call() -> None:
    state, done = play(machine.from_sip(), on.Admitted(7), on.Begun(), on.TelegramReady(), on.MediaConnected())
    assert do.StartTimer("plan", 7) in done
    state, done = play(state, on.Expired("plan"))
    assert do.DiscardTelegram("hangup") in done
    assert state.refusal is not None and state.refusal.row.id == "subscription-limit"


class Rim:
    """Keeps books over what the effects have opened and closed, as the real rim would."""

    def __init__(self, state: State) -> None:
        self.timers: set[str] = set()
        self.legs = {leg.name for leg in state.legs}
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
                    self.timers.clear()


@settings(max_examples=600, deadline=None)
@given(st.booleans(), st.lists(EVENTS, max_size=30))
def test_any_order_of_events_ends_with_everything_released(sip: bool, events: list[on.Event]) -> None:
    state = machine.from_sip() if sip else machine.from_telegram()
    rim = Rim(state)
    ended_by_peer = {event.leg for event in events if isinstance(event, on.SipEnded | on.NotPlaced)}
    state, effects = step(state, on.Admitted() if sip else on.Taken())
    rim.carry_out(effects)
    for event in events:
        rim.note(event)
        state, effects = step(state, event)
        rim.carry_out(effects)
    # From here on nothing answers: the timers that the machine itself asked for must end the call,
    # and a call that is up ends when somebody hangs up.
    for _ in range(20):
        if state.phase is Phase.ENDED:
            break
        if state.phase is Phase.UP:
            event = on.HangUp(REFUSAL)
        else:
            event = on.Expired("ending" if state.phase is Phase.ENDING else "call")
            assert event.timer in rim.timers, f"stuck in {state.phase}"
        rim.note(event)
        state, effects = step(state, event)
        rim.carry_out(effects)
    assert state.phase is Phase.ENDED
    assert rim.finished == 1
    assert not rim.timers
    assert rim.legs <= rim.told_to_end | ended_by_peer
    assert not state.legs and state.telegram is state.media is Side.CLOSED
