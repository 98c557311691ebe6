"""The people of `teletrunk up --sandbox`: a number for the gateway, and a friend who answers every call with a tone.

`teletrunk sandbox call` asks the friend to call the gateway's number, by a socket beside the local Telegram's key.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import Any

from teletrunk_sandbox.client import trust
from teletrunk_sandbox.control import SandboxControl, people_socket
from teletrunk_sandbox.subscriber import SubscriberCall, Subscribers

GATEWAY, FRIEND = "+15550100", "+15550199"
FRIEND_HZ = 620.0
_TALK_S = 30.0
_LOOK_S = 0.1


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
    socket = people_socket(rsa_key)
    await asyncio.start_unix_server(Friend(subscribers).obey, socket)
    await stop.wait()
    socket.unlink(missing_ok=True)
    await subscribers.stop()
    os._exit(0)  # ntgcalls does not survive the interpreter's own way out


class Friend:
    """Calls the gateway's number when asked, and tells whoever asked what happens, line by line."""

    def __init__(self, subscribers: Subscribers) -> None:
        self._subscribers = subscribers

    async def obey(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not await reader.readline():  # there is nothing to ask for yet but a call
            writer.close()  # somebody who only looks whether we are there
            return
        call: SubscriberCall | None = None
        try:
            call = await self._called(writer)
            await self._followed(call, writer)
        except ConnectionError:
            pass  # who asked has gone: the call goes too
        except Exception as error:  # Telegram's refusal is for the one who asked
            with contextlib.suppress(ConnectionError):
                await _tell(writer, f"failed: {error}")
        finally:
            if call is not None and not call.over:
                await self._subscribers.hangup(FRIEND)
            writer.close()

    async def _called(self, writer: asyncio.StreamWriter) -> SubscriberCall:
        answer: dict[str, Any] = await self._subscribers.call(FRIEND, GATEWAY, {"hz": FRIEND_HZ})
        await _tell(writer, f"@friend calls {GATEWAY}: the PBX or phone that is registered rings")
        return self._subscribers.numbered(answer["call"])

    async def _followed(self, call: SubscriberCall, writer: asyncio.StreamWriter) -> None:
        told = len((await self._subscribers.messages(FRIEND))["messages"])
        while not call.over and call.connected_at is None:
            await asyncio.sleep(_LOOK_S)
        if call.connected_at is not None:
            await _tell(writer, f"answered: @friend plays a tone for {_TALK_S:.0f} s, or until one of you hangs up")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TALK_S):
                    while not call.over:
                        await asyncio.sleep(_LOOK_S)
                        writer.write(b"\n")  # whoever asked may be gone
                        await writer.drain()
        for message in (await self._subscribers.messages(FRIEND))["messages"][told:]:
            await _tell(writer, f"written into the chat: {message['text']}")
        await _tell(writer, "ended" if call.connected_at else "ended without an answer")


async def _tell(writer: asyncio.StreamWriter, text: str) -> None:
    writer.write(f"{text}\n".encode())
    await writer.drain()
