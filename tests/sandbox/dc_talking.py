"""The steps of a phone call, taken by hand."""

from __future__ import annotations

import os
from typing import Any

from pyrogram import raw

from tests.sandbox.dc_world import Person

functions, types = raw.functions, raw.types

VERSIONS = ["13.0.0", "12.0.0", "9.0.0", "8.0.0"]


def protocol(versions: list[str] | None = None, **changes: Any) -> raw.types.PhoneCallProtocol:
    fields: dict[str, Any] = {"udp_p2p": True, "udp_reflector": True, "min_layer": 65, "max_layer": 92}
    return types.PhoneCallProtocol(library_versions=versions or VERSIONS, **{**fields, **changes})


def peer(call: Any) -> raw.types.InputPhoneCall:
    return types.InputPhoneCall(id=call.id, access_hash=call.access_hash)


async def request(caller: Person, callee: Person, **changes: Any) -> Any:
    """phone.requestCall; gives the caller's phoneCallWaiting."""
    fields: dict[str, Any] = {
        "user_id": await caller.input_of(callee),
        "random_id": int.from_bytes(os.urandom(3), "big"),
        "g_a_hash": os.urandom(32),
        "protocol": protocol(),
    }
    return (await caller.ask_once(functions.phone.RequestCall(**{**fields, **changes}))).phone_call


async def ring(caller: Person, callee: Person, **changes: Any) -> Any:
    """A call that rings; gives the callee's phoneCallRequested."""
    await request(caller, callee, **changes)
    requested = await callee.call(types.PhoneCallRequested)
    await callee.ask(functions.phone.ReceivedCall(peer=peer(requested)))
    await caller.call(types.PhoneCallWaiting)
    return requested


async def accept(callee: Person, call: Any, **changes: Any) -> Any:
    fields: dict[str, Any] = {"peer": peer(call), "g_b": b"b" * 256, "protocol": protocol()}
    return (await callee.ask_once(functions.phone.AcceptCall(**{**fields, **changes}))).phone_call


async def confirm(caller: Person, call: Any) -> Any:
    query = functions.phone.ConfirmCall(peer=peer(call), g_a=b"a" * 256, key_fingerprint=1234567, protocol=protocol())
    return (await caller.ask_once(query)).phone_call


async def establish(caller: Person, callee: Person) -> Any:
    """A call that is up; gives the callee's phoneCall."""
    requested = await ring(caller, callee)
    await accept(callee, requested)
    await confirm(caller, await caller.call(types.PhoneCallAccepted))
    return await callee.call(types.PhoneCall)


async def discard(side: Person, call: Any, reason: Any = None, duration: int = 0) -> Any:
    query = functions.phone.DiscardCall(
        peer=peer(call),
        duration=duration,
        reason=reason or types.PhoneCallDiscardReasonHangup(),
        connection_id=0,
    )
    return await side.ask(query)
