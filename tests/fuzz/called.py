"""A PBX that is rung: everything that may be answered to an INVITE, in any order, whole and broken."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.fuzz import answers, in_dialog, templates
from tests.fuzz.mutations import Mutated

if TYPE_CHECKING:
    from tests.fuzz.peer import Heard, Peer

_NEVER_S = 8.0  # until it is cancelled, or not
_PROVISIONALS = ((), ("180 Ringing",), ("183 x",), ("100 Trying", "183 x", "180 y"), ("183 x", "180 y", "199 z"))
_FINALS = ("200 OK",) * 6 + ("486 Busy Here", "302 Moved", "401 Unauthorized", "407 x", "422 x", "491 y", "603 z")
_BROKEN = 0.5


class Called:
    """One INVITE of the gateway's."""

    def __init__(self, peer: Peer, invite: Heard) -> None:
        self._peer = peer
        self._rng = peer.rng
        self._invite = invite
        self._tag = templates.token(peer.rng)
        self._said: list[Mutated] = []
        self._accepted: set[str] = set()  # the tags of its 200s: whichever the gateway took, the call has that one

    async def live(self, queue: asyncio.Queue[Heard]) -> None:
        """`queue` has what else comes of this call. Ends the call if it comes up."""
        rng, peer = self._rng, self._peer
        try:
            for status in rng.choice(_PROVISIONALS):
                self._answer(status, with_body=status[:3] != "100" and rng.random() < 0.7)
                await asyncio.sleep(rng.choice([0.0, 0.0, 0.1]))
            if rng.random() < 0.3:
                await self._until_cancelled(queue)
            else:
                self._finals()
                await self._talk(queue)
        finally:  # whatever was made of it before: the host's place is wanted for the next one
            peer.say("487", peer.answer(self._invite, "487 Request Terminated", tag=self._tag))
            for tag in sorted(self._accepted):  # also when the attack is over
                peer.say("BYE", self._request("BYE", tag=tag))
            if rng.random() < 0.2 and self._said:  # after its end
                peer.send("late", rng.choice(self._said))

    def _answer(self, status: str, *, with_body: bool, share: float = _BROKEN, tag: str = "") -> None:
        peer = self._peer
        body, kinds = peer.body() if with_body else (b"", ())
        tag = tag or self._tag
        if status[0] == "2":
            self._accepted.add(tag)
        whole = peer.answer(self._invite, status, body, tag)
        said = (
            answers.broken(peer.mutator, whole, kinds) if self._rng.random() < share else Mutated(whole, kinds, False)
        )
        self._said.append(said)
        peer.send(status[:3], said)

    def _finals(self) -> None:
        """One; or several, of one phone or of many, and some again."""
        rng = self._rng
        count = rng.choice([1, 1, 1, 1, 2, 3, 8])
        for number in range(count):
            status = rng.choice(_FINALS)
            other = templates.token(rng) if number and rng.random() < 0.6 else ""
            self._answer(status, with_body=status[0] == "2", tag=other)
            if rng.random() < 0.2:
                self._peer.send("again", rng.choice(self._said))

    async def _until_cancelled(self, queue: asyncio.Queue[Heard]) -> None:
        """The 200 and the CANCEL cross."""
        peer, rng = self._peer, self._rng
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_NEVER_S):
                while (heard := await queue.get()).method != "CANCEL":
                    pass
                crossing: list[Callable[[], None]] = [
                    lambda: peer.reply(heard, self._tag),
                    lambda: self._answer(rng.choice(["200 OK", "487 Request Terminated", "180 x"]), with_body=True),
                ]
                rng.shuffle(crossing)
                for say in crossing:
                    say()
                await self._talk(queue)

    async def _talk(self, queue: asyncio.Queue[Heard]) -> None:
        peer, rng = self._peer, self._rng
        until = time.monotonic() + rng.choice([0.3, 0.3, 1.0, 2.0, 2.0, peer.long_s])
        while (left := until - time.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    heard = await queue.get()
                if heard.status >= 200 and heard.method == "INVITE":
                    peer.say("ACK", peer.ack(heard))
                elif heard.status == 0 and "tag=" in heard.header("To"):
                    peer.reply(heard)
                    if heard.method == "BYE":
                        return
                    if heard.method == "ACK" and rng.random() < 0.6:
                        self._ask()
                elif heard.status == 0 and heard.method == "CANCEL":
                    peer.reply(heard, self._tag)

    def _ask(self) -> None:
        peer, rng = self._peer, self._rng
        for _ in range(rng.choice([1, 1, 2, 4])):
            method = rng.choice(in_dialog.METHODS)
            body, kinds = peer.body() if method in in_dialog.WITH_OFFER else (b"", ())
            data, more = in_dialog.dressed(rng, method, self._request(method, body), peer.here)
            peer.send(f"re-{method}", peer.mutate(data, kinds + more, 0.3))

    def _request(self, method: str, body: bytes = b"", tag: str = "") -> bytes:
        """In the dialog that the gateway began."""
        invite = self._invite
        more = {
            "From": f"{invite.header('To')};tag={tag or self._tag}",
            "Call-ID": invite.header("Call-ID"),
            "Route": ", ".join(invite.all("Record-Route")),
        }
        return self._peer.request(method, invite.contact or "sip:x", invite.header("From"), body, **more)
