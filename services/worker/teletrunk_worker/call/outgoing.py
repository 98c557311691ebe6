"""The steps of a call from SIP to Telegram."""

from __future__ import annotations

from dataclasses import replace

from teletrunk.errors import Refusal

from teletrunk_worker.call import effects as do
from teletrunk_worker.call import events as on
from teletrunk_worker.call.ends import (
    closing,
    end,
    fail,
    host_died,
    media_lost,
    telegram_lost,
    telegram_over,
    without_closed,
)
from teletrunk_worker.call.state import (
    CALLER_LEG,
    INVITE_TIMEOUT_S,
    MEDIA_TIMEOUT_S,
    NO_SOUND,
    PLACE_TIMEOUT_S,
    RECEIVE_TIMEOUT_S,
    RING_TIMEOUT_S,
    Phase,
    Side,
    Stage,
    State,
    Step,
)


def admitted(state: State, event: on.Admitted) -> Step:
    return replace(state, longest_s=event.longest_s), [do.AwaitInvite(), do.StartTimer("call", PLACE_TIMEOUT_S)]


def place_found(state: State, event: on.Placed) -> Step:
    leg = state.leg(event.leg)
    if leg is None or leg.stage is not Stage.PLACING:
        return state, []
    return state.at(event.leg, Stage.CALLED), [do.StartTimer("call", INVITE_TIMEOUT_S)]


def not_begun(state: State, event: on.Expired) -> Step:
    return fail(state, Refusal("media-failed", "SIP host did not take the call"))


def begin(state: State, event: on.Begun) -> Step:
    if state.leg(CALLER_LEG) is None:
        return state, []
    return (
        replace(state.at(CALLER_LEG, Stage.HEARD), phase=Phase.DIALLING, telegram=Side.OPEN),
        [do.StartTelegram(), do.StartTimer("call", RECEIVE_TIMEOUT_S)],
    )


def telegram_rings(state: State, event: on.TelegramRinging) -> Step:
    if state.telegram is not Side.OPEN:
        return state, []
    return replace(state, phase=Phase.RINGING), [do.RingSip(), do.StartTimer("call", RING_TIMEOUT_S)]


def ready(state: State, event: on.TelegramReady) -> Step:
    if state.telegram is not Side.OPEN:
        return state, []
    return (
        replace(state, phase=Phase.MEDIA, media=Side.OPEN),
        [do.OpenMedia(event.terms), do.StartTimer("call", MEDIA_TIMEOUT_S)],
    )


def nobody(state: State, event: on.Expired) -> Step:
    if state.telegram is Side.CLOSING or state.media is Side.CLOSING:  # the first try is still in the way
        return fail(state, Refusal("telegram-error", NO_SOUND))
    return end(state, "gateway", reason="missed", status=480, phrase="No answer")


def media_failed_first(state: State, event: on.MediaFailed | on.MediaClosed | on.Expired) -> Step:
    """No sound: ntgcalls sometimes never connects, and a second try does. The caller still hears ringing."""
    if state.redialled:
        return media_lost(state, event)
    left = without_closed(state, event)
    close: list[do.Effect] = [do.CloseMedia()] if left.media is Side.OPEN else []
    again = replace(left, phase=Phase.DIALLING, redialled=True, telegram=Side.CLOSING, media=closing(left.media))
    return again, [do.DiscardTelegram("disconnect"), *close, do.StartTimer("call", RECEIVE_TIMEOUT_S)]


def redial_when_clear(state: State) -> Step:
    """The second try begins once the first is out of the way."""
    if state.telegram is not Side.CLOSED or state.media is not Side.CLOSED:
        return state, []
    return replace(state, telegram=Side.OPEN), [do.StartTelegram()]


def telegram_over_dialling(state: State, event: on.TelegramEnded) -> Step:
    if state.telegram is Side.CLOSING:
        return redial_when_clear(replace(state, telegram=Side.CLOSED))
    return telegram_over(state, event)


def telegram_lost_dialling(state: State, event: on.TelegramLost | on.NotStarted) -> Step:
    if state.telegram is Side.CLOSING:
        return redial_when_clear(replace(state, telegram=Side.CLOSED))
    return telegram_lost(state, event)


def media_closed_dialling(state: State, event: on.MediaClosed | on.NoMedia | on.HostDied) -> Step:
    if isinstance(event, on.HostDied) and event.kind == "sip":
        return host_died(state, event)
    if state.media is Side.CLOSED:
        return state, []
    return redial_when_clear(replace(state, media=Side.CLOSED))
