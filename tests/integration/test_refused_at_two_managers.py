"""Two Managers write down what one scanner tries at both."""

from __future__ import annotations

import asyncio

from teletrunk.errors import Refusal
from teletrunk.v1 import manager_pb2
from teletrunk_manager.db.database import Database
from teletrunk_manager.refused_registrations import MOST_UNKNOWN, RefusedRegistrations, unknown_logins

ROUNDS = 5


async def test_none_waits_for_the_other_and_nothing_is_lost(database: Database) -> None:
    """In opposite order, as two Workers may tell it: PostgreSQL called that a deadlock."""
    one, other = RefusedRegistrations(database), RefusedRegistrations(database)
    logins = [f"login{number:02}" for number in range(MOST_UNKNOWN)]
    for _ in range(ROUNDS):
        for manager, order in ((one, logins), (other, logins[::-1])):
            for login in order:
                refused = manager_pb2.RefusedAtEdge(
                    login=login, source_address="192.0.2.1", error_id="login-not-found", count=1
                )
                manager.note_many("w", refused)
        await asyncio.gather(one.write(), other.write())
    async with database.transaction(reading=True) as session:
        found = await unknown_logins(session)
    assert {login.login: login.count for login in found} == dict.fromkeys(logins, 2 * ROUNDS)


async def test_the_latest_are_kept(database: Database) -> None:
    manager = RefusedRegistrations(database)
    for number in range(3 * MOST_UNKNOWN):
        manager.note(f"login{number:02}", "192.0.2.1", "w", Refusal("login-not-found"))
        if number % 10 == 9:
            await manager.write()
    async with database.transaction(reading=True) as session:
        found = {login.login for login in await unknown_logins(session)}
    assert found == {f"login{number:02}" for number in range(2 * MOST_UNKNOWN, 3 * MOST_UNKNOWN)}
