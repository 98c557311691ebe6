"""Lists of which a stream carries what has changed: who sends and who hears keep the same picture of them.

A message `m` has a list `m.calls` and beside it `m.gone_calls`, the ids of those that are there no longer. With
`m.changes_only` the lists have what is new or another; without it they have all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

from google.protobuf.message import Message

from teletrunk.v1 import manager_pb2 as pb

Keys = Mapping[str, str]  # by a list's name: by which of its fields an entry is known; none: the entry is a name itself
Lists = Mapping[str, Iterable[Any]]
AnyMessage = TypeVar("AnyMessage", bound=Message)

HEARTBEAT: Final[Keys] = {
    "sessions": "session_id",
    "lines": "call_id",
    "registered_trunk_ids": "",
    "trunk_states": "trunk_id",
    "calls": "call_id",
}
WORKERS: Final[Keys] = {"sessions": "session_id", "trunk_ids": "", "bans": "network"}  # configurations
STORAGES: Final[Keys] = {"worker_ids": "", "sessions": "session_id"}


@dataclass(frozen=True)
class Change:
    new: dict[str, list[Any]]  # and others than they were
    gone: dict[str, list[str]]

    @property
    def names(self) -> set[str]:
        """Of the lists that are others now."""
        return {name for lists in (self.new, self.gone) for name, entries in lists.items() if entries}

    def __bool__(self) -> bool:
        return bool(self.names)


class Told:
    """The sender's picture."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._lists: dict[str, dict[str, Any]] = {name: {} for name in keys}

    def change(self, lists: Lists) -> Change:
        """What makes the other side know all of these; a list that is not named is empty. Entries are kept."""
        new, gone = {}, {}
        for name, key in self._keys.items():
            known, now = self._lists[name], _by_key(lists.get(name, ()), key)
            new[name] = [each for id_, each in now.items() if (was := known.get(id_)) is not each and was != each]
            gone[name] = [id_ for id_ in known if id_ not in now]
            self._lists[name] = now
        return Change(new, gone)


class Heard:
    """The hearer's picture. What goes past its bounds is not taken: who says so much may be anybody."""

    def __init__(self, keys: Keys, most: Mapping[str, int] | None = None, most_bytes: float = math.inf) -> None:
        self._keys = keys
        self._most = most or {}
        self._room = most_bytes
        self._copies: dict[str, Any] = {}  # messages, of which each has one of the lists
        self.lists: dict[str, dict[str, Any]] = {name: {} for name in keys}

    def take(self, message: Any) -> Change:
        """Returns what it has changed."""
        new, gone = {}, {}
        for name, key in self._keys.items():
            new[name], gone[name] = self._take(name, key, message)
        return Change(new, gone)

    def whole(self, message: AnyMessage) -> AnyMessage:
        """The same one, with all of the lists."""
        for copy in self._copies.values():
            message.MergeFrom(copy)
        return message

    def _take(self, name: str, key: str, message: Any) -> tuple[list[Any], list[str]]:
        known, said = self.lists[name], _by_key(getattr(message, name), key)
        gone = getattr(message, f"gone_{name}") if message.changes_only else known.keys() - said.keys()
        gone = [id_ for id_ in dict.fromkeys(gone) if id_ in known]
        fresh = [id_ for id_, each in said.items() if known.get(id_) != each]
        if not gone and not fresh:
            return [], []
        now = dict(known)
        for id_ in gone:
            self._room += size_of(now.pop(id_))
        taken = [said[id_] for id_ in fresh if self._put(name, now, id_, said[id_])]
        # A copy: one entry that is kept would keep the whole message that it came in.
        copy = self._copies[name] = type(message)()
        getattr(copy, name).extend(now.values())
        self.lists[name] = dict(zip(now, getattr(copy, name), strict=True))
        return taken, gone

    def _put(self, name: str, now: dict[str, Any], id_: str, entry: Any) -> bool:
        room = self._room - size_of(entry) + (size_of(now[id_]) if id_ in now else 0)
        if room < 0 or (id_ not in now and len(now) >= self._most.get(name, math.inf)):
            return False
        self._room, now[id_] = room, entry
        return True


class Beats:
    """The heartbeats of one stream: the first has all, and those that follow what has changed, if the Manager can."""

    def __init__(self) -> None:
        self._told = Told(HEARTBEAT)
        self._takes_changes = False

    def answered(self, pulse: pb.Pulse) -> None:
        self._takes_changes = pulse.takes_changes

    def next(self, heartbeat: pb.Heartbeat, lists: Lists) -> pb.Heartbeat:
        """`heartbeat` has none of its lists yet."""
        if not self._takes_changes:
            self._told = Told(HEARTBEAT)
        heartbeat.changes_only = self._takes_changes
        put(self._told.change(lists), heartbeat)
        return heartbeat


def put(change: Change, message: Any) -> None:
    for name, entries in change.new.items():
        getattr(message, name).extend(entries)
    for name, ids in change.gone.items():
        getattr(message, f"gone_{name}").extend(ids)


def joined(messages: Sequence[AnyMessage], keys: Keys) -> AnyMessage:
    """One that says the same as these one after the other: whoever hears them looks through all it knows but once."""
    last: Any = type(messages[-1])()
    last.CopyFrom(messages[-1])
    for name, key in keys.items():
        now: dict[str, Any] = {}
        gone: dict[str, None] = {}
        for message in messages:
            for id_ in getattr(message, f"gone_{name}"):
                now.pop(id_, None)
                gone[id_] = None
            for id_, entry in _by_key(getattr(message, name), key).items():
                now[id_] = entry
                gone.pop(id_, None)
        last.ClearField(name), last.ClearField(f"gone_{name}")
        getattr(last, name).extend(now.values())
        getattr(last, f"gone_{name}").extend(gone)
    last.changes_only = cast(Any, messages[0]).changes_only
    return cast(AnyMessage, last)


def _by_key(entries: Iterable[Any], key: str) -> dict[str, Any]:
    return {getattr(each, key) if key else each: each for each in entries}


def size_of(entry: Any) -> int:
    return len(entry) if isinstance(entry, str) else entry.ByteSize()
