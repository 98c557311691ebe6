"""What a Worker keeps: who it is, the bindings of its PBXs, and the records of calls that no Manager has yet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from teletrunk.backup.part import Part
from teletrunk.config import load

from teletrunk_worker.config import WorkerSettings

_RECORDS = ("records", "records/open")


def part() -> Part:
    """Of this machine's settings. Raises `ConfigurationError`."""
    return WorkerPart(load(WorkerSettings))


class WorkerPart(Part):
    def __init__(self, settings: WorkerSettings) -> None:
        own = ("secrets/cluster.token", "secrets/worker.id", "bindings.jsonl")
        names = (*own, "identity/worker/service.pem", "identity/worker/authority.pem")
        paths = {name: settings.data / name for name in names}
        super().__init__("worker", paths, settings.given_token(), ("secrets/worker.id",))
        self._data = settings.data

    def files(self) -> Iterator[tuple[str, bytes]]:
        yield from super().files()
        for directory in _RECORDS:
            for path in sorted((self._data / directory).glob("*.json")):
                try:
                    yield f"{directory}/{path.name}", path.read_bytes()
                except FileNotFoundError:  # the Manager has it by now
                    continue

    def place(self, name: str) -> Path | None:
        path = PurePosixPath(name)
        is_record = str(path.parent) in _RECORDS and path.suffix == ".json"
        return self._data / path if is_record else super().place(name)
