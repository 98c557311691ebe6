"""The phone.* methods of one-to-one calls: https://core.telegram.org/api/end-to-end/voice-calls."""

from __future__ import annotations

import os
from typing import Any

from pyrogram import raw
from pyrogram.crypto.prime import CURRENT_DH_PRIME
from pyrogram.raw.core import TLObject

from teletrunk_sandbox import privacy, tl
from teletrunk_sandbox.call import REASONS, Call, CallState, Relay, check_protocol
from teletrunk_sandbox.dispatch import Request, method
from teletrunk_sandbox.errors import bad_request, forbidden
from teletrunk_sandbox.handshake import GENERATOR
from teletrunk_sandbox.state import User

_DH_VERSION = 3
_RANDOM_LIMIT = 1024
_SIGNALING_LIMIT = 64 << 10


def _answer(request: Request, call: Call) -> raw.types.phone.PhoneCall:
    both = {call.admin.id, call.participant.id}
    return raw.types.phone.PhoneCall(
        phone_call=call.seen_by(request.user), users=request.dc.users_for(request.user, both)
    )


def _callable(request: Request, peer: TLObject[Any]) -> User:
    """The user to call, if he lets the caller."""
    user = request.dc.accounts.from_input(request.user, peer)
    if user is request.user:
        raise bad_request("USER_ID_INVALID")
    if user.deactivated:
        raise bad_request("INPUT_USER_DEACTIVATED")
    if request.user.id in user.blocked:
        raise forbidden("USER_IS_BLOCKED")
    if not privacy.allows(user, request.user, "phone_call"):
        raise forbidden("USER_PRIVACY_RESTRICTED")
    return user


@method(raw.functions.messages.GetDhConfig)
def get_dh_config(request: Request, query: raw.functions.messages.GetDhConfig) -> tl.Answer:
    """messages.getDhConfig: the group of the key exchange, and randomness for it."""
    if not 0 <= query.random_length <= _RANDOM_LIMIT:
        raise bad_request("RANDOM_LENGTH_INVALID")
    random = os.urandom(query.random_length)
    if query.version == _DH_VERSION:
        return raw.types.messages.DhConfigNotModified(random=random)
    prime = CURRENT_DH_PRIME.to_bytes(256, "big")
    return raw.types.messages.DhConfig(g=GENERATOR, p=prime, version=_DH_VERSION, random=random)


@method(raw.functions.phone.GetCallConfig)
def get_call_config(request: Request, query: raw.functions.phone.GetCallConfig) -> tl.Answer:
    """phone.getCallConfig: settings of the media library, all at their defaults."""
    return raw.types.DataJSON(data="{}")


@method(raw.functions.phone.RequestCall)
def request_call(request: Request, query: raw.functions.phone.RequestCall) -> tl.Answer:
    """phone.requestCall: ring a user's devices."""
    participant = _callable(request, query.user_id)
    protocol = _protocol(query.protocol)
    relay = Relay(request.dc.settings.public_address, request.dc.reflector.port)
    call = request.dc.calls.request(request.authorization, request.user, participant, query, protocol, relay)
    return _answer(request, call)


@method(raw.functions.phone.ReceivedCall)
def received_call(request: Request, query: raw.functions.phone.ReceivedCall) -> tl.Answer:
    """phone.receivedCall: this device rings."""
    request.dc.calls.receive(_named(request, query.peer), request.user)
    return True


@method(raw.functions.phone.AcceptCall)
def accept_call(request: Request, query: raw.functions.phone.AcceptCall) -> tl.Answer:
    """phone.acceptCall: this device answers."""
    call = _named(request, query.peer)
    protocol = _protocol(query.protocol)
    request.dc.calls.accept(call, request.user, request.authorization, query.g_b, protocol)
    return _answer(request, call)


@method(raw.functions.phone.ConfirmCall)
def confirm_call(request: Request, query: raw.functions.phone.ConfirmCall) -> tl.Answer:
    """phone.confirmCall: the caller's half of the key; the call is up."""
    call = _named(request, query.peer)
    request.dc.calls.confirm(call, request.user, query.g_a, query.key_fingerprint)
    return _answer(request, call)


@method(raw.functions.phone.SendSignalingData)
def send_signaling_data(request: Request, query: raw.functions.phone.SendSignalingData) -> tl.Answer:
    """phone.sendSignalingData: what the two media libraries say to each other."""
    if len(query.data) > _SIGNALING_LIMIT:
        raise bad_request("DATA_INVALID")
    request.dc.calls.signal(_named(request, query.peer), request.user, query.data)
    return True


@method(raw.functions.phone.DiscardCall)
def discard_call(request: Request, query: raw.functions.phone.DiscardCall) -> tl.Answer:
    """phone.discardCall: cancel, decline or hang up."""
    call = _named(request, query.peer)
    reason = next((name for name, kind in REASONS.items() if isinstance(query.reason, kind)), "hangup")
    request.dc.calls.hang_up(call, request.user, request.authorization, reason, query.duration)
    return _ended(request, call)


@method(raw.functions.phone.SetCallRating)
def set_call_rating(request: Request, query: raw.functions.phone.SetCallRating) -> tl.Answer:
    """phone.setCallRating: taken note of when the call is over."""
    return _ended(request, _over(request, query.peer))


@method(raw.functions.phone.SaveCallDebug)
def save_call_debug(request: Request, query: raw.functions.phone.SaveCallDebug) -> tl.Answer:
    """phone.saveCallDebug: taken note of when the call is over."""
    _over(request, query.peer)
    return True


def _named(request: Request, peer: TLObject[Any]) -> Call:
    if not isinstance(peer, raw.types.InputPhoneCall):
        raise bad_request("CALL_PEER_INVALID")
    return request.dc.calls.of(request.user, peer)


def _over(request: Request, peer: TLObject[Any]) -> Call:
    call = _named(request, peer)
    if call.state is not CallState.DISCARDED:
        raise bad_request("CALL_PEER_INVALID")
    return call


def _protocol(offered: TLObject[Any]) -> raw.types.PhoneCallProtocol:
    if not isinstance(offered, raw.types.PhoneCallProtocol):
        raise bad_request("CALL_PROTOCOL_FLAGS_INVALID")
    check_protocol(offered)
    return offered


def _ended(request: Request, call: Call) -> raw.types.Updates:
    update = raw.types.UpdatePhoneCall(phone_call=call.as_discarded())
    return request.dc.updates.compose(request.user, [update], {call.admin.id, call.participant.id})
