"""The people of `teletrunk up --sandbox`: a number for the gateway, and a friend who answers every call with a tone."""

from __future__ import annotations

import asyncio
import os
import signal

from teletrunk_sandbox.client import trust
from teletrunk_sandbox.control import SandboxControl
from teletrunk_sandbox.subscriber import Subscribers

GATEWAY, FRIEND = "+15550100", "+15550199"
FRIEND_HZ = 620.0


async def run(dc: str, rsa_key: str, control_port: int) -> None:
    """Until SIGTERM or SIGINT."""
    trust(rsa_key)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    host, _, port = dc.rpartition(":")
    async with SandboxControl(control_port) as control:
        await control.add_user(GATEWAY, "Gateway", "", "gateway", None)
    subscribers = Subscribers((host, int(port)), control_port)
    await subscribers.user(phone=FRIEND, first_name="Friend", username="friend")
    await subscribers.behave(phone=FRIEND, on_call="answer", play={"hz": FRIEND_HZ})
    await stop.wait()
    await subscribers.stop()
    os._exit(0)  # ntgcalls does not survive the interpreter's own way out
