"""Refusals as a PBX reads them: status line, Reason, Warning, Retry-After, from a bare socket."""

from __future__ import annotations

import asyncio
import functools
import json
from typing import Any

import pytest
from teletrunk.errors import TABLE

from tests import sip_wire

from .conftest import FRIEND, GATEWAY, Scene

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]


def carries(exchange: sip_wire.Exchange, row_id: str, detail: str = "") -> None:
    row = TABLE[row_id]
    phrase = f"{row.phrase}{detail}"
    assert exchange.status == (row.sip_status, phrase)
    reasons = exchange.header("Reason")
    assert f'SIP;cause={row.sip_status};text="{phrase}"' in reasons
    assert f"Q.850;cause={row.q850}" in reasons
    assert exchange.header("Warning") == [f'399 teletrunk "{row_id}"']


@pytest.mark.parametrize(
    ("called", "row_id", "detail"),
    [
        ("@nobodyhere", "user-not-found", ""),
        ("0123456", "no-confirmed-contact", ""),
        ("not a number", "user-not-found", ": not a phone, @username or user id"),
    ],
)
async def test_an_invite_that_is_refused(scene: Scene, called: str, row_id: str, detail: str) -> None:
    trunk = scene.trunk
    async with sip_wire.udp(scene.edge) as wire:
        assert (await wire.register(trunk.trunk.login, trunk.password)).status == (200, "OK")
        exchange = await wire.invite(called.replace(" ", "%20"), trunk.trunk.login, trunk.password)
    carries(exchange, row_id, detail)
    assert (await scene.record()).error_id == row_id


async def test_a_call_that_is_refused_at_the_door_has_a_record_if_the_pbx_is_known(scene: Scene) -> None:
    login, password = scene.trunk.trunk.login, scene.trunk.password
    other = await scene.world.add_trunk(GATEWAY)
    async with sip_wire.udp(scene.edge, "127.0.0.71") as wire:
        carries(await wire.invite("@friend", login, "wrong"), "wrong-password")  # nobody knows who that was
        carries(await wire.invite("@friend", other.trunk.login, other.password), "not-registered")
        record = await scene.record()
        assert (record.error_id, record.sip_status, record.called) == ("not-registered", 404, "@friend")
        assert (record.trunk_id, record.caller) == (other.trunk.trunk_id, other.trunk.login)
        assert [leg.trunk_id for leg in record.sip_legs] == [other.trunk.trunk_id]
        assert record.account_id == scene.account.account_id and record.ended_by == "gateway"
        assert [step.text for step in record.steps] == [
            "INVITE @friend",
            "404 SIP account is not registered",
        ]
    await scene.world.remove_trunk(other.trunk.login)
    assert password


@pytest.mark.parametrize("algorithm", ["SHA-256", "MD5"])
async def test_wrong_password_and_unknown_login(scene: Scene, algorithm: str) -> None:
    async with sip_wire.udp(scene.edge) as wire:
        login = scene.trunk.trunk.login
        carries(await wire.authenticated("REGISTER", "", login, "wrong", algorithm), "wrong-password")
        carries(await wire.authenticated("REGISTER", "", "nobody", "wrong", algorithm), "login-not-found")


async def test_refused_registrations_are_shown_with_their_trunk(scene: Scene) -> None:
    trunk = await scene.world.add_trunk(GATEWAY)
    login = trunk.trunk.login
    async with sip_wire.udp(scene.edge, "127.0.0.73") as wire:
        for _ in range(3):
            carries(await wire.register(login, "wrong"), "wrong-password")
    async with asyncio.timeout(15):
        refused: list[dict[str, Any]] = []
        while sum(each["count"] for each in refused) < 3:  # they are written down every two seconds
            await asyncio.sleep(0.2)
            told = json.loads(await scene.world.command("trunk", "show", login, "--json"))
            refused = told.get("refused_registrations", [])
    assert [(each["error_id"], each["source_address"]) for each in refused] == [("wrong-password", "127.0.0.73")]
    assert "wrong-password from 127.0.0.73, 3 times" in await scene.world.command("trunk", "show", login)
    async with sip_wire.udp(scene.edge, "127.0.0.73") as wire, sip_wire.udp(scene.edge, "127.0.0.75") as guesser:
        shown = functools.partial(scene.world.command, "trunk", "show", login)
        carries(await guesser.register(login, "guessed"), "wrong-password")
        assert (await wire.register(login, trunk.password)).final.code == 200
        async with asyncio.timeout(15):
            while (
                "wrong-password from 127.0.0.7" not in (said := await shown())
                or "wrong-password from 127.0.0.73" in said
            ):
                await asyncio.sleep(0.2)  # what was refused to others is not over
    await scene.world.remove_trunk(login)


async def test_what_a_worker_refuses_by_itself_is_shown_there_too(scene: Scene) -> None:
    trunk = await scene.world.add_trunk(GATEWAY)
    login = trunk.trunk.login
    await scene.world.command("trunk", "change", login, "--transports", "tcp")
    async with sip_wire.udp(scene.edge, "127.0.0.74") as wire, asyncio.timeout(30):
        while (await wire.register(login, trunk.password)).final.code == 200:
            await asyncio.sleep(0.1)
        while "ip-not-allowed from 127.0.0.74" not in (said := await scene.world.command("trunk", "show", login)):
            await asyncio.sleep(0.2)
    assert "(UDP is not a transport of this trunk: use TCP)" in said
    await scene.world.remove_trunk(login)


async def test_first_contact_is_challenged_with_the_stronger_algorithm_first(scene: Scene) -> None:
    async with sip_wire.udp(scene.edge) as wire:
        exchange = await wire.ask(wire.request("REGISTER", "", "anyone"))
    assert exchange.final.code == 401
    offers = exchange.header("WWW-Authenticate")
    assert ["SHA-256" in offers[0], "MD5" in offers[1], len(offers)] == [True, True, 2]


async def test_a_call_over_tcp_is_registered_refused_and_answered_on_its_connection(scene: Scene) -> None:
    trunk = scene.trunk
    async with sip_wire.tcp(scene.edge) as wire:
        assert (await wire.register(trunk.trunk.login, trunk.password)).status == (200, "OK")
        carries(await wire.invite("@nobodyhere", trunk.trunk.login, trunk.password), "user-not-found")
        assert (await scene.record()).error_id == "user-not-found"
        assert (await wire.register(trunk.trunk.login, trunk.password, expires=0)).status == (200, "OK")


async def test_a_flood_wait_says_when_to_come_again(scene: Scene) -> None:
    """The last one here: the account keeps it, and makes no calls meanwhile."""
    await scene.world.control.flood(GATEWAY, 37, "phone.RequestCall")
    trunk = scene.trunk
    async with sip_wire.udp(scene.edge) as wire:
        await wire.register(trunk.trunk.login, trunk.password)
        exchange = await wire.invite(FRIEND, trunk.trunk.login, trunk.password)
    await scene.record()
    seconds = int(exchange.header("Retry-After")[0])
    assert 35 <= seconds <= 37
    carries(exchange, "flood-wait", f": retry after {seconds}")
