"""What tests make go wrong: floods, errors, late answers, cut connections."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from dataclasses import dataclass

from teletrunk_sandbox.errors import RpcRefusal, bad_request

FLOOD_PEERS = frozenset({"phone.requestCall", "messages.sendMessage", "contacts.importContacts"})
_TRACE_LIMIT = 10_000


@dataclass(slots=True)
class Fault:
    """An error for the next calls of a method, or of any method."""

    method: str | None
    code: int
    message: str
    times: int

    def concerns(self, method: str) -> bool:
        """Whether it is this call's turn."""
        return self.times > 0 and matches(self.method, method)


@dataclass(slots=True)
class Twist:
    """Another answer than the method's own for its next calls."""

    method: str
    answer: str
    times: int


def matches(wanted: str | None, method: str) -> bool:
    """Method names are compared without regard to case; None stands for every method."""
    return wanted is None or wanted.lower() == method.lower()


class Faults:
    """The faults in force, by the phone number of the account that they hit."""

    def __init__(self) -> None:
        self.peer_flood: set[str] = set()
        self._faults: dict[str, list[Fault]] = defaultdict(list)
        self._delays: dict[str, list[tuple[str | None, float]]] = defaultdict(list)
        self._twists: dict[str, list[Twist]] = defaultdict(list)
        self._lost: dict[str, int] = {}
        self.differences_have_calls = True
        self._cut_until: dict[bytes, float] = {}
        self._traces: dict[str, deque[tuple[str, float]]] = {}

    def add(self, phone: str, fault: Fault) -> None:
        """Put a fault in front of an account."""
        self._faults[phone].append(fault)

    def delay(self, phone: str, seconds: float, method: str | None) -> None:
        """Answer an account late from now on; 0 seconds ends it."""
        others = [(wanted, after) for wanted, after in self._delays[phone] if wanted != method]
        self._delays[phone] = [(method, seconds), *others] if seconds > 0 else others

    def add_twist(self, phone: str, twist: Twist) -> None:
        """Answer an account otherwise."""
        self._twists[phone].append(twist)

    def twist_of(self, phone: str | None, method: str) -> str | None:
        """The answer that a call gets in place of its own, if any."""
        for twist in self._twists[phone] if phone else []:
            if twist.times > 0 and matches(twist.method, method):
                twist.times -= 1
                return twist.answer
        return None

    def check(self, phone: str | None, method: str) -> None:
        """Raise what stands between an account and a method."""
        if phone is None:
            return
        if phone in self.peer_flood and method in FLOOD_PEERS:
            raise bad_request("PEER_FLOOD")
        for fault in self._faults[phone]:
            if fault.concerns(method):
                fault.times -= 1
                raise RpcRefusal(fault.code, fault.message)

    def delay_of(self, phone: str | None, method: str) -> float:
        """By how many seconds an answer is to be late."""
        delays = self._delays[phone] if phone else []
        return next((seconds for wanted, seconds in delays if matches(wanted, method)), 0.0)

    def lose(self, phone: str, times: int) -> None:
        """Lose the next updates of an account on their way."""
        self._lost[phone] = times

    def loses(self, phone: str) -> bool:
        """Whether an update gets lost."""
        left = self._lost.get(phone, 0)
        self._lost[phone] = max(0, left - 1)
        return left > 0

    def cut(self, key_id: bytes, seconds: float) -> None:
        """Let an auth key reach nothing for a while."""
        self._cut_until[key_id] = time.monotonic() + seconds

    def is_cut(self, key_id: bytes) -> bool:
        """Whether an auth key's connections are to be closed."""
        return time.monotonic() < self._cut_until.get(key_id, 0.0)

    def trace(self, phone: str, on: bool) -> None:
        """Begin or end (and forget) the record of an account's calls."""
        self._traces.pop(phone, None)
        if on:
            self._traces[phone] = deque(maxlen=_TRACE_LIMIT)

    def record(self, phone: str | None, method: str) -> None:
        """Note a call, if the account is traced."""
        if phone in self._traces:
            self._traces[phone].append((method, time.time()))

    def trace_log(self, phone: str) -> list[tuple[str, float]]:
        """The methods that a traced account called, and when."""
        return list(self._traces.get(phone, ()))
