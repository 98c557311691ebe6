"""Watching a Worker from outside while it is attacked: its answers, memory, log, hosts."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.fuzz import templates

PROMPT_S = float(
    os.environ.get("TELETRUNK_FUZZ_PROMPT_S", "2.0")
)  # beside other tests; `make fuzz` has the machine alone
_EVERY_S = 0.5
_PATIENCE_S = 10.0


class Pinger(threading.Thread):
    """OPTIONS twice a second, from a thread: what the attack's own loop is busy with does not count."""

    def __init__(self, server: tuple[str, int], slow: Callable[[float], None]) -> None:
        super().__init__(daemon=True)
        self._server = server
        self._slow = slow
        self._over = threading.Event()
        self.slowest = 0.0
        self.answered = 0

    def run(self) -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as own:
            own.bind(("127.0.0.1", 0))
            own.settimeout(_PATIENCE_S)
            while not self._over.wait(_EVERY_S):
                took = self._ask(own)
                self.slowest = max(self.slowest, took)
                if took > PROMPT_S:
                    self._slow(took)

    def _ask(self, own: socket.socket) -> float:
        host, port = own.getsockname()
        number = str(time.monotonic_ns())
        headers = {
            "Via": f"SIP/2.0/UDP {host}:{port};rport;branch=z9hG4bK{number}",
            "From": "<sip:watch@127.0.0.1>;tag=1",
            "To": "<sip:127.0.0.1>",
            "Call-ID": number,
            "CSeq": "1 OPTIONS",
            "Max-Forwards": "70",
        }
        began = time.monotonic()
        own.sendto(templates.request("OPTIONS", "sip:127.0.0.1", headers), self._server)
        with contextlib.suppress(TimeoutError):
            while number.encode() not in own.recv(65_536):
                pass
            self.answered += 1
        return time.monotonic() - began

    def stop(self) -> None:
        self._over.set()
        self.join()


def memory(worker: psutil.Process) -> dict[str, float]:
    """Resident MB, of the control process and of each kind of host together."""
    found: dict[str, float] = {"control": worker.memory_info().rss / 1e6}
    for process in worker.children():
        with contextlib.suppress(psutil.NoSuchProcess):
            kind = next((part.rpartition(".")[2] for part in process.cmdline() if "legs." in part), "other")
            found[kind] = found.get(kind, 0.0) + process.memory_info().rss / 1e6
    return {kind: round(size, 1) for kind, size in found.items()}


_SIGNS = {
    "traceback": re.compile(rb"Traceback \(most recent"),
    "host died": re.compile(rb"host died"),
    "host hangs": re.compile(rb"host hangs"),
    "assert": re.compile(rb"Assertion|assertion"),
    "loop's handler": re.compile(rb"never retrieved|Exception in callback|Unhandled exception"),
    "call failed": re.compile(rb"call failed"),
}


@dataclass
class LogWatch:
    """Reads on in the Worker's log."""

    log: Path
    found: Counter[str] = field(default_factory=Counter)
    longest_line: int = 0
    _read: int = 0

    def look(self) -> list[str]:
        """What is new."""
        with self.log.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole, end, _ = data.rpartition(b"\n")
        self._read += len(whole) + len(end)
        news = []
        lines = whole.split(b"\n")
        for number, line in enumerate(lines):
            self.longest_line = max(self.longest_line, len(line))
            for sign, pattern in _SIGNS.items():
                if pattern.search(line):
                    self.found[sign] += 1
                    end = next((later for later in lines[number + 1 :] if later[:1] not in b" "), b"")
                    text = end if sign == "traceback" and line.startswith(b"Traceback") else line
                    news.append(f"{sign}: {text[:300].decode(errors='replace')}")
        return news
