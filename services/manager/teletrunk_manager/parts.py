"""What a stream was told of its service's configuration, and how it is told what is new: in messages of which none is
larger than gRPC takes, however many trunks there are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import structlog
from teletrunk import changes
from teletrunk.changes import CONFIGURATION, Change, Lists, size_of
from teletrunk.channel import LARGEST_MESSAGE
from teletrunk.v1 import manager_pb2 as pb

log = structlog.get_logger()

_PART_BYTES: Final = 256 << 10  # read by a Worker in a moment: calls wait meanwhile
_MOST_BYTES: Final = LARGEST_MESSAGE[1] - 1_024


_LISTS: Final = {**CONFIGURATION, "trunks": "trunk_id"}


class Told:
    """To one service, in one stream."""

    def __init__(self, *, in_parts: bool = False) -> None:
        self._in_parts = in_parts
        self._config: pb.WorkerConfig | pb.StorageConfig | None = None
        self._lists = changes.Told(_LISTS)

    def news(self, config: pb.WorkerConfig | pb.StorageConfig, lists: Lists) -> Iterator[pb.AttachResponse]:
        """The messages that make it know all of this. A Worker's `config` has none of its lists. All of it is kept."""
        change = self._lists.change(lists)
        if self._config == config and not change:
            return
        self._config = config
        if isinstance(config, pb.StorageConfig):
            yield pb.AttachResponse(storage=config)
        elif self._in_parts:
            yield from _in_parts(config, change)
        else:
            yield from _whole(config, lists)


def _in_parts(config: pb.WorkerConfig, change: Change) -> Iterator[pb.AttachResponse]:
    *parts, last = _parts(change)
    for part in parts:
        part.more_follows = True
        yield pb.AttachResponse(worker=part)
    last.MergeFrom(config)
    for name in CONFIGURATION:
        getattr(last, f"gone_{name}").extend(change.gone[name])
    yield pb.AttachResponse(worker=last)


def _parts(change: Change) -> Iterator[pb.WorkerConfig]:
    """At least one."""
    part, size = pb.WorkerConfig(changes_only=True), 0
    for name, entries in change.new.items():
        for entry in entries:
            own = size_of(entry)
            if size and size + own > _PART_BYTES:
                yield part
                part, size = pb.WorkerConfig(changes_only=True), 0
            getattr(part, name).append(entry)
            size += own
    yield part


def _whole(config: pb.WorkerConfig, lists: Lists) -> Iterator[pb.AttachResponse]:
    whole = pb.WorkerConfig()
    whole.MergeFrom(config)
    for name, entries in lists.items():
        getattr(whole, name).extend(entries)
    if whole.ByteSize() > _MOST_BYTES:  # it would end the stream, again and again
        log.error("a Worker's configuration is too large for one message: update the Worker", trunks=len(whole.trunks))
        return
    yield pb.AttachResponse(worker=whole)
