"""What services are told of a change, counted: as much with ten thousand accounts, trunks and bans as with one."""

from __future__ import annotations

from typing import Any

import pytest
from teletrunk.v1 import manager_pb2 as pb
from teletrunk_manager.parts import Told


def told(stream: Told, config: pb.WorkerConfig | pb.StorageConfig, lists: dict[str, list[Any]]) -> list[int]:
    """The sizes of the messages."""
    return [message.ByteSize() for message in stream.news(config, lists)]


def of_worker(count: int) -> dict[str, list[Any]]:
    ids = [f"{number:012x}" for number in range(count)]
    return {
        "sessions": [
            pb.SessionAssignment(session_id=f"storage-1/{id_}", account_id=id_, storage_address="a") for id_ in ids
        ],
        "trunk_ids": ids,
        "bans": [pb.Ban(network=f"2001:db8:{number:04x}::/64", until=4e9, times=1) for number in range(count)],
        "trunks": [pb.TrunkSettings(trunk_id=id_, login=id_, codecs=["PCMA"]) for id_ in ids],
    }


def of_storage(count: int) -> dict[str, list[Any]]:
    sessions = [pb.SessionGrant(session_id=f"storage-1/{number:012x}") for number in range(count)]
    return {"worker_ids": [f"worker-{number:04}" for number in range(count // 100)], "sessions": sessions}


@pytest.mark.parametrize("count", [1, 10_000])
def test_a_worker_is_told_of_a_change_as_much_as_it_is(count: int) -> None:
    stream = Told(in_parts=True)
    first = told(stream, pb.WorkerConfig(), of_worker(count))
    assert max(first) < 300_000 and len(first) == (1 if count == 1 else 5)
    assert told(stream, pb.WorkerConfig(), of_worker(count)) == []
    assert told(stream, pb.WorkerConfig(draining=True), of_worker(count)) == [6]
    for name, bytes_ in (("sessions", 47), ("trunk_ids", 18), ("bans", 37), ("trunks", 40)):
        more = of_worker(count)
        more[name].append(of_worker(count + 1)[name][-1])
        assert told(stream, pb.WorkerConfig(), more) == [bytes_], name
        told(stream, pb.WorkerConfig(), of_worker(count))
    fewer = of_worker(count)
    fewer["sessions"].pop()
    assert told(stream, pb.WorkerConfig(), fewer) == [28]


@pytest.mark.parametrize("count", [1, 10_000])
def test_a_storage_is_told_of_a_change_as_much_as_it_is(count: int) -> None:
    stream = Told(in_parts=True)
    assert max(told(stream, pb.StorageConfig(), of_storage(count))) < 300_000
    more = of_storage(count + 1)
    assert told(stream, pb.StorageConfig(), more) == [30]
    more["sessions"][0] = pb.SessionGrant(session_id=more["sessions"][0].session_id, worker_ids=["worker-0001"])
    assert told(stream, pb.StorageConfig(), more) == [43]


def test_a_service_that_takes_no_parts_is_told_all_while_it_fits() -> None:
    stream = Told()
    (all_,) = stream.news(pb.WorkerConfig(), of_worker(3))
    assert not all_.worker.changes_only and len(all_.worker.sessions) == len(all_.worker.trunks) == 3
    many = [pb.WorkerGrant(worker_id=f"w{number}", session_ids=["s" * 20] * 10_000) for number in range(30)]
    assert told(Told(), pb.StorageConfig(), {"grants": many}) == [], "it would end the stream, again and again"
