"""A row of the vault says whose session it is, in clear: nobody makes it another user's."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3

import pytest
from teletrunk.v1 import manager_pb2

from .storage import PATIENCE_S, Storage

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_row_whose_user_was_changed_is_not_run(store: Storage) -> None:
    _, session_id = await store.account()
    await store.kill()

    def belongs_to(change: int) -> None:
        with contextlib.closing(sqlite3.connect(store.directory / "data" / "vault.db")) as connection, connection:
            question = "UPDATE sessions SET user_id = user_id + ? WHERE session_id = ?"
            assert connection.execute(question, (change, session_id)).rowcount == 1

    belongs_to(1)
    await store.start()
    async with asyncio.timeout(PATIENCE_S):
        while '"error": "WrongKey"' not in store.said():
            await asyncio.sleep(0.05)
    report = await store.report(session_id)
    assert report is not None and report.state == manager_pb2.SESSION_STATE_CONNECTING
    await store.kill()
    belongs_to(-1)
    await store.start()
    await store.active(session_id)
