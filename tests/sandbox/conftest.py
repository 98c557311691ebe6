"""A data centre for the tests of this directory, and the people in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pyrogram import Client
from teletrunk_sandbox.control import SandboxControl

from tests.sandbox.dc_world import Dc, Person, PersonFactory, leave, new_client, new_phone, sign_in


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # kurigram writes unknown_errors.txt where it runs


@pytest.fixture(scope="session")
def dc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dc]:
    running = Dc.start(tmp_path_factory.mktemp("dc"))
    yield running
    running.stop()


@pytest_asyncio.fixture
async def control(dc: Dc) -> AsyncIterator[SandboxControl]:
    async with dc.control() as channel:
        yield channel


@pytest.fixture
def phone() -> str:
    return new_phone()


@pytest_asyncio.fixture
async def client(dc: Dc) -> AsyncIterator[Client]:
    """A client that is connected and signed in nowhere."""
    made = new_client(dc)
    await made.connect()
    yield made
    await made.disconnect()


@pytest_asyncio.fixture
async def person(dc: Dc, control: SandboxControl) -> AsyncIterator[PersonFactory]:
    """Makes signed-in people; with `phone`, a further device of an account."""
    made: list[Person] = []

    async def make(name: str = "Anna", phone: str | None = None, **options: Any) -> Person:
        number = phone or new_phone()
        if phone is None:
            await control.add_user(number, name, **options)
        one = Person(number, new_client(dc))
        made.append(one)
        await one.client.connect()
        await sign_in(one, control)
        await one.listen()
        return one

    yield make
    for one in made:
        await leave(one.client)
