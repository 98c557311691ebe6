"""A Telegram host: a process that runs one ntgcalls instance for about twenty calls.

Three kinds of thread meet here. The asyncio loop takes commands and sets calls up. ntgcalls' audio thread
delivers 10 ms of sound a call, a hundred times a second, and only appends it to a ring. The pusher takes what comes
in each call's other ring and hands it to ntgcalls. No sound goes through the loop.

Commands (control to host)             Events (host to control)
  open {call, key, servers, ...} + rings   ready {capacity}
  signalling {call, data}                  signalling {call, data}
  close {call}                             connected {call}
  ping                                     pong
                                           failed {call, why}
                                           closed {call, stats}
"""

from __future__ import annotations

import teletrunk_worker.legs.plain_asyncio  # noqa: F401

# isort: split
import asyncio
import base64
import contextlib
import gc
import logging
import os
import sys
import threading
import time
from typing import Any

import ntgcalls as ntg
from teletrunk.background import BackgroundTasks
from teletrunk.inline_loop import InlineLoop
from teletrunk.native_engine import NativeEngine
from teletrunk.native_thread import keep_thread_state

from teletrunk_worker.legs import jail
from teletrunk_worker.legs.forwarder import Forwarder
from teletrunk_worker.legs.priority import before_others
from teletrunk_worker.legs.ring import SAMPLE_BYTES, SIP_FRAME_MS, TELEGRAM_FRAME_MS, RingPair
from teletrunk_worker.legs.wire import Message, PeerGone, Wire

_LEAST_SLEEP_S = 0.006  # writers have clocks of their own: one waking serves all whose burst came meanwhile,
_TOGETHER_S = 0.002  # or is about to
_MOST_SLEEP_S = 0.02  # a call that has just connected waits for no more than that
_MOST_AT_ONCE = 50  # blocks, a second: a SIP host that was taken over would have no end of them
_RATES = (8000, 16000)  # others abort the process (11025), or are of no use here
CAPACITY = 20


