"""A PBX of a bare UDP socket that has a good password and is up to something: as caller, and as the called.

It reads what the gateway says with as little as it needs, so that nothing that it is told can stop it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import re
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from sipmessage import AuthChallenge

from tests import sip_wire
from tests.fuzz import answers, in_dialog, sdp, templates
from tests.fuzz.called import Called
from tests.fuzz.journal import Journal
from tests.fuzz.mutations import Mutated, Mutator

_NEVER_S = 8.0  # no final answer in so long
_LARGEST = 12_000
_SOUND_OVER_IPV6 = 0.1  # it is refused
_ALLOWS = ("INVITE, ACK, CANCEL, BYE", "INVITE, ACK, CANCEL, BYE, UPDATE, PRACK, INFO")
_REFUSALS = ("404 x", "408 x", "415 x", "481 x", "488 x", "491 x", "500 x", "503 x", "603 x")


@dataclass(frozen=True)
class Heard:
    """A message from the gateway."""

    data: bytes

    @property
    def first(self) -> str:
        return self.data.split(b"\r\n", 1)[0].decode(errors="replace")

    @property
    def status(self) -> int:
        """0 for a request."""
        return int(self.first[8:11]) if self.first.startswith("SIP/2.0 ") else 0

    @property
    def method(self) -> str:
        """Of a request, or of the request that this answers."""
        return self.header("CSeq").rpartition(" ")[2]

    def all(self, name: str) -> list[str]:
        head = self.data.partition(b"\r\n\r\n")[0].decode(errors="replace")
        return re.findall(rf"^{name}:[ \t]*(.*?)[ \t]*\r?$", head, re.MULTILINE | re.IGNORECASE)

    def header(self, name: str) -> str:
        return next(iter(self.all(name)), "")

    @property
    def contact(self) -> str:
        found = re.search(r"<([^>]+)>", self.header("Contact"))
        return found[1] if found else ""


class Peer(asyncio.DatagramProtocol):
    """One socket and one login."""

    def __init__(
        self,
        name: str,
        server: tuple[str, int],
        login: str,
        password: str,
        journal: Journal,
        seed: int,
        long_s: float = 2.0,
    ) -> None:
        """`name` is what the journal calls it; `long_s` is how long its longest calls last."""
        self.long_s = long_s
        self.name = name
        self.server = server
        self.login = login
        self.journal = journal
        self.rng = random.Random(seed)
        self.mutator = Mutator(seed)
        self._password = password
        self._challenge: AuthChallenge | None = None
        self._nc = itertools.count(1)
        self._cseq = itertools.count(1)
        self._conversations: dict[str, asyncio.Queue[Heard]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.address = ("", 0)
        self.ready = asyncio.Event()

    async def open(self, host: str) -> None:
        self._transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: self, local_addr=(host, 0)
        )
        self.address = self._transport.get_extra_info("sockname")[:2]

    @property
    def here(self) -> str:
        """Its address as SIP writes it."""
        return f"{templates.written(self.address[0])}:{self.address[1]}"

    @property
    def there(self) -> str:
        return f"{templates.written(self.server[0])}:{self.server[1]}"

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._transport.close()

    # The wire.

    def send(self, kind: str, mutated: Mutated) -> None:
        if self._transport.is_closing():
            return
        self.journal.note_sent(f"{self.name}:{kind}", self.address[0], mutated.data)
        self._transport.sendto(mutated.data, self.server)

    def say(self, kind: str, data: bytes) -> None:
        self.send(kind, Mutated(data, (), True))

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        heard = Heard(data)
        if not data.strip():
            return
        self.journal.note_answer(data)
        if queue := self._conversations.get(heard.header("Call-ID")):
            queue.put_nowait(heard)
        elif heard.status:
            self._tidy(heard)
        elif heard.method == "INVITE":
            self._run(self._called(heard))
        else:
            self.reply(heard)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _called(self, invite: Heard) -> None:
        call_id = invite.header("Call-ID")
        queue = self._conversations[call_id] = asyncio.Queue()
        try:
            await Called(self, invite).live(queue)
        finally:
            self._conversations.pop(call_id, None)

    def _tidy(self, heard: Heard) -> None:
        """An answer that nobody waits for any more; a call that came up late is ended."""
        if heard.method == "INVITE" and heard.status >= 200:
            self.say("ACK", self.ack(heard))
            if heard.status < 300:
                self.say("BYE", self.in_dialog("BYE", heard))

    # Messages.

    def request(self, method: str, uri: str, to: str, body: bytes = b"", **more: str) -> bytes:
        headers = {
            "Via": f"SIP/2.0/UDP {self.here};rport;branch=z9hG4bK{templates.token(self.rng)}",
            "Max-Forwards": "70",
            "From": f"<sip:{self.login}@teletrunk>;tag={templates.token(self.rng)}",
            "To": to,
            "Call-ID": templates.token(self.rng),
            "CSeq": f"{next(self._cseq)} {method}",
            "Contact": f"<sip:{self.login}@{self.here}>",
            "Allow": self.rng.choice(_ALLOWS),
            **more,
        }
        return templates.request(method, uri, headers, body)

    def with_credentials(self, method: str, uri: str, to: str, body: bytes = b"", **more: str) -> bytes:
        if self._challenge is not None:
            nc = next(self._nc)
            more["Authorization"] = sip_wire.digest(self.login, self._password, method, uri, self._challenge, nc)
        return self.request(method, uri, to, body, **more)

    def in_dialog(self, method: str, answer: Heard, body: bytes = b"", /, **more: str) -> bytes:
        """In the dialog that we began and this answer made."""
        cseq = next(self._cseq) if method != "ACK" else answer.header("CSeq").split()[0]
        routes = ", ".join(reversed(answer.all("Record-Route")))
        return self.request(
            method, answer.contact or "sip:x", answer.header("To"), body,
            **{"From": answer.header("From"), "Call-ID": answer.header("Call-ID"), "CSeq": f"{cseq} {method}",
               **({"Route": routes} if routes else {}), **more},
        )  # fmt: skip

    def ack(self, answer: Heard, body: bytes = b"") -> bytes:
        if answer.status < 300:
            return self.in_dialog("ACK", answer, body)
        via = {"Via": answer.header("Via")}
        return self.in_dialog("ACK", answer, **via)

    def answer(self, request: Heard, status: str, body: bytes = b"", tag: str = "") -> bytes:
        to = request.header("To")
        headers: Mapping[str, str] = {
            "Via": "\r\nVia: ".join(request.all("Via")),
            **({"Record-Route": "\r\nRecord-Route: ".join(rows)} if (rows := request.all("Record-Route")) else {}),
            "From": request.header("From"),
            "To": to if "tag=" in to or not tag else f"{to};tag={tag}",
            "Call-ID": request.header("Call-ID"),
            "CSeq": request.header("CSeq"),
            "Contact": f"<sip:{self.login}@{self.here}>",
            "Allow": self.rng.choice(_ALLOWS),
        }
        return templates.response(status, headers, body)

    def reply(self, heard: Heard, tag: str = "") -> None:
        """To what the gateway asks; what is broken is followed by what is right, so that nothing is asked for ever."""
        if heard.method == "ACK":
            return
        body, kinds = self.body() if heard.method in in_dialog.WITH_OFFER else (b"", ())
        broken = self.rng.choice([0, 0, 1, 1, 2])
        for _ in range(broken):
            status = self.rng.choice(("200 OK",) * 6 + _REFUSALS)
            self.send(status[:3], answers.broken(self.mutator, self.answer(heard, status, body, tag), kinds))
        self.send("200", Mutated(self.answer(heard, "200 OK", body, tag), kinds, False))

    def body(self, broken: float = 0.75) -> tuple[bytes, tuple[str, ...]]:
        """An SDP body, and what is wrong with it. Who signals over IPv6 has sound over IPv4, with few exceptions."""
        host = self.address[0] if ":" not in self.address[0] or self.rng.random() < _SOUND_OVER_IPV6 else "127.0.0.1"
        whole = templates.sdp(host, 30_000 + self.rng.randrange(5_000) * 2)
        return sdp.mutated(self.rng, whole) if self.rng.random() < broken else (whole, ())

    def mutate(self, data: bytes, kinds: tuple[str, ...], share: float = 0.5, *, soft: bool = True) -> Mutated:
        if self.rng.random() > share:
            return Mutated(data, kinds, True)
        mutated = self.mutator.message(data, _LARGEST, soft=soft)
        return Mutated(mutated.data, kinds + mutated.kinds, mutated.answerable)

    # As a caller.

    async def register(self, *, broken: bool = False) -> int:
        """The final status; 0 for none. With the challenge that we know, or with the one that we get."""
        uri, status = f"sip:{self.there}", 0
        for _ in range(3):
            request = self.with_credentials("REGISTER", uri, f"<sip:{self.login}@teletrunk>", Expires="600")
            mutated = self.mutate(request, (), 1.0 if broken else 0.0)
            final = await self._final(request, mutated, "REGISTER")
            if final is None and mutated.answerable:
                self.journal.note_unanswered("REGISTER", mutated.kinds, mutated.data)
            status = final.status if final else 0
            if final is None or status != 401 or broken:
                break
            self._learn(final)
        return status

    def _learn(self, challenge: Heard) -> None:
        offers = [AuthChallenge.parse(value) for value in challenge.all("WWW-Authenticate")]
        self._challenge = next(o for o in offers if o.parameters.get("algorithm") in ("SHA-256", "MD5"))
        self._nc = itertools.count(1)

    async def _final(self, request: bytes, mutated: Mutated, kind: str, patience: float = _NEVER_S / 2) -> Heard | None:
        call_id = Heard(request).header("Call-ID")
        queue = self._conversations[call_id] = asyncio.Queue()
        try:
            self.send(kind, mutated)
            async with asyncio.timeout(patience):
                while (heard := await queue.get()).status < 200:
                    pass
            return heard
        except TimeoutError:
            return None
        finally:
            self._conversations.pop(call_id, None)

    async def call(self, number: str) -> None:
        """One INVITE with good credentials and much else that is bad, and what may follow from it."""
        uri = f"sip:{number}@{self.there}"
        whole = self.rng.random() < 0.4  # what is broken comes later, in the dialog
        body, kinds = self.body(0.0 if whole else 0.75)
        if late := self.rng.random() < 0.15:  # the gateway offers, and the ACK answers
            body, kinds = b"", ("late_offer",)
        request = self.with_credentials("INVITE", uri, f"<{uri}>", body)
        mutated = self.mutate(request, kinds, 0.0 if whole else 0.5, soft=self.rng.random() < 0.7)
        call_id = Heard(request).header("Call-ID")
        queue = self._conversations[call_id] = asyncio.Queue()
        answer: Heard | None = None
        try:
            self.send("INVITE", mutated)
            cancel_at = 3.0 if whole else self.rng.choice([0.0, 0.0, 0.02, 0.3, 1.0, 3.0])
            answer = await self._outcome(queue, request, cancel_at, late=late)
            if answer is None and mutated.answerable:
                self.journal.note_unanswered("INVITE", mutated.kinds, mutated.data)
            if answer is not None and answer.status < 300:
                await self._in_dialog(queue, answer)
        finally:  # also when the attack is over
            self._conversations.pop(call_id, None)
            if answer is None:
                self.say("CANCEL", _cancel(request))
            elif answer.status < 300:
                self.say("BYE", self.in_dialog("BYE", answer))

    async def _outcome(
        self, queue: asyncio.Queue[Heard], request: bytes, cancel_at: float, *, late: bool
    ) -> Heard | None:
        """The INVITE's final answer, acknowledged."""
        began = time.monotonic()
        cancelled = False
        while (left := began + cancel_at + _NEVER_S - time.monotonic()) > 0:
            if not cancelled and time.monotonic() - began >= cancel_at:
                cancelled = True
                self.say("CANCEL", _cancel(request))
            with contextlib.suppress(TimeoutError):
                wait = min(left, cancel_at - (time.monotonic() - began)) if not cancelled else left
                async with asyncio.timeout(max(wait, 0.001)):
                    heard = await queue.get()
                if heard.status == 0:
                    self.reply(heard)
                elif heard.method == "INVITE" and heard.status >= 200:
                    if heard.status == 401:
                        self._learn(heard)
                    self.say("ACK", self.ack(heard, self.body(0.5)[0] if late else b""))
                    return heard
        return None

    async def _in_dialog(self, queue: asyncio.Queue[Heard], answer: Heard) -> None:
        for _ in range(self.rng.choice([1, 2, 3, 5])):
            method = self.rng.choice(in_dialog.METHODS)
            body, kinds = self.body() if method in in_dialog.WITH_OFFER else (b"", ())
            request, more = in_dialog.dressed(self.rng, method, self.in_dialog(method, answer, body), self.here)
            kinds += more
            mutated = self.mutate(request, kinds)
            self.send(f"re-{method}", mutated)
            if not await self._settled(queue, method) and mutated.answerable:
                self.journal.note_unanswered(f"re-{method}", mutated.kinds, mutated.data)

    async def _settled(self, queue: asyncio.Queue[Heard], method: str, patience: float = 3.0) -> bool:
        """Whether a final answer to this method came."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while True:
                    heard = await queue.get()
                    if heard.status == 0:
                        self.reply(heard)
                        if heard.method == "BYE":
                            return True
                    elif heard.status >= 200 and heard.method == "INVITE":
                        self.say("ACK", self.ack(heard))
                    if heard.status >= 200 and heard.method == method:
                        return True
        return False


def _cancel(invite: bytes) -> bytes:
    """On the branch of its INVITE (RFC 3261 9.1)."""
    heard = Heard(invite)
    uri = heard.first.split(" ")[1]
    headers = {name: heard.header(name) for name in ("Via", "Max-Forwards", "From", "To", "Call-ID")}
    return templates.request("CANCEL", uri, {**headers, "CSeq": f"{heard.header('CSeq').split()[0]} CANCEL"})
