"""What a stream was told of its service's configuration, and how it is told what is new: in messages of which none is
larger than gRPC takes, however many trunks there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import structlog
from teletrunk.channel import LARGEST_MESSAGE
from teletrunk.v1 import manager_pb2 as pb

log = structlog.get_logger()

_PART_BYTES: Final = 256 << 10  # read by a Worker in a moment: calls wait meanwhile
_MOST_BYTES: Final = LARGEST_MESSAGE[1] - 1_024


class Told:
    """To one service, in one stream."""

    def __init__(self, *, in_parts: bool = False) -> None:
        self._in_parts = in_parts
        self._config: pb.WorkerConfig | pb.StorageConfig | None = None
        self._trunks: dict[str, pb.TrunkSettings] = {}

    def news(
        self, config: pb.WorkerConfig | pb.StorageConfig, trunks: Iterable[pb.TrunkSettings]
    ) -> Iterator[pb.AttachResponse]:
        """The messages that make it know all of this. `config` has no trunks; it is kept."""
        current = {settings.trunk_id: settings for settings in trunks}
        known = self._trunks
        changed = [each for id_, each in current.items() if (was := known.get(id_)) is not each and was != each]
        gone = self._trunks.keys() - current.keys()
        if self._config == config and not changed and not gone:
            return
        self._config, self._trunks = config, current
        if isinstance(config, pb.StorageConfig):
            yield pb.AttachResponse(storage=config)
            return
        parts = list(_parts(changed)) if self._in_parts else [list(current.values())]
        for part in parts[:-1]:
            yield pb.AttachResponse(worker=pb.WorkerConfig(trunks=part, more_follows=True))
        last = pb.WorkerConfig(trunks=parts[-1] if parts else ())
        last.MergeFrom(config)
        if last.ByteSize() > _MOST_BYTES:  # it would end the stream, again and again
            log.error("a Worker's configuration is too large for one message: update the Worker", trunks=len(current))
            return
        yield pb.AttachResponse(worker=last)


def _parts(trunks: Iterable[pb.TrunkSettings]) -> Iterator[list[pb.TrunkSettings]]:
    part: list[pb.TrunkSettings] = []
    size = 0
    for settings in trunks:
        own = settings.ByteSize()
        if part and size + own > _PART_BYTES:
            yield part
            part, size = [], 0
        part.append(settings)
        size += own
    if part:
        yield part
