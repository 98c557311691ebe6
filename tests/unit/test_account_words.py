"""How the command names the state of an account."""

from __future__ import annotations

from teletrunk.cli.account import state_of
from teletrunk.v1 import admin_pb2 as pb
from teletrunk.v1 import manager_pb2
from teletrunk_session_store.vault.adoption import REASONS


def test_an_account_that_waits_for_a_person_does_not_connect() -> None:
    account = pb.Account(state=manager_pb2.SESSION_STATE_CONNECTING)
    assert state_of(account) == "connecting"
    for reason in REASONS:
        account.reason = reason
        assert state_of(account) == f"held back ({reason})"
