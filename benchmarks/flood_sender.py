"""Datagrams at a steady rate, as cheap as they come: made before, and handed to the kernel in batches (sendmmsg).

A process of its own, steered by benchmarks/flood.py: one line of JSON says what to send, `ready` is answered when all
is made, and after `go` the sending begins; its figures come as one line of JSON. Answers are counted, never read.
"""

from __future__ import annotations

import ctypes
import json
import random
import re
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SERVER = "127.0.0.1"
ATTACKER = "127.66.0.1"  # when all come from one address
_POOL = 1 << 16  # datagrams; then they come again with another token
_SOCKETS = 64  # source ports of one address
_BATCH = 64
_BURST_S = 0.01  # what a late sender makes up for at once; the rest is not sent
_GRACE_S = 0.5  # for the last answers
_TOKEN = b"TTTTTTTTTTTT"
_NONCE = b"NNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNN"
_COUNT = b"CCCCCCCC"
_TRIES_AN_ADDRESS = 4  # one more would be a ban
_MOST_ADDRESSES = 1 << 14  # that ask for a nonce first
_ASK_RATE = 1_000
_GENERATIONS = b"0123456789abcdefghijklmnopqrstuvwxyz"

_MESSAGE = np.dtype(
    [(name, "<u8") for name in ("name", "namelen", "iov", "iovlen", "control", "controllen", "flags", "len")]
)  # fmt: skip  struct mmsghdr, its padding included
_VECTOR = np.dtype([("base", "<u8"), ("len", "<u8")])
_SOURCE = np.dtype(
    [
        ("len", "<u8"),
        ("level", "<i4"),
        ("type", "<i4"),
        ("interface", "<i4"),
        ("source", ">u4"),
        ("to", ">u4"),
        ("pad", "<u4"),
    ]
)  # fmt: skip  struct cmsghdr with an in_pktinfo
_IP_PKTINFO = 8
_libc = ctypes.CDLL(None, use_errno=True)

_VIA = "Via: SIP/2.0/UDP 192.0.2.7:5060;rport;branch=z9hG4bKTTTTTTTTTTTT\r\n"
_HEAD = (
    "From: <sip:{login}@127.0.0.1>;tag=TTTTTTTTTTTT\r\nTo: <sip:{to}@127.0.0.1>\r\nCall-ID: TTTTTTTTTTTT\r\n"
    "CSeq: 1 {method}\r\nMax-Forwards: 70\r\nUser-Agent: friendly-scanner\r\n"
)
_CONTACT = "Contact: <sip:{login}@192.0.2.7:5060>\r\n"
_SDP = (
    "v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\n"
    "m=audio 4000 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n"
    "a=rtpmap:101 telephone-event/8000\r\n"
)
_CREDENTIALS = (
    'Authorization: Digest username="{login}", realm="teletrunk", nonce="' + _NONCE.decode() + '", '
    'uri="sip:127.0.0.1", algorithm=SHA-256, qop=auth, nc=' + _COUNT.decode() + ', cnonce="0a4f113b", response="'
    + "5e" * 32 + '"\r\n'
)  # fmt: skip


def _request(method: str, login: str, to: str, more: str = "", body: str = "", via: str = _VIA) -> bytes:
    head = _HEAD.format(login=login, to=to, method=method) + more
    target = f"{to}@127.0.0.1" if method == "INVITE" else "127.0.0.1"
    return f"{method} sip:{target} SIP/2.0\r\n{via}{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def templates(kind: str, login: str) -> list[bytes]:
    """What a flood of this kind is made of, each in turn."""
    contact = _CONTACT.format(login=login)
    match kind:
        case "OPTIONS":
            return [_request("OPTIONS", "x", "x")]
        case "INVITE":
            more = contact + "Content-Type: application/sdp\r\n"
            return [_request("INVITE", login, "00442071234567", more, _SDP)]
        case "garbage":
            noise = random.Random(20261126)
            broken = _request("REGISTER", login, login, contact + "Expires: soon\r\n")  # can be answered, and is
            mute = _request("OPTIONS", "x", "x", via="Via: TTTTTTTTTTTT\r\n")  # cannot
            return [noise.randbytes(400), mute, broken]
        case "challenge":
            return [_request("REGISTER", login, login, contact + "Expires: 300\r\n")]
        case "resting":
            more = contact + "Expires: 300\r\n" + _CREDENTIALS.format(login=login)
            return [_request("REGISTER", login, login, more)]
    raise ValueError(kind)


