"""Whatever a Telegram user is called, pjsua sends it out, and it arrives as it was meant."""

from __future__ import annotations

import pytest
from teletrunk.names import plain
from teletrunk.v1 import call_pb2
from teletrunk_worker.call.identity import Caller, headers_of
from teletrunk_worker.sip.message import Request, parse

from .sip_host_world import sip_host_world

ACCOUNT = "sip:gw@pbx.example"
NAMES = ("Ann <3", '"Ann" \\', "", "\u3164", "אבג", "a, <sip:x@y>;tag=1", "\0\r\nX-Evil: 1", "🙂" * 128, "ж" * 64)


@pytest.mark.parametrize("account", [None, ACCOUNT])
async def test_a_caller_of_any_name_is_dialled(account: str | None) -> None:
    async with sip_host_world() as world:
        for name in NAMES:
            peer = call_pb2.Peer(user_id=7, first_name=name, last_name=name, username="u" * 32, phone="4" * 15)
            caller = Caller.of("#" * 90 + "1" * 10, f"{name} {name}", ("2001:db8::1", 5060))
            text = await world.dial(caller.from_header(account), (*caller.asserted(), *headers_of(peer)))
            invite = parse(text.encode())
            assert isinstance(invite, Request)
            assert (invite.from_.display, invite.from_.uri.user) == (
                plain(f"{name} {name}"),
                "gw" if account else "#" * 90 + "1" * 10,
            )
            assert (invite.headers.get("X-TG-LastName") or "") == plain(name)
            assert invite.headers.get("X-Evil") is None
            await world.refused(text, ["486 Busy Here"])
