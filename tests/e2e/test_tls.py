"""The same call when every service has a certificate: the Manager's machine with mutual TLS switched on."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import ssl
from pathlib import Path

import pytest
from teletrunk_sandbox.demo import to_sip
from teletrunk_sandbox.world import World

from tests.former_worker import former_worker
from tests.papers import Papers

from .conftest import FRIEND, GATEWAY

pytestmark = pytest.mark.e2e


async def test_a_call_through_mutual_tls_and_an_account_for_one_worker_only(tmp_path: Path) -> None:
    certificate = str(Papers.made(tmp_path / "papers").file("worker", "127.0.0.1"))
    sip = {"TELETRUNK_SIP_TLS_ADDRESS": "127.0.0.1:0", "TELETRUNK_SIP_TLS_CERTIFICATE": certificate}
    async with World(tmp_path, TELETRUNK_TLS="true", **sip) as world:
        account = await world.add_account(GATEWAY, "gateway")
        trunk = await world.add_trunk(GATEWAY)
        host, _, port = trunk.trunk.sip_tls_address.rpartition(":")
        shown = ssl.get_server_certificate((host, int(port)), timeout=5)
        assert shown.strip() in Path(certificate).read_text(), "what the trunk's card says is where SIP is taken by TLS"
        Path(certificate).write_text(Papers.made(tmp_path / "new").file("worker", "127.0.0.1").read_text())
        await world.active(account.account_id)
        await world.subscribers.tell("user", phone=FRIEND, first_name="Friend", username="friend")
        await world.subscribers.tell("behave", phone=FRIEND, on_call="answer", play={"hz": 620.0})
        phone = await world.phone(trunk)
        call = (await phone.tell("call", to="@friend", play={"hz": 440.0}))["call"]
        await phone.wait("established", call=call)
        await asyncio.sleep(3)  # the talking itself: there is no event to wait for
        assert (await phone.tell("heard", call=call))["hz"] == pytest.approx(620.0, abs=6.0)
        assert (await world.subscribers.tell("heard", phone=FRIEND))["hz"] == pytest.approx(440.0, abs=6.0)
        await phone.tell("hangup", call=call)
        await phone.wait("ended", call=call)
        first = await world.record()
        assert first.sip_status == 200
        back, _ = await to_sip(world, phone, tmp_path, besides=[first.call_id])

        async with asyncio.timeout(20):  # it is looked at every ten seconds
            while ssl.get_server_certificate((host, int(port)), timeout=5) == shown:
                await asyncio.sleep(0.2)
        renewed = ssl.get_server_certificate((host, int(port)), timeout=5)
        assert renewed.strip() in Path(certificate).read_text(), "a renewed certificate is taken without a restart"

        await world.command("worker", "assign", GATEWAY, former_worker(tmp_path / "data", "anotherworker"))
        call = (await phone.tell("call", to="@friend"))["call"]
        ended = await phone.wait("ended", call=call)
        assert ended["status"] == 403 and ended["phrase"].startswith("Access to the session is revoked")
        refused = await world.record(besides=[first.call_id, back.call_id])
        assert refused.error_id == "session-access-revoked" and not refused.HasField("route_proof")
        with contextlib.closing(sqlite3.connect(world.directory / "data" / "manager.db")) as database:
            routed = dict(database.execute("SELECT call_id, routed FROM calls").fetchall())
        assert routed == {first.call_id: 1, back.call_id: 1, refused.call_id: 0}, "the Manager's mark came back"
