"""Telegram users for tests and the demo: kurigram clients and one ntgcalls instance in a process of its own.

Their key exchange is ntgcalls' own, so a gateway's is checked by an implementation that is not it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import time
from base64 import urlsafe_b64decode
from pathlib import Path
from typing import Any

import ntgcalls as ntg
from pyrogram import Client, raw
from pyrogram.handlers import RawUpdateHandler
from teletrunk.inline_loop import InlineLoop
from teletrunk.native_engine import NativeEngine
from teletrunk.native_thread import keep_thread_state

from teletrunk_sandbox.actors import Message, emit
from teletrunk_sandbox.client import connect_factory, trust
from teletrunk_sandbox.control import SandboxControl
from teletrunk_sandbox.sound import Microphone, Recording, played

_VERSIONS = ["13.0.0", "12.0.0", "9.0.0", "8.0.0"]


class SubscriberCall:
    """One call of one subscriber."""

    def __init__(self, number: int, phone: str, play: Message | None, rate: int) -> None:
        self.number = number
        self.phone = phone
        self.peer: Any = None
        self.outgoing = False
        self.play = play
        self.played = 0
        self.play_started_at: float | None = None
        self.connected_at: float | None = None
        self.recording = Recording(rate)
        self.queue: asyncio.Queue[Any] = asyncio.Queue()
        self.over = False


class Subscribers:
    """All users of this process."""

    def __init__(self, dc: tuple[str, int], control_port: int, rate: int = 48_000) -> None:
        self._dc = dc
        self._rate = rate
        self._control_port = control_port
        self._loop = asyncio.get_running_loop()
        self._native = NativeEngine(ntg)
        self._engine = self._native.engine
        self._clients: dict[str, Client] = {}
        self._behaviour: dict[str, Message] = {}
        self._calls: dict[int, SubscriberCall] = {}
        self._by_telegram_id: dict[tuple[str, int], SubscriberCall] = {}
        self._early: dict[tuple[str, int], list[Any]] = {}
        self._messages: dict[str, list[Message]] = {}
        self._last: dict[str, SubscriberCall] = {}
        self._numbers = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._engine.on_signaling_data(self._on_signalling)
        self._engine.on_connection_change(self._on_connection)
        self._engine.on_frames(self._on_frames)
        threading.Thread(target=self._push, daemon=True).start()

    def spawn(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Commands.

    async def user(self, phone: str, first_name: str = "User", username: str | None = None, password: str | None = None,
                   **_: Any) -> Message:  # fmt: skip
        """Signs a user in, making the account first."""
        async with SandboxControl(self._control_port) as control:
            user_id = await control.add_user(phone, first_name, "", username, password)
            client = Client(
                phone,
                api_id=1,
                api_hash="0" * 32,
                in_memory=True,
                connection_factory=connect_factory(*self._dc),
                workers=1,
                sleep_threshold=0,
            )
            await client.connect()
            sent = await client.send_phone_number_code(phone)
            await client.sign_in(phone, sent.phone_code_hash, str(await control.code(phone)))

        async def on_update(_: Client, update: Any, users: Any, chats: Any) -> None:
            await self._on_update(phone, update)

        client.add_handler(RawUpdateHandler(on_update))
        await client.initialize()
        await client.invoke(raw.functions.updates.GetState())
        self._clients[phone] = client
        return {"user_id": user_id}

    async def scan(self, phone: str, url: str, **_: Any) -> Message:
        """Lets the device behind a QR code sign in as this user."""
        token = url.partition("=")[2]
        accept = raw.functions.auth.AcceptLoginToken(token=urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        await self._clients[phone].invoke(accept)
        return {}

    async def behave(self, phone: str, **behaviour: Any) -> Message:
        self._behaviour[phone] = behaviour
        return {}

    async def call(self, phone: str, to: str, play: Message | None = None, **_: Any) -> Message:
        client = self._clients[phone]
        if to.startswith("@"):
            found = await client.invoke(raw.functions.contacts.ResolveUsername(username=to[1:]))
        else:
            found = await client.invoke(raw.functions.contacts.ResolvePhone(phone=to.lstrip("+")))
        callee = found.users[0]
        call = self._new(phone, play)
        call.outgoing = True
        g_a_hash = await self._prepare(call, None)
        answer = await client.invoke(
            raw.functions.phone.RequestCall(
                user_id=raw.types.InputUser(user_id=callee.id, access_hash=callee.access_hash),
                random_id=int.from_bytes(os.urandom(4), "big") >> 1,
                g_a_hash=g_a_hash,
                protocol=_protocol(_VERSIONS),
            ),
            retries=1,
        )
        self._bind(call, answer.phone_call)
        return {"call": call.number}

    def numbered(self, number: int) -> SubscriberCall:
        return self._calls[number]

    async def hangup(self, phone: str, **_: Any) -> Message:
        call = self._last[phone]
        await self._discard(call, raw.types.PhoneCallDiscardReasonHangup() if call.connected_at else
                            raw.types.PhoneCallDiscardReasonMissed())  # fmt: skip
        return {}

    async def messages(self, phone: str, **_: Any) -> Message:
        return {"messages": self._messages.get(phone, [])}

    async def heard(
        self, phone: str, skip_s: float = 0.5, last_s: float | None = None, save: str | None = None, **_: Any
    ) -> Message:
        call = self._last[phone]
        if save:
            call.recording.save(Path(save))
        report = await asyncio.to_thread(call.recording.report, skip_s, last_s)
        return {**report, "play_started_at": call.play_started_at}

    # Signalling.

    def _new(self, phone: str, play: Message | None) -> SubscriberCall:
        self._numbers += 1
        call = self._calls[self._numbers] = self._last[phone] = SubscriberCall(self._numbers, phone, play, self._rate)
        return call

    def _bind(self, call: SubscriberCall, phone_call: Any) -> None:
        call.peer = raw.types.InputPhoneCall(id=phone_call.id, access_hash=phone_call.access_hash)
        key = (call.phone, phone_call.id)
        self._by_telegram_id[key] = call
        for update in self._early.pop(key, []):
            call.queue.put_nowait(update)
        self.spawn(self._own(call))

    async def _prepare(self, call: SubscriberCall, g_a_hash: bytes | None) -> bytes:
        client = self._clients[call.phone]
        config = await client.invoke(raw.functions.messages.GetDhConfig(version=0, random_length=256))
        sound = ntg.MediaDescription(
            ntg.AudioDescription(ntg.MediaSource.EXTERNAL, self._rate, 1, "", False), None, None, None
        )
        await self._native.do(self._engine.create_p2p_call, call.number)
        await self._native.do(self._engine.set_stream_sources, call.number, ntg.StreamMode.CAPTURE, sound)
        await self._native.do(self._engine.set_stream_sources, call.number, ntg.StreamMode.PLAYBACK, sound)
        parameters = ntg.DhConfig(config.g, config.p, config.random)
        return bytes(await self._native.do(self._engine.init_exchange, call.number, parameters, g_a_hash))

    async def _on_update(self, phone: str, update: Any) -> None:
        written = isinstance(update, raw.types.UpdateNewMessage) and isinstance(update.message, raw.types.Message)
        if written and not update.message.out:
            sender = getattr(update.message.from_id or update.message.peer_id, "user_id", 0)
            message = {"from_user_id": sender, "text": update.message.message, "at": time.time()}
            self._messages.setdefault(phone, []).append(message)
            emit("message", phone=phone, from_user_id=sender, text=update.message.message)
        if isinstance(update, raw.types.UpdatePhoneCallSignalingData):
            self._pass_on(phone, update.phone_call_id, update)
        elif isinstance(update, raw.types.UpdatePhoneCall):
            if isinstance(update.phone_call, raw.types.PhoneCallRequested):
                self.spawn(self._incoming(phone, update.phone_call))
            else:
                self._pass_on(phone, update.phone_call.id, update.phone_call)

    def _pass_on(self, phone: str, telegram_id: int, update: Any) -> None:
        if call := self._by_telegram_id.get((phone, telegram_id)):
            call.queue.put_nowait(update)
        else:
            self._early.setdefault((phone, telegram_id), []).append(update)

    async def _incoming(self, phone: str, requested: Any) -> None:
        behaviour = self._behaviour.get(phone, {"on_call": "ring"})
        if behaviour["on_call"] == "ignore":
            return
        call = self._new(phone, behaviour.get("play"))
        self._bind(call, requested)
        client = self._clients[phone]
        await client.invoke(raw.functions.phone.ReceivedCall(peer=call.peer), retries=1)
        emit("incoming", phone=phone, call=call.number, from_user_id=requested.admin_id)
        await asyncio.sleep(behaviour.get("delay_s", 0))
        if call.over:
            return
        if behaviour["on_call"] == "decline":
            await self._discard(call, raw.types.PhoneCallDiscardReasonBusy())
        elif behaviour["on_call"] == "answer":
            g_b = await self._prepare(call, requested.g_a_hash)
            versions = [v for v in requested.protocol.library_versions if v in _VERSIONS]
            await client.invoke(
                raw.functions.phone.AcceptCall(peer=call.peer, g_b=g_b, protocol=_protocol(versions)), retries=1
            )

    async def _own(self, call: SubscriberCall) -> None:
        """Handles what Telegram says of one call, in order."""
        client = self._clients[call.phone]
        while not call.over:
            item = await call.queue.get()
            match item:
                case bytes():
                    with contextlib.suppress(Exception):
                        await client.invoke(raw.functions.phone.SendSignalingData(peer=call.peer, data=item), retries=1)
                case raw.types.UpdatePhoneCallSignalingData():
                    with contextlib.suppress(Exception):
                        await self._native.signal(call.number, item.data)
                case raw.types.PhoneCallWaiting() if item.receive_date:
                    emit("ringing", phone=call.phone, call=call.number)
                case raw.types.PhoneCallAccepted():
                    keys = await self._native.do(self._engine.exchange_keys, call.number, item.g_b, 0)
                    answer = await client.invoke(
                        raw.functions.phone.ConfirmCall(
                            peer=call.peer,
                            g_a=bytes(keys.g_a_or_b),
                            key_fingerprint=keys.key_fingerprint,
                            protocol=_protocol(_VERSIONS),
                        ),
                        retries=1,
                    )
                    await self._connect(call, answer.phone_call)
                case raw.types.PhoneCall() if not call.outgoing:
                    await self._native.do(self._engine.exchange_keys, call.number, item.g_a_or_b, item.key_fingerprint)
                    await self._connect(call, item)
                case raw.types.PhoneCallDiscarded():
                    await self._ended(call, type(item.reason).__name__.removeprefix("PhoneCallDiscardReason").lower(),
                                      "peer")  # fmt: skip

    async def _connect(self, call: SubscriberCall, phone_call: Any) -> None:
        servers = [
            ntg.RTCServer(c.id, c.ip, c.ipv6, c.port, None, None, False, False, bool(c.tcp), c.peer_tag)
            for c in phone_call.connections
        ]
        await self._native.do(
            self._engine.connect_p2p,
            call.number,
            servers,
            phone_call.protocol.library_versions[:1],
            bool(phone_call.p2p_allowed),
            phone_call.custom_parameters.data if phone_call.custom_parameters else None,
        )

    async def _discard(self, call: SubscriberCall, reason: Any) -> None:
        client = self._clients[call.phone]
        duration = int(time.time() - call.connected_at) if call.connected_at else 0
        with contextlib.suppress(Exception):
            await client.invoke(
                raw.functions.phone.DiscardCall(peer=call.peer, duration=duration, reason=reason, connection_id=0),
                retries=1,
            )
        await self._ended(call, type(reason).__name__.removeprefix("PhoneCallDiscardReason").lower(), "us")

    async def _ended(self, call: SubscriberCall, reason: str, by: str) -> None:
        if call.over:
            return
        call.over = True
        emit("ended", phone=call.phone, call=call.number, reason=reason, by=by)
        with contextlib.suppress(TimeoutError):
            await self._native.stop(call.number)

    # Sound.

    def _on_signalling(self, number: int, data: bytes) -> None:
        if call := self._calls.get(number):
            self._loop.call_soon_threadsafe(call.queue.put_nowait, bytes(data))

    def _on_connection(self, number: int, info: Any) -> None:
        if info.state in self._native.over:
            self._native.gives_up(number)
        call = self._calls.get(number)
        if call and info.state == ntg.ConnectionState.CONNECTED and call.connected_at is None:
            call.connected_at = time.time()
            self._loop.call_soon_threadsafe(lambda: emit("connected", phone=call.phone, call=number))

    def _on_frames(self, number: int, mode: Any, device: Any, frames: list[Any]) -> None:
        keep_thread_state()
        call = self._calls.get(number)
        if call and mode == ntg.StreamMode.PLAYBACK:
            for frame in frames:
                call.recording.add(frame.data, time.time())

    def _push(self) -> None:
        """10 ms of each connected call's sound each 10 ms."""
        asyncio.set_event_loop(InlineLoop())  # type: ignore[abstract]  # it asks for no more
        microphone = Microphone(0.01, time.monotonic())
        while True:
            for call in list(self._calls.values()):
                if call.connected_at and not call.over:
                    with contextlib.suppress(Exception):
                        self._native.send_frame(call.number, self._next_frame(call))
            time.sleep(microphone.left(time.monotonic()))

    def _next_frame(self, call: SubscriberCall) -> bytes:
        play, frame = call.play, self._rate // 100
        # Half a second of silence first: the other side's recording must show when the sound began.
        if play is None or time.time() - (call.connected_at or 0) < play.get("after_s", 0.5):
            return bytes(frame * 2)
        call.play_started_at = call.play_started_at or time.time()
        pcm = played(play, call.played, frame, self._rate)
        call.played += frame
        return pcm

    async def stop(self) -> None:
        for call in self._calls.values():
            call.over = True
            with contextlib.suppress(TimeoutError):
                await self._native.stop(call.number)
        await asyncio.sleep(0.2)  # native threads leave their callbacks


def _protocol(versions: list[str]) -> Any:
    return raw.types.PhoneCallProtocol(
        udp_p2p=True, udp_reflector=True, min_layer=65, max_layer=92, library_versions=versions
    )


async def run(dc: str, rsa_key: str, control_port: int, rate: int) -> None:
    """Takes commands from standard input until `quit` or its end."""
    import json

    trust(rsa_key)
    sys.setswitchinterval(0.0005)  # nor does any call's sound wait 5 ms for another's thread
    host, _, port = dc.rpartition(":")
    subscribers = Subscribers((host, int(port)), control_port, rate)
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    async def obey(message: Message) -> None:
        number, command = message.pop("id"), message.pop("command")
        try:
            emit("done", id=number, **await getattr(subscribers, command)(**message))
        except Exception as error:
            emit("failed", id=number, error=f"{type(error).__name__}: {error}")

    while line := await reader.readline():
        message = json.loads(line)
        if message["command"] == "quit":
            await subscribers.stop()
            emit("done", id=message["id"])
            break
        subscribers.spawn(obey(message))
    sys.stdout.flush()
    os._exit(0)
