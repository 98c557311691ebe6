"""One SIP host over its wire, a bare socket where the edge would be, and sockets that speak RTP."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import re
import socket
import struct
from array import array
from collections.abc import AsyncIterator, Callable, Iterable

from teletrunk_sandbox import ports
from teletrunk_worker.legs.wire import Message

from .host_process import PATIENCE_S, HostProcess

_BLOCK = 160  # samples of 20 ms
_PCMA, _KEYS = 8, 101
MEDIA_ADDRESS = "192.0.2.44"  # what its descriptions name, as behind NAT; its sockets are on this machine
CALL = "call1/a"
_LOOK_S = 0.02
_RTP_PORTS = 32


class RtpSocket:
    """Sends PCMA packets from one address, and counts those that come."""

    def __init__(self, address: str, payload_type: int = _PCMA) -> None:
        self._payload_type = payload_type
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, 0))
        self._socket.setblocking(False)
        self._sequence = 0
        self._ssrc = int.from_bytes(os.urandom(4))

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def send(self, to: int, code: int) -> None:
        """20 ms of a square wave, whose samples are this code and its negative: as loud as the code says."""
        self._sequence += 1
        header = struct.pack(
            "!BBHII", 0x80, self._payload_type, self._sequence & 0xFFFF, self._sequence * _BLOCK, self._ssrc
        )
        with contextlib.suppress(OSError):
            self._socket.sendto(header + bytes([code, code ^ 0x80] * (_BLOCK // 2)), ("127.0.0.1", to))

    def press(self, to: int, key: int) -> None:
        """The end of a key, as RFC 4733 says it: each time another one."""
        self._sequence += 1
        header = struct.pack("!BBHII", 0x80, _KEYS, self._sequence & 0xFFFF, self._sequence * _BLOCK, self._ssrc)
        self._socket.sendto(header + bytes([key, 0x8A, 0, _BLOCK]), ("127.0.0.1", to))

    def received(self) -> int:
        """Packets since the last look."""
        count = 0
        with contextlib.suppress(BlockingIOError):
            while self._socket.recv(2048):
                count += 1
        return count

    async def talk(self, to: int, code: int, seconds: float) -> int:
        """Speaks for so long. Returns how many packets came."""
        received = 0
        for _ in range(round(seconds / 0.02)):
            self.send(to, code)
            await asyncio.sleep(0.02)
            received += self.received()
        return received

    def close(self) -> None:
        self._socket.close()


class SipHostWorld(HostProcess):
    """The host as a process of its own, with one call."""

    def __init__(self, environment: dict[str, str], first_rtp_port: int, rtp_ports: int) -> None:
        super().__init__()
        self._environment = environment
        self.contact = ""  # parameters of its peer's
        self.said = ""  # the latest that it has said by SIP
        self._edge = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._edge.bind(("127.0.0.1", 0))
        self._edge.setblocking(False)
        self._number = 0
        self._dialog = "c1"
        self._to = "<sip:1@127.0.0.1>"
        self.host_port = 0
        self.rtp_port = 0
        self.rtp_address = ""
        self.first_rtp_port, self.rtp_ports = first_rtp_port, rtp_ports

    async def start(self) -> None:
        self.host_port = await self.launch(
            self._environment, edge_port=self._edge.getsockname()[1], public_address="127.0.0.1", public_port=5060,
            media_address=MEDIA_ADDRESS, rtp_port=self.first_rtp_port, rtp_ports=self.rtp_ports,
        )  # fmt: skip

    async def call(self, media: tuple[str, int], signalling: str, dialog: str = "c1") -> None:
        """A call that is up: its peer wants sound there, and its signalling comes from `signalling`."""
        self._dialog, self._to = dialog, "<sip:1@127.0.0.1>"
        self._send(self._request("INVITE", self._description(media)))
        await self.event("incoming")
        self.wire.send({"command": "attach", "call": CALL, "peer": signalling}, self.rings.descriptor)
        self.wire.send({"command": "answer", "call": CALL})
        await self._answered()
        await self.event("answered")

    async def call_that_is_refused(self, dialog: str) -> Message:
        """A call of its own, hung up as soon as it comes. Returns how it ended."""
        self._dialog, self._to = dialog, "<sip:1@127.0.0.1>"
        self._send(self._request("INVITE", self._description(("127.0.0.1", 9))))
        await self.event("incoming")
        self.wire.send({"command": "hangup", "call": CALL, "status": 486, "phrase": "", "headers": []})
        refused = await self._response(lambda text: text.startswith("SIP/2.0 486"))
        self._to = re.findall(r"^To: (.*)\r$", refused, re.MULTILINE)[0]
        self._send(self._request("ACK", "").replace(f"{dialog}ACK", f"{dialog}INVITE"))
        return await self.event("ended")

    async def call_out(self, answers: list[str]) -> Message:
        """A call of ours, that is answered by these statuses, of which the last is final. Returns how it ended."""
        return await self.refused(await self.dial("<sip:1@127.0.0.1>"), answers)

    async def dial(self, caller: str, headers: Iterable[tuple[str, str]] = ()) -> str:
        """Returns the INVITE."""
        dial: Message = {"command": "dial", "call": CALL, "uri": "sip:2@127.0.0.1", "caller": caller}
        self.wire.send(dial | {"headers": [list(header) for header in headers]})
        return await self._response(lambda text: text.startswith("INVITE "))

    async def refused(self, invite: str, answers: list[str]) -> Message:
        """Returns how it ended."""
        lines = _headers(invite, "Via", "From", "Call-ID", "CSeq")
        for status in answers:
            self._send("\r\n".join([f"SIP/2.0 {status}", *lines, "To: <sip:2@127.0.0.1>;tag=peer", "", ""]))
        return await self.event("ended")

    async def hang_up(self) -> Message:
        """We do. Returns how it ended."""
        self.wire.send({"command": "hangup", "call": CALL, "status": 0, "phrase": "", "headers": []})
        bye = await self._response(lambda text: text.startswith("BYE "))
        self._send("\r\n".join(["SIP/2.0 200 OK", *_headers(bye, "Via", "From", "To", "Call-ID", "CSeq"), "", ""]))
        return await self.event("ended")

    async def is_hung_up(self) -> Message:
        """By its peer. Returns how it ended."""
        self._send(self._request("BYE", ""))
        await self._response(lambda text: text.startswith("SIP/2.0 200"))
        return await self.event("ended")

    async def again(self, media: tuple[str, int]) -> None:
        """A re-INVITE that wants sound elsewhere."""
        self._send(self._request("INVITE", self._description(media)))
        await self._answered()

    async def _answered(self) -> None:
        answer = await self._response(lambda text: text.startswith("SIP/2.0 200"))
        self._to = re.findall(r"^To: (.*)\r$", answer, re.MULTILINE)[0]
        self.rtp_port = int(re.findall(r"^m=audio (\d+) ", answer, re.MULTILINE)[0])
        self.rtp_address = re.findall(r"^c=IN IP4 (\S+)\r$", answer, re.MULTILINE)[0]
        self._send(self._request("ACK", ""))

    async def _response(self, wanted: Callable[[str], bool]) -> str:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                self.said = text = (await asyncio.get_running_loop().sock_recv(self._edge, 65_536)).decode()
                if wanted(text):
                    return text

    def _send(self, text: str) -> None:
        self._edge.sendto(text.encode(), ("127.0.0.1", self.host_port))

    def _request(self, method: str, body: str) -> str:
        self._number += method != "ACK"
        edge = f"127.0.0.1:{self._edge.getsockname()[1]}"
        return (
            f"{method} sip:1@127.0.0.1:{self.host_port} SIP/2.0\r\n"
            f"X-Teletrunk-Call: {CALL}\r\n"
            f"Via: SIP/2.0/UDP {edge};branch=z9hG4bK{self._dialog}{method}{self._number}\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:2@127.0.0.1>;tag=peer\r\nTo: {self._to}\r\nCall-ID: {self._dialog}\r\n"
            f"CSeq: {self._number} {method}\r\nContact: <sip:2@{edge}{self.contact}>\r\n"
            + ("Content-Type: application/sdp\r\n" if body else "")
            + f"Content-Length: {len(body)}\r\n\r\n{body}"
        )

    def _description(self, media: tuple[str, int]) -> str:
        address, port = media
        return (
            f"v=0\r\no=- 1 {self._number} IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n"
            f"m=audio {port} RTP/AVP {_PCMA} {_KEYS}\r\na=rtpmap:{_PCMA} PCMA/8000\r\n"
            f"a=rtpmap:{_KEYS} telephone-event/8000\r\n"
        )

    def loudness(self) -> list[int]:
        """What Telegram would hear since the last look: each 20 ms, as the root of the mean square."""
        ring = self.rings.to_telegram
        heard = array("h", ring.read(ring.available // _BLOCK * _BLOCK) or b"")
        blocks = [heard[start : start + _BLOCK] for start in range(0, len(heard), _BLOCK)]
        return [round(math.sqrt(sum(sample * sample for sample in block) / _BLOCK)) for block in blocks]

    async def stop(self) -> None:
        self._edge.close()
        await super().stop()


def _headers(message: str, *names: str) -> list[str]:
    """Their lines, as an answer repeats them."""
    return [line for line in message.split("\r\n") if line.partition(":")[0] in names]


@contextlib.asynccontextmanager
async def sip_host_world(**environment: str) -> AsyncIterator[SipHostWorld]:
    with ports.held(_RTP_PORTS) as first_rtp_port:
        world = SipHostWorld(environment, first_rtp_port, _RTP_PORTS)
        await world.start()
        try:
            yield world
        finally:
            await world.stop()
