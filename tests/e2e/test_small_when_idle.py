"""What an idle installation has in memory: nobody has loaded what only others, or other settings, use."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from teletrunk_sandbox.world import World

from .conftest import FRIEND, GATEWAY

pytestmark = pytest.mark.e2e

# Python imports this at every start that finds it. It writes down what is loaded, for as long as the process lives.
_WITNESS = """
import sys, threading, time
from pathlib import Path

def _tell():
    while True:
        time.sleep(0.2)
        file = Path(__file__).with_name(Path(sys.argv[0]).parent.name)
        fresh = file.with_suffix(".new")
        fresh.write_text("\\n".join(list(sys.modules)))
        fresh.rename(file)

threading.Thread(target=_tell, daemon=True).start()
"""
_SERVED = ("uvicorn", "starlette", "fastapi", "prometheus_client.exposition", "http.server")
_PEOPLE = ("rich", "typer", "httpx")
_CERTIFICATES = ("cryptography.x509", "teletrunk.papers", "teletrunk_manager.authority")
_UNUSED = {
    "teletrunk_manager": (*_SERVED, *_PEOPLE, *_CERTIFICATES, "asyncpg", "redis"),
    "teletrunk_session_store": (*_SERVED, *_PEOPLE, *_CERTIFICATES, "asyncpg", "sqlalchemy.orm"),
    "teletrunk_worker": (*_SERVED, *_PEOPLE, "cryptography", "dns.resolver", "teletrunk.papers", "sqlalchemy"),
}
_MOST_OF_KURIGRAM = 800  # modules, of 5,000
_OF_CALLS = re.compile(r"^teletrunk|^dns|^phonenumbers|^sqlalchemy|^pyrogram\.raw\.\w+\.(phone|update_phone)")
_OF_PARTS = {
    "teletrunk_manager.__main__": ("phonenumbers", "alembic"),
    "teletrunk_worker.legs.sip_host": ("asyncio", "ssl", "logging", "dataclasses", "pydantic", "grpc", "structlog"),
    "teletrunk_worker.legs.telegram_host": ("ssl", "pydantic", "grpc", "structlog", "pjsua2"),
    "teletrunk_session_store.vault.store": ("sqlalchemy.dialects.postgresql", "alembic"),
}


async def loaded(witness: Path) -> dict[str, set[str]]:
    """What each service has loaded now."""
    since, found = time.time(), {}
    async with asyncio.timeout(60):
        for package in _UNUSED:
            while (file := witness / package).stat().st_mtime <= since:
                await asyncio.sleep(0.1)
            found[package] = set(file.read_text().splitlines())
    return found


async def test_a_service_has_loaded_what_it_uses_before_the_first_call(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    witness.mkdir()
    (witness / "sitecustomize.py").write_text(_WITNESS)
    async with World(tmp_path, PYTHONPATH=str(witness)) as world:
        account = await world.add_account(GATEWAY, "gateway")
        trunk = await world.add_trunk(GATEWAY)
        await world.subscribers.tell("user", phone=FRIEND, first_name="Friend")
        await world.subscribers.tell("behave", phone=FRIEND, on_call="answer", delay_s=0)
        phone = await world.phone(trunk)
        await world.active(account.account_id)
        idle = await loaded(witness)
        call = (await phone.tell("call", to=FRIEND))["call"]
        await phone.wait("established", call=call)
        await phone.tell("hangup", call=call)
        await world.record()
        after = await loaded(witness)
    for package, unused in _UNUSED.items():
        assert (package, sorted(idle[package] & set(unused))) == (package, [])
        assert (package, sorted(filter(_OF_CALLS.search, after[package] - idle[package]))) == (package, [])
    assert sum(name.startswith("pyrogram.") for name in idle["teletrunk_session_store"]) < _MOST_OF_KURIGRAM


@pytest.mark.parametrize("part", _OF_PARTS)
def test_a_part_has_loaded_what_it_uses(part: str) -> None:
    asked = f"import sys, {part}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", asked], capture_output=True, text=True, check=True, timeout=60)
    assert sorted(set(_OF_PARTS[part]) & set(done.stdout.split())) == []
