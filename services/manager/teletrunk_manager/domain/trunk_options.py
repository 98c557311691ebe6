"""A trunk's options: what is given is brought into the form in which it is kept, or refused. Pure.

Each option has one rule here, by its field's name in trunk.proto; whoever adds an option adds its rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final

from google.protobuf import json_format
from teletrunk.v1 import trunk_pb2 as pb

TRANSPORTS: Final = ("udp", "tcp", "tls")
PTIMES_MS: Final = (10, 20, 30, 40, 50, 60)


def written(options: pb.TrunkOptions) -> str:
    """As it is kept: readable in the database and in the list of changes."""
    return json_format.MessageToJson(options, preserving_proto_field_name=True, indent=None)


@lru_cache(maxsize=20_000)
def read(text: str) -> pb.TrunkOptions:
    """Not to be changed: it is kept. What a newer Manager has written and this one does not know is left out."""
    return json_format.Parse(text, pb.TrunkOptions(), ignore_unknown_fields=True)


def changed(before: pb.TrunkOptions, given: pb.TrunkOptions, names: Iterable[str]) -> pb.TrunkOptions:
    """`before` with those of `given` that are named. Raises `ValueError` with what to do."""
    after = pb.TrunkOptions()
    after.CopyFrom(before)
    for name in names:
        if name not in _RULES:
            raise ValueError(f"there is no trunk option {name}: there are {', '.join(sorted(_RULES))}")
        after.ClearField(name)  # type: ignore[arg-type]  # a name out of the message's own
        after.MergeFrom(_only(given, name))
        _RULES[name](after)
    return after


def checked(given: pb.TrunkOptions) -> pb.TrunkOptions:
    """Those of a new trunk. Raises `ValueError`."""
    return changed(pb.TrunkOptions(), given, [field.name for field, _ in given.ListFields()])


def _only(given: pb.TrunkOptions, name: str) -> pb.TrunkOptions:
    one = pb.TrunkOptions()
    for field, value in given.ListFields():
        if field.name == name:
            one.MergeFrom(pb.TrunkOptions(**{name: value}))
    return one


def _as_it_is(options: pb.TrunkOptions) -> None:
    pass


def _transports(options: pb.TrunkOptions) -> None:
    wanted = list(dict.fromkeys(transport.strip().lower() for transport in options.transports))
    if unknown := sorted(set(wanted) - set(TRANSPORTS)):
        raise ValueError(f"unknown transport {', '.join(unknown)}: there are {', '.join(TRANSPORTS)}")
    options.transports[:] = wanted


def _ptime(options: pb.TrunkOptions) -> None:
    if options.ptime_ms and options.ptime_ms not in PTIMES_MS:
        raise ValueError(f"{options.ptime_ms} ms is no length for a packet: use {', '.join(map(str, PTIMES_MS))}, or 0")


_RULES: Final[dict[str, Callable[[pb.TrunkOptions], None]]] = {
    "kind": _as_it_is,
    "off": _as_it_is,
    "transports": _transports,
    "dtmf": _as_it_is,
    "ptime_ms": _ptime,
    "srtp": _as_it_is,
    "hold": _as_it_is,
}