@dataclass(frozen=True)
class Order:
    """What the parent asks for. `login` is the one that is guessed at."""

    port: int
    kind: str
    many_addresses: bool
    rate: int
    seconds: float
    login: str


class Pool:
    """Datagrams in one block of memory, and the kernel's list of them."""

    def __init__(self, texts: Sequence[bytes], count: int, port: int, sources: NDArray[np.uint32] | None) -> None:
        """`sources` are the IPv4 addresses that they come from, one each; None: the sending socket's own."""
        self.count = count
        self._lengths = np.resize(np.array([len(text) for text in texts]), count)
        self._bytes = np.zeros((count, max(map(len, texts))), np.uint8)
        self._tokens: list[tuple[slice, int]] = []
        numbers = np.frombuffer(b"".join(b"%08x" % n for n in range(count)), np.uint8).reshape(count, 8)
        for first, text in enumerate(texts):
            rows = slice(first, None, len(texts))
            self._bytes[rows, : len(text)] = np.frombuffer(text, np.uint8)
            for at in _places(text, _TOKEN):
                self._bytes[rows, at : at + 8] = numbers[rows]
                self._tokens.append((rows, at + 8))
        self._stamp = f"{random.getrandbits(12):03x}".encode()
        self._generation = -1
        self._headers(port, sources)
        self.renew()

    def _headers(self, port: int, sources: NDArray[np.uint32] | None) -> None:
        self._address = np.frombuffer(
            socket.AF_INET.to_bytes(2, "little") + port.to_bytes(2, "big") + socket.inet_aton(SERVER) + bytes(8),
            np.uint8,
        )
        self._vectors = np.zeros(self.count, _VECTOR)
        self._vectors["base"] = self._bytes.ctypes.data + np.arange(self.count) * self._bytes.shape[1]
        self._vectors["len"] = self._lengths
        self._messages = np.zeros(self.count, _MESSAGE)
        self._messages["name"], self._messages["namelen"] = self._address.ctypes.data, 16
        self._messages["iov"] = self._vectors.ctypes.data + np.arange(self.count) * _VECTOR.itemsize
        self._messages["iovlen"] = 1
        if sources is not None:
            self._sources = np.zeros(self.count, _SOURCE)
            self._sources["len"], self._sources["type"], self._sources["source"] = 28, _IP_PKTINFO, sources
            self._messages["control"] = self._sources.ctypes.data + np.arange(self.count) * _SOURCE.itemsize
            self._messages["controllen"] = _SOURCE.itemsize

    def renew(self) -> None:
        """Other transactions: the tokens' last four characters."""
        self._generation += 1
        end = self._stamp + _GENERATIONS[self._generation % 36 :][:1]
        for rows, at in self._tokens:
            self._bytes[rows, at : at + 4] = np.frombuffer(end, np.uint8)

    def write(self, mark: bytes, texts: Sequence[bytes]) -> None:
        """Puts these, one a datagram, in the place of `mark`, which all datagrams have at the same place."""
        at = bytes(self._bytes[0]).index(mark)
        self._bytes[:, at : at + len(mark)] = np.frombuffer(b"".join(texts), np.uint8).reshape(self.count, len(mark))

    def send(self, sender: socket.socket, first: int, count: int) -> tuple[int, int]:
        """Datagrams and bytes that the kernel took, of at most so many from `first` on."""
        count = min(count, _BATCH, self.count - first)
        taken = _libc.sendmmsg(sender.fileno(), ctypes.c_void_p(int(self._messages[first:].ctypes.data)), count, 0)
        if taken < 0:
            return 0, 0
        return taken, int(self._lengths[first : first + taken].sum())


def _places(text: bytes, mark: bytes) -> Iterator[int]:
    return (found.start() for found in re.finditer(re.escape(mark), text))


class Counter:
    """Takes answers from sockets and counts them; all are read into the same few bytes."""

    def __init__(self) -> None:
        self.answers = self.bytes = 0
        self._buffer = np.zeros(4096, np.uint8)
        self._vector = np.zeros(1, _VECTOR)
        self._vector["base"], self._vector["len"] = self._buffer.ctypes.data, 4096
        self._messages = np.zeros(_BATCH, _MESSAGE)
        self._messages["iov"], self._messages["iovlen"] = self._vector.ctypes.data, 1

    def drain(self, receiver: socket.socket) -> None:
        while True:
            got = _libc.recvmmsg(
                receiver.fileno(), ctypes.c_void_p(int(self._messages.ctypes.data)), _BATCH, socket.MSG_DONTWAIT, None
            )
            if got <= 0:
                return
            self.answers += got
            self.bytes += int(self._messages["len"][:got].sum())
            if got < _BATCH:
                return


