"""Canaries: what must stay secret is looked for in everything that the services say while they are used."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
from teletrunk.v1 import admin_pb2
from teletrunk_sandbox.world import World
from teletrunk_session_store.vault.seal import Seal
from teletrunk_session_store.vault.store import Vault

from tests import sip_wire
from tests.conformance.gateway import Gateway

from .test_watching import Collector

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]
PHONE, TWO_STEP = "+79990000009", "canary-two-step-password"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def collector() -> AsyncIterator[Collector]:
    collector = Collector()
    await collector.server.start()
    yield collector
    await collector.server.stop(0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> AsyncIterator[Gateway]:
    directory: Path = tmp_path_factory.mktemp("canaries")
    settings = {
        "TELETRUNK_LOG_LEVEL": "DEBUG",
        "TELETRUNK_LOG_FORMAT": "json",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.port}",
        "OTEL_EXPORTER_OTLP_INSECURE": "true",
    }
    async with World(directory, **settings) as world, sip_wire.udp(("127.0.0.1", world.sip_port)) as wire:
        gateway = Gateway(world, wire)
        await gateway.furnish()
        yield gateway


async def used(gateway: Gateway) -> dict[str, bytes]:
    """Uses every secret once, well and badly; returns them by name."""
    world, wire, login = gateway.world, gateway.wire, gateway.trunk.login
    await world.add_account(PHONE, "careful", password=TWO_STEP)
    token = await world.admin.AddToken(admin_pb2.AddTokenRequest(name="canary", role="owner"))
    hook = await world.admin.AddWebhook(admin_pb2.AddWebhookRequest(url="http://127.0.0.1:9/hook"))
    old = gateway.password
    gateway.password = (await world.admin.ResetTrunkPassword(admin_pb2.ResetTrunkPasswordRequest(trunk=login))).password
    assert (await wire.register(login, old)).final.code == 403
    await gateway.back_in_service()
    secrets = world.directory / "data" / "secrets"
    found = {
        "trunk's password": gateway.password.encode(),
        "trunk's old password": old.encode(),
        "two-step password": TWO_STEP.encode(),
        "REST token": token.secret.encode(),
        "webhook's secret": hook.secret.encode(),
        **{file.name: file.read_bytes().strip() for file in secrets.iterdir() if file.suffix in (".key", ".token")},
    }
    vault = Vault(
        f"sqlite+aiosqlite:///{world.directory / 'data' / 'vault.db'}", Seal(base64.b64decode(found["vault.key"]))
    )
    await vault.open()
    for session_id in await vault.session_ids():
        found[f"session {session_id}"] = (await vault.get_session(session_id)).encode()
    await vault.close()
    return found


def forms(secret: bytes) -> set[bytes]:
    """As it is, and as programs like to print it."""
    plain = {secret, secret.hex().encode(), base64.b64encode(secret).rstrip(b"="), repr(secret)[2:-1].encode()}
    return plain | {base64.urlsafe_b64encode(secret).rstrip(b"=")}


async def test_no_log_trace_record_or_process_list_shows_a_secret(gateway: Gateway, collector: Collector) -> None:
    secrets = await used(gateway)
    world = gateway.world
    said = {file.name: file.read_bytes() for file in (world.directory / "data" / "logs").glob("*.log")}
    said["phones and subscribers"] = b"".join(file.read_bytes() for file in world.directory.glob("*.log"))
    for process in psutil.Process().children(recursive=True):
        said[f"command line of {process.pid}"] = " ".join(process.cmdline()).encode()
    said["calls"] = (await world.command("call", "export", "--format", "json")).encode()
    said["changes"] = (await world.command("changes", "--json")).encode()
    said["everything listed"] = (
        await world.command("account", "list", "--json")
        + await world.command("trunk", "list", "--json")
        + await world.command("token", "list", "--json")
        + await world.command("webhook", "list", "--json")
    ).encode()
    async with asyncio.timeout(15):
        while not any(("teletrunk-worker", "call") in spans for spans in collector.spans.values()):
            await asyncio.sleep(0.1)
    said["traces"] = collector.told
    assert len(said["worker.log"]) > 1000 and b'"level"' in said["worker.log"], "there is something to look at"
    told = {
        (name, where) for where, text in said.items() for name, secret in secrets.items()
        if any(form in text for form in forms(secret))
    }  # fmt: skip
    assert told == set()
    assert len(secrets) >= 9


async def test_what_is_secret_lies_in_files_that_only_the_owner_reads(gateway: Gateway) -> None:
    data = gateway.world.directory / "data"
    for file in [data / "manager.db", data / "vault.db", *(data / "secrets").iterdir()]:
        assert file.stat().st_mode & 0o077 == 0, file
