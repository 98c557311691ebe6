"""Whom a PBX calls: what it dialled, through its trunk's dial rules, to a destination. Pure.

The one place that reads a number: Workers and Storages go by what is found here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from teletrunk.destinations import destination_of
from teletrunk.identifiers import Called, is_separated, parse_called, within_context, without_separators
from teletrunk.v1 import call_pb2
from teletrunk.v1.trunk_pb2 import TrunkOptions

from teletrunk_manager.domain import dial_rules, templates

_WORDS: Final = {
    "phone": "the phone +{}",
    "username": "the username @{}",
    "user_id": "the user id {}",
    "number": "the user id {} if the account knows it, else the phone +{}",
}
UNREADABLE: Final = "not a phone, @username or user id"


@dataclass(frozen=True)
class Step:
    text: str
    number: str


@dataclass(frozen=True)
class Reading:
    """What became of it. Without a destination, `row` of the error contract and `why` say what the PBX reads."""

    steps: tuple[Step, ...]
    destination: call_pb2.Destination | None = None
    row: str = ""
    why: str = ""


def read(dialled: str, options: TrunkOptions) -> Reading:
    """Each step is what was done and what there was then."""
    steps = [Step("dialled", dialled)]
    number = _plain(dialled, options.caller_ids)
    if number != dialled:
        steps.append(Step("without escapes, parameters and separators", number))
    if not number or not number.isprintable() or len(number) > dial_rules.LONGEST_NUMBER:  # Workers ask for no other
        return Reading(tuple(steps), row="user-not-found", why=UNREADABLE)
    try:
        for text, after in dial_rules.apply(options.dial_rules, number):
            steps.append(Step(text, after))
    except dial_rules.NotAllowed as refused:
        return Reading((*steps, Step(str(refused), "")), row="number-not-allowed", why=str(refused))
    number = steps[-1].number
    called = _called(number, options.caller_ids)
    if called is None:
        return Reading((*steps, Step(UNREADABLE, "")), row="user-not-found", why=UNREADABLE)
    steps.append(Step("read as", _WORDS[called.kind].format(called.value, called.value)))
    return Reading(tuple(steps), destination_of(called, dialled, number))


def called_by(dialled: str, caller_ids: Sequence[str]) -> Called | None:
    """Whom it means where there are no dial rules: of a caller ID they cannot say what the PBX puts before it."""
    return _called(_plain(dialled, caller_ids), caller_ids)


def _called(number: str, caller_ids: Sequence[str]) -> Called | None:
    return templates.read_back(caller_ids, number) or parse_called(number)


def _plain(dialled: str, caller_ids: Sequence[str]) -> str:
    """%40name is @name; what follows a ; are parameters of the number (RFC 3966 3), such as npdi and rn; of a local
    number its phone-context is a part.

    Separators are nothing of a phone, but may be of a caller ID.
    """
    number = within_context(unquote(dialled, errors="replace")).strip()
    if not is_separated(number) or any(map(templates.is_spelt_with_separators, caller_ids)):
        return number
    return without_separators(number)
