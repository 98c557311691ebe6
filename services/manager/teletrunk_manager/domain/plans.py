"""What a plan allows: pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """None: not limited. Times in seconds."""

    lines: int | None = None
    valid_until: float | None = None  # Unix time
    total_seconds: int | None = None
    failed_calls: int | None = None
    call_seconds: int | None = None


@dataclass(frozen=True)
class Usage:
    """What the plan's accounts have done within its window."""

    talked_seconds: float = 0.0
    failed_calls: int = 0


def objection(plan: Plan, usage: Usage, now: float) -> str:
    """Why no further call may be made, in the words of the error contract; empty when it may.

    Lines that are taken are not judged here: only taking one tells.
    """
    if plan.lines == 0:
        return "no paid line"
    if plan.valid_until is not None and now >= plan.valid_until:
        return "expired"
    if plan.total_seconds is not None and usage.talked_seconds >= plan.total_seconds:
        return "total duration exceeded"
    if plan.failed_calls is not None and usage.failed_calls >= plan.failed_calls:
        return "failed calls exceeded"
    return ""


def longest_call(plan: Plan, usage: Usage) -> int:
    """Seconds that a call may be up; 0: without end."""
    limits = []
    if plan.call_seconds is not None:
        limits.append(plan.call_seconds)
    if plan.total_seconds is not None:
        limits.append(max(1, int(plan.total_seconds - usage.talked_seconds)))
    return min(limits, default=0)