class MediaCall:
    """One call's sound: the rings and the counters."""

    def __init__(self, number: int, rings: RingPair, rate: int) -> None:
        self.number = number
        self.rings = rings
        self.frame_bytes = rate * TELEGRAM_FRAME_MS // 1000 * SAMPLE_BYTES
        self.forwarder = Forwarder(rings.to_telegram, rate, rate * SIP_FRAME_MS // 1000)
        self.connected = False
        self.due = 0.0  # when to look for sound to send, by the monotonic clock
        self.opened_at = time.monotonic()
        self.connect_ms = 0.0

    def stats(self) -> Message:
        return {"late_to_telegram": self.forwarder.late, "media_connect_ms": round(self.connect_ms, 1)}


class Pusher(threading.Thread):
    """Sends the sound of every connected call, in frames of 10 ms. Sleeps while there is no call."""

    def __init__(self, native: NativeEngine) -> None:
        super().__init__(name="pusher", daemon=True)
        self._native = native
        self._calls: tuple[MediaCall, ...] = ()  # replaced whole, never changed: the loop writes, this thread reads
        self._some = threading.Event()

    def add(self, call: MediaCall) -> None:
        self._calls = (*self._calls, call)
        self._some.set()

    def remove(self, call: MediaCall) -> None:
        self._calls = tuple(other for other in self._calls if other is not call)
        if not self._calls:
            self._some.clear()

    def run(self) -> None:
        asyncio.set_event_loop(InlineLoop())  # type: ignore[abstract]  # it asks for no more
        while True:
            self._some.wait()
            now = time.monotonic()
            due = now + _MOST_SLEEP_S
            for call in self._calls:
                if call.connected:
                    if call.due <= now + _TOGETHER_S:
                        with contextlib.suppress(Exception):  # it ended between two frames
                            self._send(call, now)
                        call.due = call.forwarder.due(now)
                    due = min(due, call.due)
            time.sleep(max(_LEAST_SLEEP_S, due - time.monotonic()))

    def _send(self, call: MediaCall, now: float) -> None:
        for _ in range(_MOST_AT_ONCE):
            block = call.forwarder.next_block(now)
            if block is None:
                break
            for start in range(0, len(block), call.frame_bytes):
                self._native.send_frame(call.number, block[start : start + call.frame_bytes])


class TelegramHost:
    """ntgcalls and its calls, and the wire to control."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._loop = asyncio.get_running_loop()
        self._gone = asyncio.Event()
        self._native = NativeEngine(ntg)
        self._engine = self._native.engine
        self._pusher = Pusher(self._native)
        self._numbers: dict[str, int] = {}
        self._calls: dict[int, MediaCall] = {}
        self._names: dict[int, str] = {}
        self._next_number = 1
        self._owners = BackgroundTasks()
        self._queues: dict[str, asyncio.Queue[Message]] = {}
        self._rings: dict[str, int] = {}
        self._engine.on_signaling_data(self._on_signalling)
        self._engine.on_connection_change(self._on_connection)
        self._engine.on_frames(self._on_frames)

    async def run(self) -> None:
        self._pusher.start()
        self._loop.add_reader(self._wire.socket.fileno(), self._on_readable)
        self._tell({"event": "ready", "capacity": CAPACITY})
        await self._gone.wait()
        await asyncio.gather(*map(self._native.stop, self._calls), return_exceptions=True)
        await asyncio.sleep(0.2)  # let native threads leave their callbacks

    def _tell(self, event: Message) -> None:
        try:
            self._wire.send(event)
        except PeerGone:
            self._gone.set()

    def _on_readable(self) -> None:
        try:
            while received := self._wire.receive():
                self._dispatch(*received)
        except PeerGone:
            self._loop.remove_reader(self._wire.socket.fileno())
            self._gone.set()

    def _dispatch(self, message: Message, descriptor: int | None) -> None:
        """Each call has a task of its own that takes its commands in order."""
        if message["command"] == "ping":
            self._tell({"event": "pong"})
            return
        name = message["call"]
        if message["command"] == "open" and descriptor is not None:
            self._rings[name] = descriptor
            self._queues[name] = asyncio.Queue()
            self._owners.run(self._own(name))
        if queue := self._queues.get(name):
            queue.put_nowait(message)

    async def _own(self, name: str) -> None:
        queue = self._queues[name]
        try:
            while True:
                message = await queue.get()
                if message["command"] == "open":
                    await self._open(name, message)
                elif message["command"] == "signalling":
                    await self._native.signal(self._numbers[name], _unpack(message["data"]))
                elif message["command"] == "close":
                    break
        except Exception as error:  # every native error class, and a deadline
            self._tell({"event": "failed", "call": name, "why": f"{type(error).__name__}: {error}"})
        finally:
            await self._close(name)

    async def _open(self, name: str, message: Message) -> None:
        rate = message["rate"]
        if rate not in _RATES:
            raise ValueError(f"rate {rate} is not one of {_RATES}")
        number, self._next_number = self._next_number, self._next_number + 1
        self._numbers[name], self._names[number] = number, name
        rings = RingPair(self._rings.pop(name))
        rings.close()  # the mapping stays
        call = self._calls[number] = MediaCall(number, rings, rate)
        sound = ntg.AudioDescription(ntg.MediaSource.EXTERNAL, rate, 1, "", False)
        media = ntg.MediaDescription(sound, None, None, None)
        await self._native.do(self._engine.create_p2p_call, number)
        await self._native.do(self._engine.set_stream_sources, number, ntg.StreamMode.CAPTURE, media)
        # The remote's microphone comes out of the microphone slot of the playback side.
        await self._native.do(self._engine.set_stream_sources, number, ntg.StreamMode.PLAYBACK, media)
        await self._native.do(self._engine.skip_exchange, number, _unpack(message["key"]), message["outgoing"])
        self._pusher.add(call)
        await self._native.do(
            self._engine.connect_p2p,
            number,
            [_server(fields) for fields in message["servers"]],
            message["versions"],
            message["p2p"],
            message["parameters"] or None,
        )

    async def _close(self, name: str) -> None:
        self._queues.pop(name, None)
        number = self._numbers.pop(name, None)
        call = self._calls.get(number) if number is not None else None
        try:
            if call is not None:
                self._pusher.remove(call)
                await self._native.stop(call.number)
        finally:
            if call is not None:
                self._calls.pop(call.number, None)
                self._names.pop(call.number, None)
            self._tell({"event": "closed", "call": name, "stats": call.stats() if call is not None else {}})

    def _on_frames(self, number: int, mode: Any, device: Any, frames: list[Any]) -> None:
        keep_thread_state()
        call = self._calls.get(number)
        if call is not None and mode == ntg.StreamMode.PLAYBACK:
            now = time.monotonic()
            for frame in frames:
                call.rings.to_sip.write(frame.data, now)

    def _on_signalling(self, number: int, data: bytes) -> None:
        self._loop.call_soon_threadsafe(self._report, number, {"event": "signalling", "data": _pack(data)})

    def _on_connection(self, number: int, info: Any) -> None:
        if info.state in self._native.over:
            self._native.gives_up(number)
        self._loop.call_soon_threadsafe(self._report_connection, number, info.state)

    def _report(self, number: int, event: Message) -> None:
        if name := self._names.get(number):
            self._tell({**event, "call": name})

    def _report_connection(self, number: int, state: Any) -> None:
        call = self._calls.get(number)
        if call is None:
            return
        if state == ntg.ConnectionState.CONNECTED:
            if not call.connected:
                call.connected = True
                call.connect_ms = (time.monotonic() - call.opened_at) * 1000
                self._report(number, {"event": "connected", "connect_ms": round(call.connect_ms, 1)})
        elif state in self._native.over:
            self._report(number, {"event": "failed", "why": f"media {state.name.lower()}"})


def _server(fields: Message) -> ntg.RTCServer:
    tag = fields.get("peer_tag")
    return ntg.RTCServer(
        fields["id"],
        fields["ipv4"],
        fields["ipv6"],
        fields["port"],
        fields.get("username") or None,
        fields.get("password") or None,
        fields["turn"],
        fields["stun"],
        fields["tcp"],
        _unpack(tag) if tag else None,
    )


def _pack(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unpack(text: str) -> bytes:
    return base64.b64decode(text)


def main() -> None:
    before_others()
    jail.enter(jail.TELEGRAM)
    sys.setswitchinterval(0.0005)
    for name in ("ntgcalls", "webrtc"):
        # Before the first instance, which would fix the level otherwise. Never DEBUG: that prints keys.
        logging.getLogger(name).setLevel(logging.CRITICAL)

    async def serve() -> None:
        host = TelegramHost(Wire.inherited(int(sys.argv[1])))
        gc.freeze()
        await host.run()

    asyncio.run(serve())
    sys.stdout.flush()
    os._exit(0)  # native threads may abort an orderly exit


if __name__ == "__main__":
    main()