def addresses(count: int) -> NDArray[np.uint32]:
    """All in a row, others each time; the kernel takes the whole of 127/8 for its own."""
    first = f"127.{random.randrange(70, 250)}.{random.randrange(250)}.1"
    return (int.from_bytes(socket.inet_aton(first), "big") + np.arange(count)).astype(np.uint32)


def _socket(host: str) -> socket.socket:
    found = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    found.bind((host, 0))
    return found


def nonces(order: Order, asker: socket.socket, sources: NDArray[np.uint32]) -> list[bytes]:
    """One for each of these addresses, as the Worker gives them to strangers. Raises RuntimeError."""
    count = len(sources)
    pool = Pool(templates("challenge", order.login), count, order.port, sources)
    found: dict[int, bytes] = {}
    asker.setblocking(False)
    for first in range(0, count, 16):
        pool.send(asker, first, 16)
        time.sleep(16 / _ASK_RATE)
        _collect(asker, found)
    deadline = time.monotonic() + 3
    while len(found) < count and time.monotonic() < deadline:
        time.sleep(0.05)
        _collect(asker, found)
    asker.setblocking(True)
    if not found:
        raise RuntimeError("nobody was challenged")
    some = next(iter(found.values()))
    return [found.get(number, some) for number in range(count)]


def _collect(asker: socket.socket, found: dict[int, bytes]) -> None:
    while True:
        try:
            answer = asker.recv(4096)
        except BlockingIOError:
            return
        call_id, nonce = re.search(rb"Call-ID: ([0-9a-f]{8})", answer), re.search(rb'nonce="([^"]+)"', answer)
        if call_id and nonce:
            found[int(call_id[1], 16)] = nonce[1]


def prepare(order: Order) -> tuple[Pool, list[socket.socket]]:
    count = min(_POOL, max(_BATCH, int(order.rate * order.seconds)))
    if not order.many_addresses:
        return Pool(templates(order.kind, order.login), count, order.port, None), [
            _socket(ATTACKER) for _ in range(_SOCKETS)
        ]
    own = _socket("0.0.0.0")
    if order.kind != "resting":
        return Pool(templates(order.kind, order.login), count, order.port, addresses(count)), [own]
    askers = min(_MOST_ADDRESSES, -(-count // _TRIES_AN_ADDRESS))
    count = askers * _TRIES_AN_ADDRESS
    sources = addresses(askers)
    given = nonces(order, own, sources)
    text = templates("resting", order.login)[0].replace(_NONCE, b"N" * len(given[0]))
    pool = Pool([text], count, order.port, np.tile(sources, _TRIES_AN_ADDRESS))
    pool.write(b"N" * len(given[0]), given * _TRIES_AN_ADDRESS)
    pool.write(_COUNT, [b"%08x" % (number // askers + 1) for number in range(count)])
    return pool, [own]


def flood(order: Order, pool: Pool, sockets: Sequence[socket.socket]) -> dict[str, float]:
    counter = Counter()
    sent = sent_bytes = turn = 0
    at = 0
    burst = max(1, int(order.rate * _BURST_S))
    began = last = time.monotonic()
    credit = 0.0
    while (now := time.monotonic()) < began + order.seconds:
        credit = min(credit + (now - last) * order.rate, burst)
        last = now
        while credit >= 1:
            taken, size = pool.send(sockets[turn % len(sockets)], at, int(credit))
            credit -= max(taken, 1)
            sent, sent_bytes, at, turn = sent + taken, sent_bytes + size, at + taken, turn + 1
            if at >= pool.count:
                at = 0
                pool.renew()
        counter.drain(sockets[(turn - 1) % len(sockets)])
        time.sleep(0.0005)
    took = time.monotonic() - began
    until = time.monotonic() + _GRACE_S
    while time.monotonic() < until:
        for receiver in sockets:
            counter.drain(receiver)
        time.sleep(0.01)
    return {"sent": sent, "sent_bytes": sent_bytes, "answers": counter.answers, "answer_bytes": counter.bytes,
            "seconds": took, "cpu_s": time.process_time()}  # fmt: skip


def main() -> None:
    order = Order(**json.loads(sys.stdin.readline()))
    pool, sockets = prepare(order)
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(flood(order, pool, sockets)), flush=True)


if __name__ == "__main__":
    main()
