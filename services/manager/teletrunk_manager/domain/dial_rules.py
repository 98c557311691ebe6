r"""Dial rules: what becomes of a number that a PBX dials, before it is read. Pure.

`pattern=replacement` puts the replacement, with groups \1 to \9, in the place of the first part that matches, and is
skipped when nothing does; a bare pattern must match, or the call is refused. Patterns are RE2's: what they cost grows
with the number's length only, whatever they say. A pattern's own = is written \x3D.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import re2

MOST_RULES: Final = 50
LONGEST_RULE: Final = 200
LONGEST_NUMBER: Final = 256  # also of what a replacement makes
_MEMORY = 1 << 18  # bytes that one pattern may take
_KEPT: Final = 250  # 64 MB when each takes all it may
_GROUP = re.compile(r"\\(.?)")


class NotAllowed(ValueError):
    """A number that the rules do not let through; the text says which."""


@dataclass(frozen=True)
class Rule:
    text: str
    pattern: Any  # re2 has no types
    replacement: str | None  # None: a filter

    def applied(self, number: str) -> str | None:
        """The number after it; None when it does not match."""
        found = self.pattern.search(number)
        if found is None or self.replacement is None:
            return None if found is None else number
        put = _GROUP.sub(lambda group: found.group(int(group[1])) or "", self.replacement)
        return number[: found.start()] + put + number[found.end() :]


@lru_cache(maxsize=_KEPT)
def parse(text: str) -> Rule:
    """Raises `ValueError` with what to do."""
    if len(text) > LONGEST_RULE:
        raise ValueError(f"the dial rule {text[:20]}... is too long: use up to {LONGEST_RULE} characters")
    if not text.isprintable():
        raise ValueError("a dial rule stands on one line, without control characters")
    written, equals, replacement = text.partition("=")
    if not written.strip():
        raise ValueError(f"the dial rule {text} has no pattern: write PATTERN=REPLACEMENT, or PATTERN alone")
    pattern = _compiled(written)
    if not equals:
        return Rule(text, pattern, None)
    groups = {str(number) for number in range(1, min(pattern.groups, 9) + 1)}
    if unknown := [group for group in _GROUP.findall(replacement) if group not in groups]:
        raise ValueError(f"the dial rule {text}: \\{unknown[0]} is no group of its pattern; they are \\1 to \\9")
    return Rule(text, pattern, replacement)


def _compiled(written: str) -> Any:
    options = re2.Options()
    options.max_mem, options.log_errors = _MEMORY, False
    try:
        return re2.compile(written, options)
    except re2.error as error:
        why = error.args[0].decode("utf-8", "replace") if isinstance(error.args[0], bytes) else error.args[0]
        raise ValueError(f"the dial rule's pattern {written} cannot be used: {why}") from None


def apply(rules: Sequence[str], number: str) -> Iterator[tuple[str, str]]:
    """What each rule did, and the number after it. Raises `NotAllowed` behind the last step that went well."""
    for place, text in enumerate(rules, 1):
        rule = parse(text)
        after = rule.applied(number)
        if after is None and rule.replacement is None:
            raise NotAllowed(f"dial rule {place} does not match")
        if after is None:
            yield f"{text}  (skipped: does not match)", number
            continue
        if len(after) > LONGEST_NUMBER:
            raise NotAllowed(f"dial rule {place} makes it too long")
        if not after:
            raise NotAllowed(f"dial rule {place} leaves nothing of it")
        number = after
        yield text if rule.replacement is not None else f"{text}  (matches)", number
