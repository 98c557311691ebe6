"""All that can happen to a call, for tests that let it happen in any order."""

from __future__ import annotations

from hypothesis import strategies as st
from teletrunk.errors import Refusal
from teletrunk_worker.call import events as on
from teletrunk_worker.call.machine import CALLER_LEG

TARGETS = tuple(on.Target(leg, "trunk", f"sip:{leg}@x") for leg in ("x", "y", "z"))
REFUSAL = Refusal("telegram-error", "x")
TRANSFER_TARGET = on.Target("t", "trunk", "sip:t@x")
LEGS = st.sampled_from([CALLER_LEG, "x", "y", "z", "t"])
STATUSES = st.sampled_from([0, 200, 408, 480, 486, 487, 603])
REASONS = st.sampled_from(["missed", "busy", "hangup", "disconnect"])


def said_by_leg(leg: st.SearchStrategy[str]) -> st.SearchStrategy[on.Event]:
    return st.one_of(
        st.builds(on.Placed, leg),
        st.builds(on.SipHeard, leg),
        st.builds(on.SipRinging, leg),
        st.builds(on.SipAnswered, leg),
        st.builds(on.SipEnded, leg, STATUSES),
        st.builds(on.NotPlaced, leg, st.just(REFUSAL)),
        st.builds(on.SipDetached, leg),
        st.builds(on.TransferAsked, leg, st.just(TRANSFER_TARGET)),
        st.builds(on.HostDied, st.just("sip"), leg),
    )


SAID_BY_TELEGRAM: st.SearchStrategy[on.Event] = st.one_of(
    st.just(on.NotStarted(REFUSAL)),
    st.just(on.TelegramRinging()),
    st.just(on.TelegramReady()),
    st.builds(on.TelegramEnded, REASONS),
    st.just(on.TelegramLost(REFUSAL)),
    st.just(on.SignalForMedia(b"s")),
)
SAID_BY_MEDIA: st.SearchStrategy[on.Event] = st.one_of(
    st.just(on.NoMedia(REFUSAL)),
    st.just(on.MediaConnected()),
    st.just(on.MediaFailed("x")),
    st.just(on.MediaClosed()),
    st.just(on.HostDied("telegram")),
    st.just(on.SignalForTelegram(b"s")),
)
EVENTS = st.one_of(
    st.just(on.Admitted()),
    st.just(on.Begun()),
    st.just(on.Taken()),
    st.just(on.Routed((TARGETS[:2], TARGETS[2:]))),
    st.just(on.Routed((), 5)),
    st.just(on.Rebound((TARGETS[:2], TARGETS[2:]))),
    st.just(on.Rebound(((), ()))),
    st.just(on.Withdrawn("trunk")),
    st.just(on.Refused(REFUSAL)),
    said_by_leg(LEGS),
    SAID_BY_TELEGRAM,
    SAID_BY_MEDIA,
    st.builds(on.Expired, st.sampled_from(["call", "ending", "plan", "answer x", "answer z", "transfer"])),
    st.just(on.HangUp(REFUSAL)),
)
