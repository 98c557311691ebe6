"""The call's sound at Telegram, in a Telegram host."""

from __future__ import annotations

import base64
from typing import Any

from teletrunk.errors import Refusal
from teletrunk.v1 import session_store_pb2 as pb

from teletrunk_worker.call import events as on
from teletrunk_worker.call.inbox import Put
from teletrunk_worker.call.surroundings import NARROW_RATE, CallContext, Host, Hosts
from teletrunk_worker.legs.supervisor import DIED
from teletrunk_worker.legs.wire import Message

_MOST_EARLY = 200  # signalling messages that wait for a host


class HostedMedia:
    """One try at the sound: looks for a host and opens it there."""

    def __init__(self, context: CallContext, hosts: Hosts[Any], ready: pb.CallReady, put: Put) -> None:
        self._context = context
        self._hosts = hosts
        self._put = put
        self._host: Host | None = None
        self._over = False
        self._early: list[bytes] = []
        self._placing = context.tasks.run(self._open(ready))

    async def _open(self, ready: pb.CallReady) -> None:
        try:
            self._host = await self._hosts.place(self._context.call_id, self._on_host)
        except Refusal as refusal:
            self._over = True
            self._put(on.NoMedia(refusal))
            return
        self._context.recorder.step("worker", "telegram", "media connects")
        self._host.send(
            {
                "command": "open",
                "call": self._context.call_id,
                "rate": self._context.rate or NARROW_RATE,
                "key": base64.b64encode(ready.key).decode(),
                "outgoing": ready.outgoing,
                "servers": [_server(server) for server in ready.servers],
                "versions": list(ready.library_versions),
                "p2p": ready.p2p_allowed,
                "parameters": ready.custom_parameters,
            },
            self._context.rings.descriptor,
        )
        early, self._early = self._early, []
        for data in early:
            self.signal(data)

    # What the runner wants.

    def signal(self, data: bytes) -> None:
        if self._host is not None:
            packed = base64.b64encode(data).decode()
            self._host.send({"command": "signalling", "call": self._context.call_id, "data": packed})
        elif not self._over and len(self._early) < _MOST_EARLY:
            self._early.append(data)

    def close(self) -> None:
        if self._host is not None:
            self._host.send({"command": "close", "call": self._context.call_id})
        elif not self._over:
            self._let_go()
            self._put(on.MediaClosed())

    def release(self) -> None:
        if self._host is not None:
            self._host.send({"command": "close", "call": self._context.call_id})
        self._let_go()

    # What its host says.

    def _on_host(self, message: Message) -> None:
        match message["event"]:
            case "connected":
                self._context.recorder.media({"media_connect_ms": message["connect_ms"]})
                self._context.recorder.step("telegram", "worker", "media connected")
                self._put(on.MediaConnected())
            case "failed":
                self._context.recorder.step("telegram", "worker", message["why"][:100])
                self._put(on.MediaFailed(message["why"]))
            case "signalling":
                self._put(on.SignalForTelegram(base64.b64decode(message["data"])))
            case "closed":
                self._context.recorder.media(message["stats"])
                self._let_go()
                self._put(on.MediaClosed())
            case _ if message["event"] == DIED:
                self._host, self._over = None, True
                self._put(on.HostDied("telegram"))

    def _let_go(self) -> None:
        self._over = True
        self._placing.cancel()
        if self._host is not None:
            self._hosts.release(self._host, self._context.call_id)
            self._host = None


def _server(server: pb.MediaServer) -> Message:
    return {
        "id": server.id,
        "ipv4": server.ipv4,
        "ipv6": server.ipv6,
        "port": server.port,
        "username": server.username,
        "password": server.password,
        "turn": server.turn,
        "stun": server.stun,
        "tcp": server.tcp,
        "peer_tag": base64.b64encode(server.peer_tag).decode() if server.peer_tag else "",
    }
