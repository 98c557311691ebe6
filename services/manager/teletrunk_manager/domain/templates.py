"""Templates of callers: literals and tags, such as `+{phone}`. Pure.

The first template of a list whose tags are all known wins. Those of caller IDs are read backwards, too: what a PBX
dials is often a caller ID that it has been given.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from anyascii import anyascii
from teletrunk.identifiers import ANONYMOUS, Called, is_separated, parse_called
from teletrunk.names import plain
from teletrunk.v1 import call_pb2

MOST_TEMPLATES: Final = 20
LONGEST_TEMPLATE: Final = 100
USUAL_IDS: Final = ("+{phone}", "{username}", "0{userid}")
USUAL_NAMES: Final = ("{name}",)
ID_TAGS: Final = ("phone", "username", "userid")
NAME_TAGS: Final = ("name", "name_ascii", *ID_TAGS)
_NOBODY: Final = "anonymous"
_TAG = re.compile(r"\{([^{}]*)\}")
_ID_LITERAL = re.compile(r"[A-Za-z0-9+\-_.*#@]*")
# A tag's text in what is dialled.
_FORMS: Final = {
    "phone": re.compile(r"[1-9][0-9]{6,14}"),
    "username": re.compile(r"[A-Za-z][A-Za-z0-9_]{3,31}"),
    "userid": re.compile(r"[1-9][0-9]{0,15}"),
}
_SUREST: Final = ("userid", "phone", "username")  # of a template with several tags


@dataclass(frozen=True)
class Template:
    """Literals and tags by turns: the first and the last are literals, maybe empty."""

    parts: tuple[str, ...]

    @property
    def tags(self) -> tuple[str, ...]:
        return self.parts[1::2]

    @property
    def literals(self) -> tuple[str, ...]:
        return self.parts[::2]

    def filled(self, known: Mapping[str, str]) -> str | None:
        """None when a tag is not known."""
        if not all(known.get(tag) for tag in self.tags):
            return None
        return "".join(known[part] if place % 2 else part for place, part in enumerate(self.parts))


@lru_cache(maxsize=1_000)
def parse(text: str, tags: tuple[str, ...] = NAME_TAGS) -> Template:
    """Raises `ValueError` with what to do."""
    if len(text) > LONGEST_TEMPLATE:
        raise ValueError(f"the template {text[:20]}... is too long: use up to {LONGEST_TEMPLATE} characters")
    if not text.isprintable():
        raise ValueError("a template stands on one line, without control characters")
    template = Template(tuple(_TAG.split(text)))
    if unknown := [tag for tag in template.tags if tag not in tags]:
        known = ", ".join(f"{{{tag}}}" for tag in tags)
        raise ValueError(f"the template {text} has the unknown tag {{{unknown[0]}}}: there are {known}")
    if not template.tags or len(set(template.tags)) < len(template.tags):
        raise ValueError(f"the template {text}: use at least one tag, and each once")
    if any(mark in literal for literal in template.literals for mark in "{}"):
        raise ValueError(f"the template {text} has a brace that belongs to no tag")
    return template


def parse_id(text: str) -> Template:
    """A caller ID is the user of a SIP URI, and is dialled. Raises `ValueError`.

    `anonymous` is none: whoever no template before it fits stays unknown.
    """
    if text == _NOBODY:
        return Template((ANONYMOUS,))
    template = parse(text, ID_TAGS)
    if not all(_ID_LITERAL.fullmatch(literal) for literal in template.literals):
        raise ValueError(f"the caller ID {text}: beside tags use letters, digits and + - _ . * # @")
    return template


def tags_of(peer: call_pb2.Peer) -> dict[str, str]:
    """What is known of a Telegram user, as it may be shown; the rest is empty."""
    name = plain(f"{peer.first_name} {peer.last_name}")
    return {
        "phone": peer.phone.lstrip("+"),
        "username": peer.username,
        "userid": str(peer.user_id) if peer.user_id else "",
        "name": name,
        "name_ascii": _ascii(name),
    }


def filled(templates: Iterable[Template], known: Mapping[str, str]) -> Iterator[str]:
    """By each whose tags are all known."""
    return (text for template in templates if (text := template.filled(known)) is not None)


def _ascii(name: str) -> str:
    """Transliterated, without pictures: `anyascii` would spell them out."""
    letters = "".join(c for c in name if c.isascii() or unicodedata.category(c) not in ("So", "Sk", "Cn", "Cs", "Co"))
    return plain(anyascii(letters))


def read_back(templates: Sequence[str], dialled: str) -> Called | None:
    """Whom a dialled caller ID means; None when no template could have made it.

    A username may look like any other caller ID that has a letter first: one of digits goes before it. Digits that one
    template reads as a phone and another as a user id are either: a `number`.
    """
    read = [called for text in templates if text != _NOBODY and (called := _read_one(text, dialled))]
    if not read:
        return None
    first = next((called for called in read if called.kind != "username"), read[0])
    kinds = {called.kind for called in read if called.value == first.value}
    return Called("number", first.value) if {"phone", "user_id"} <= kinds else first


@lru_cache(maxsize=1_000)
def is_spelt_with_separators(text: str) -> bool:
    """Whether its caller IDs look like a phone with separators, such as 00-15550100200."""
    if text == _NOBODY:
        return False
    return is_separated(parse_id(text).filled({"phone": "1", "userid": "1", "username": "a"}) or "")


def _read_one(text: str, dialled: str) -> Called | None:
    found = _tags_in(parse_id(text).parts, dialled, 0)
    if found is None:
        return None
    tag = next(tag for tag in _SUREST if tag in found)
    # As an explicit form it is judged by the one reader of identifiers.
    explicit = {"phone": f"+{found[tag]}", "username": f"@{found[tag]}", "userid": f"0{found[tag]}"}[tag]
    return parse_called(explicit)


def _tags_in(parts: Sequence[str], dialled: str, start: int) -> dict[str, str] | None:
    """What each tag stands for from there on, the first as long as can be; None when the template has not made it.

    No pattern is made of a template: there are thousands, and to make one takes longer than to read a number.
    """
    literal, *rest = parts
    at = start + len(literal)
    if not dialled.startswith(literal, start):
        return None
    if not rest:
        return {} if at == len(dialled) else None
    tag, *after = rest
    longest = _FORMS[tag].match(dialled, at)
    if longest is None:
        return None
    ends = range(longest.end(), at, -1) if len(after) > 1 else [len(dialled) - len(after[0])]
    for end in ends:
        if not dialled.startswith(after[0], end) or not _FORMS[tag].fullmatch(dialled, at, end):
            continue
        if (others := _tags_in(after, dialled, end)) is not None:
            return {tag: dialled[at:end], **others}
    return None
