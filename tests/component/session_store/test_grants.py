"""Which Worker may use which session, by the words of this version's Manager and of the version before."""

from __future__ import annotations

from teletrunk.changes import STORAGES, Heard
from teletrunk.v1 import manager_pb2 as pb
from teletrunk_session_store.grants import Grants, by_session

OLDER = pb.StorageConfig(
    grants=[
        pb.WorkerGrant(worker_id="w1", session_ids=["everybody's", "w1's"]),
        pb.WorkerGrant(worker_id="w2", session_ids=["everybody's"]),
    ]
)
NEWER = pb.StorageConfig(
    changes_only=True,
    worker_ids=["w1", "w2"],
    sessions=[
        pb.SessionGrant(session_id="everybody's"),
        pb.SessionGrant(session_id="w1's", worker_ids=["w1"]),
        pb.SessionGrant(session_id="a revoked one's", worker_ids=["w3"]),
    ],
)


def allowed(*said: pb.StorageConfig) -> set[tuple[str, str]]:
    heard, grants = Heard(STORAGES), Grants()
    for config in said:
        heard.take(config)
        grants.take(heard.lists["worker_ids"], heard.lists["sessions"])
    sessions = "everybody's", "w1's", "a revoked one's", "unknown"
    return {(worker, one) for worker in ("w1", "w2", "w3") for one in sessions if grants.may_use(worker, one)}


def test_both_versions_mean_the_same() -> None:
    theirs = {("w1", "everybody's"), ("w1", "w1's"), ("w2", "everybody's")}
    assert allowed(NEWER) == allowed(by_session(OLDER)) == theirs
    assert allowed() == allowed(pb.StorageConfig()) == set()


def test_what_is_taken_away_is_gone() -> None:
    revoked = pb.StorageConfig(changes_only=True, gone_worker_ids=["w1"])
    assert allowed(NEWER, revoked) == {("w2", "everybody's")}
    removed = pb.StorageConfig(changes_only=True, gone_sessions=["everybody's"])
    assert allowed(NEWER, removed) == {("w1", "w1's")}
    withdrawn = pb.StorageConfig(
        changes_only=True, sessions=[pb.SessionGrant(session_id="everybody's", worker_ids=["w2"])]
    )
    assert allowed(NEWER, withdrawn) == {("w1", "w1's"), ("w2", "everybody's")}
