"""What was sent and what came back: counted, the last messages kept, and written to a file when something breaks."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

_KEPT = 300  # of each sender
_MOST_BREAKS = 40  # that are written down


@dataclass
class Journal:
    directory: Path
    seed: int
    sent: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    unanswered: Counter[str] = field(default_factory=Counter)
    breaks: list[str] = field(default_factory=list)
    on_break: Callable[[], None] = field(default=lambda: None)  # there may be more to be written down
    _last: dict[str, deque[tuple[float, str, str, bytes]]] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)

    def note_sent(self, kind: str, source: str, data: bytes) -> None:
        self.sent[kind] += 1
        kept = self._last.setdefault(kind.replace(":", " ").split()[0], deque(maxlen=_KEPT))
        kept.append((time.monotonic() - self._began, kind, source, data))

    def note_answer(self, first_line: bytes) -> None:
        status = first_line[8:11]
        self.answers[f"{chr(status[0])}xx" if status[:1].isdigit() else "request"] += 1

    def note_unanswered(self, kind: str, mutations: tuple[str, ...], data: bytes) -> None:
        """A request that was owed an answer. The shortest of each kind is kept as a file."""
        what = f"{kind} {mutations[0] if mutations else 'whole'}"
        self.unanswered[what] += 1
        file = self.directory / f"unanswered-{what.replace(' ', '-')}.txt"
        if not file.exists() or file.stat().st_size > len(repr(data)):
            file.write_text(repr(data))

    def broken(self, what: str) -> None:
        """Something that must not happen has happened: how to see it again."""
        at = time.monotonic() - self._began
        self.breaks.append(f"{at:.1f} s: {what}")
        self.on_break()
        if len(self.breaks) > _MOST_BREAKS:
            return
        file = self.directory / f"break-{len(self.breaks):03}.txt"
        lines = [f"# {what}", f"# TELETRUNK_FUZZ_SEED={self.seed}, {at:.1f} s after the start; newest last"]
        last = sorted(sent for kept in self._last.values() for sent in kept)
        lines += [f"{sent_at:9.3f} {kind:12} {source:15} {data!r}" for sent_at, kind, source, data in last]
        file.write_text("\n".join(lines) + "\n")
        print(f"{at:.1f} s: {what[:160]}: the last {len(last)} messages are in {file}", flush=True)
