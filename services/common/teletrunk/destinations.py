"""A destination as services tell it to each other, and as the identifier that it is."""

from __future__ import annotations

from typing import Final

from teletrunk.identifiers import Called, Kind, parse_called
from teletrunk.v1 import call_pb2 as pb

_KINDS: Final[dict[Kind, pb.DestinationKind.ValueType]] = {
    "phone": pb.DESTINATION_KIND_PHONE,
    "username": pb.DESTINATION_KIND_USERNAME,
    "user_id": pb.DESTINATION_KIND_USER_ID,
    "number": pb.DESTINATION_KIND_NUMBER,
}
_NAMES: Final = {number: kind for kind, number in _KINDS.items()}


def destination_of(called: Called, dialled: str, number: str) -> pb.Destination:
    return pb.Destination(kind=_KINDS[called.kind], value=called.value, dialled=dialled, number=number)


def called_of(destination: pb.Destination, text: str) -> Called | None:
    """What the Manager has read; from an older one there is only `text`, as it was dialled."""
    if kind := _NAMES.get(destination.kind):
        return Called(kind, destination.value)
    return parse_called(text)


def text_of(destination: pb.Destination) -> str:
    """In a form that an older Storage reads as the same."""
    marks = {"phone": "+", "username": "@", "user_id": "0", "number": ""}
    kind = _NAMES.get(destination.kind)
    return f"{marks[kind]}{destination.value}" if kind else destination.dialled
