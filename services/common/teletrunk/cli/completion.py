"""What a shell offers for what is typed: only what is known without asking anybody."""

from __future__ import annotations

from collections.abc import Callable, Iterable


def one_of(choices: Iterable[str]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return complete


def several_of(choices: Iterable[str]) -> Callable[[str], list[str]]:
    """By commas: the last one is completed, by those that are not there yet."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        left = (choice for choice in choices if choice not in before.split(","))
        return [f"{before}{comma}{choice}" for choice in left if choice.startswith(last)]

    return complete


def rows(incomplete: str) -> list[str]:
    """Ids of the error contract."""
    from teletrunk.errors import TABLE  # gRPC comes with it

    return one_of(TABLE)(incomplete)
