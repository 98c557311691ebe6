"""What a stream was told of its service's configuration, and how it is told what is new: in messages of which none is
larger than gRPC takes, however many trunks there are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import structlog
from teletrunk import changes
from teletrunk.changes import STORAGES, WORKERS, Change, Lists, size_of
from teletrunk.channel import LARGEST_MESSAGE
from teletrunk.v1 import manager_pb2 as pb

log = structlog.get_logger()

_PART_BYTES: Final = 256 << 10  # read by a Worker in a moment: calls wait meanwhile
_MOST_BYTES: Final = LARGEST_MESSAGE[1] - 1_024


# The settings of a trunk go with its id.
_LISTS: Final = {**WORKERS, "trunks": "trunk_id", **STORAGES, "grants": "worker_id"}
Configuration = pb.WorkerConfig | pb.StorageConfig


class Told:
    """To one service, in one stream."""

    def __init__(self, *, in_parts: bool = False) -> None:
        self.in_parts = in_parts
        self._config: Configuration | None = None
        self._lists = changes.Told(_LISTS)

    def news(self, config: Configuration, lists: Lists) -> Iterator[pb.AttachResponse]:
        """The messages that make it know all of this. `config` has none of these lists. All of it is kept."""
        change = self._lists.change(lists)
        if self._config == config and not change:
            return
        self._config = config
        for message in _in_parts(config, change) if self.in_parts else _whole(config, lists):
            if isinstance(message, pb.WorkerConfig):
                yield pb.AttachResponse(worker=message)
            else:
                yield pb.AttachResponse(storage=message)


def _in_parts(config: Configuration, change: Change) -> Iterator[Configuration]:
    *parts, last = _parts(type(config), change)
    for part in parts:
        part.more_follows = True
        yield part
    last.MergeFrom(config)
    for name in WORKERS if isinstance(last, pb.WorkerConfig) else STORAGES:
        getattr(last, f"gone_{name}").extend(change.gone[name])
    yield last


def _parts(kind: type[Configuration], change: Change) -> Iterator[Any]:
    """At least one."""
    part, size = kind(changes_only=True), 0
    for name, entries in change.new.items():
        for entry in entries:
            own = size_of(entry)
            if size and size + own > _PART_BYTES:
                yield part
                part, size = kind(changes_only=True), 0
            getattr(part, name).append(entry)
            size += own
    yield part


def _whole(config: Configuration, lists: Lists) -> Iterator[Configuration]:
    whole: Any = type(config)()
    whole.MergeFrom(config)
    for name, entries in lists.items():
        getattr(whole, name).extend(entries)
    if whole.ByteSize() <= _MOST_BYTES:
        yield whole
    else:  # it would end the stream, again and again
        kind = "worker" if isinstance(whole, pb.WorkerConfig) else "storage"
        log.error("a configuration is too large for one message: update the services", kind=kind)
