"""A whole call with sound, in a process of its own: `dc_tone_call CONTROL_PORT HOST PORT RSA_KEY`.

Two accounts on unmodified kurigram clients, two ntgcalls engines, the sandbox's reflector between
them; each side sends a tone. Prints as JSON the frequency and level that each side has heard.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import ntgcalls
import numpy as np
from ntgcalls import (
    AudioDescription,
    ConnectionState,
    DhConfig,
    FrameData,
    MediaDescription,
    MediaSource,
    RTCServer,
    StreamDevice,
    StreamMode,
    VideoRotation,
)
from pyrogram import raw
from teletrunk.native_engine import NativeEngine
from teletrunk_sandbox.client import trust
from teletrunk_sandbox.control import SandboxControl

from tests.sandbox.dc_talking import peer
from tests.sandbox.dc_world import Dc, Person, new_client, sign_in

functions, types = raw.functions, raw.types

RATE, BLOCK, AMPLITUDE = 16000, 160, 8000
TONES = {"Anna": 440.0, "Bob": 660.0}
CALL = 1


class Engine:
    """One side's media: sends its tone, keeps what it hears."""

    def __init__(self, side: Person, tone: float, alone: asyncio.Lock) -> None:
        self.loop, self.side, self.tone = asyncio.get_running_loop(), side, tone
        self.heard: list[bytes] = []
        self.prepared = asyncio.Event()
        self.connected = asyncio.Event()
        self.native = NativeEngine(ntgcalls, alone)
        self.engine = self.native.engine
        self.engine.on_signaling_data(self._signal)
        self.engine.on_connection_change(self._change)
        self.engine.on_frames(lambda _id, _mode, _device, frames: self.heard.extend(f.data for f in frames))

    async def prepare(self, g_a_hash: bytes | None) -> bytes:
        sound = AudioDescription(MediaSource.EXTERNAL, RATE, 1, "", False)
        media = MediaDescription(sound, None, None, None)
        config = await self.side.ask(functions.messages.GetDhConfig(version=0, random_length=256))
        await self.native.do(self.engine.create_p2p_call, CALL)
        await self.native.do(self.engine.set_stream_sources, CALL, StreamMode.CAPTURE, media)
        await self.native.do(self.engine.set_stream_sources, CALL, StreamMode.PLAYBACK, media)
        return bytes(
            await self.native.do(self.engine.init_exchange, CALL, DhConfig(config.g, config.p, config.random), g_a_hash)
        )

    async def connect(self, call: Any) -> None:
        self.call = call
        servers = [
            RTCServer(one.id, one.ip, one.ipv6, one.port, None, None, False, False, bool(one.tcp), one.peer_tag)
            for one in call.connections
        ]
        version = call.protocol.library_versions[0]
        parameters = call.custom_parameters.data
        await self.native.do(self.engine.connect_p2p, CALL, servers, [version], bool(call.p2p_allowed), parameters)
        self.prepared.set()

    async def relay_signals(self) -> None:
        # The other side's first words may come while connect_p2p still builds the call in another thread, and
        # ntgcalls crashes then (double free, 1 run in 30).
        await self.prepared.wait()
        while True:
            update = await self.side.update(types.UpdatePhoneCallSignalingData)
            await self.native.signal(CALL, update.data)

    async def play(self) -> None:
        times = np.arange(BLOCK) / RATE
        start = self.loop.time()
        for number in range(10_000):
            wave = AMPLITUDE * np.sin(2 * np.pi * self.tone * (times + number * BLOCK / RATE))
            frame = FrameData(0, VideoRotation.VIDEO_ROTATION_0, 0, 0)
            block = wave.astype("<i2").tobytes()
            try:
                await self.native.do(self.engine.send_external_frame, CALL, StreamDevice.MICROPHONE, block, frame)
            except ntgcalls.ConnectionNotFound:  # the other one has ended the call
                return
            await asyncio.sleep(start + (number + 1) * BLOCK / RATE - self.loop.time())

    def hears(self) -> dict[str, float]:
        sound = np.frombuffer(b"".join(self.heard[-100:]), "<i2").astype(float)
        spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 16 * len(sound)))
        frequency = float(spectrum.argmax() * RATE / (16 * len(sound)))
        return {"frequency": frequency, "rms": float(np.sqrt(np.mean(sound**2)))}

    def _signal(self, _id: int, data: bytes) -> None:
        query = functions.phone.SendSignalingData(peer=peer(self.call), data=bytes(data))
        asyncio.run_coroutine_threadsafe(self.side.ask(query), self.loop)

    def _change(self, _id: int, info: Any) -> None:
        if info.state == ConnectionState.CONNECTED:
            self.loop.call_soon_threadsafe(self.connected.set)


async def person(dc: Dc, control: SandboxControl, name: str, phone: str) -> Person:
    await control.add_user(phone, name)
    one = Person(phone, new_client(dc))
    await one.client.connect()
    await sign_in(one, control)
    await one.listen()
    return one


async def set_up(anna: Engine, bob: Engine) -> None:
    offer = ntgcalls.NTgCalls.get_protocol()
    protocol = types.PhoneCallProtocol(
        udp_p2p=offer.udp_p2p,
        udp_reflector=offer.udp_reflector,
        min_layer=offer.min_layer,
        max_layer=offer.max_layer,
        library_versions=list(offer.library_versions),
    )
    g_a_hash = await anna.prepare(None)
    user = await anna.side.input_of(bob.side)
    random_id = int.from_bytes(os.urandom(4), "big") >> 1
    query = functions.phone.RequestCall(user_id=user, random_id=random_id, g_a_hash=g_a_hash, protocol=protocol)
    await anna.side.ask(query)
    requested = await bob.side.call(types.PhoneCallRequested)
    await bob.side.ask(functions.phone.ReceivedCall(peer=peer(requested)))
    g_b = await bob.prepare(requested.g_a_hash)
    await bob.side.ask(functions.phone.AcceptCall(peer=peer(requested), g_b=g_b, protocol=protocol))
    accepted = await anna.side.call(types.PhoneCallAccepted)
    keys = await anna.native.do(anna.engine.exchange_keys, CALL, accepted.g_b, 0)
    confirm = functions.phone.ConfirmCall(
        peer=peer(accepted), g_a=keys.g_a_or_b, key_fingerprint=keys.key_fingerprint, protocol=protocol
    )
    mine = (await anna.side.ask(confirm)).phone_call
    his = await bob.side.call(types.PhoneCall)
    await bob.native.do(bob.engine.exchange_keys, CALL, his.g_a_or_b, his.key_fingerprint)
    await asyncio.gather(anna.connect(mine), bob.connect(his))


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.05)


async def main(control_port: int, host: str, port: int, rsa_key: str) -> None:
    trust(rsa_key)
    dc = Dc(None, {"host": host, "port": port})  # type: ignore[arg-type]
    async with asyncio.timeout(25), SandboxControl(control_port) as control, asyncio.TaskGroup() as tasks:
        alone = asyncio.Lock()
        engines = [
            Engine(await person(dc, control, name, f"7888000000{number}"), tone, alone)
            for number, (name, tone) in enumerate(TONES.items())
        ]
        running: list[Awaitable[None]] = [tasks.create_task(engine.relay_signals()) for engine in engines]
        await set_up(*engines)
        await asyncio.gather(*(engine.connected.wait() for engine in engines))
        running += [tasks.create_task(engine.play()) for engine in engines]
        await until(lambda: all(len(engine.heard) >= 250 for engine in engines))
        print(json.dumps([engine.hears() for engine in engines]), flush=True)
        for task in running:
            task.cancel()  # type: ignore[attr-defined]
        for engine in engines:
            await engine.native.stop(CALL)
    os._exit(0)  # ntgcalls does not survive the interpreter's own way out


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]))
