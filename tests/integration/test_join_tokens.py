"""Services that join by themselves, come back by themselves, and cannot be impersonated by whoever has the token."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from teletrunk.identity import Identity
from teletrunk.papers import Papers
from teletrunk_manager.authority import Authority

from tests.integration.joining import Cluster, declared, ended, read, secret
from tests.integration.test_fleet import LIFE_DAYS, Process, attached, command, service_id, until

TAKEN = grpc.StatusCode.ALREADY_EXISTS


@pytest_asyncio.fixture
async def exits() -> AsyncIterator[contextlib.AsyncExitStack]:
    async with contextlib.AsyncExitStack() as exits:
        yield exits


@pytest_asyncio.fixture
async def cluster(tmp_path: Path, exits: contextlib.AsyncExitStack) -> Cluster:
    cluster = Cluster(tmp_path, exits)
    await cluster.start()
    return cluster


async def test_a_token_serves_again_as_long_as_it_has_a_place(cluster: Cluster) -> None:
    made = await cluster.join_token("worker", 2, "--comment", "the rack")
    text = made["invitation"]
    one, two = (Process("teletrunk_worker", cluster.directory / name, SIP_ADDRESS="127.0.0.1:0", INVITATION=text)
                for name in ("w1", "w2"))  # fmt: skip
    await cluster.run(one)
    await cluster.run(two)
    await one.says("enrolled")
    await two.says("enrolled")
    for _ in "12":
        await cluster.manager.says("service attached")  # they were told where the Manager is when they enrolled
    token = (await cluster.tokens())[0]
    assert (token["members"], token["count"], token["comment"], token["kind"]) == (2, 2, "the rack", "worker")
    assert read(text)["secret"].encode() not in (cluster.manager.data / "manager.db").read_bytes()

    three = await cluster.run(cluster.service("worker", "w3"))
    assert (await three.says("waits to enrol"))["reason"] == "all 2 places of the join token are taken"
    code, said = await command(cluster.manager.data, "worker", "revoke", service_id(one, "worker"), "--yes")
    assert code == 0 and f"teletrunk join-token revoke {made['token']['id']}" in said
    await three.says("enrolled")

    assert (await command(cluster.manager.data, "join-token", "revoke", made["token"]["id"]))[0] == 0
    four = await cluster.run(cluster.service("worker", "w4"))
    line = (await four.says("teletrunk worker:"))["event"]
    assert "TELETRUNK_JOIN_TOKEN_FILE: the invitation was used already" in line and await ended(four) == 2
    assert (await attached(cluster))[service_id(two, "worker")], "who came by it stays"
    changes = cluster.rows("SELECT who, kind, action FROM changes WHERE kind IN ('join_tokens', 'members')")
    assert ("command", "join_tokens", "insert") in changes and ("manager/enrolment", "members", "insert") in changes


async def test_who_was_revoked_comes_back_as_another_one_while_the_token_is_good(cluster: Cluster) -> None:
    await cluster.join_token("worker", 5)
    worker = await cluster.run(cluster.service("worker", "w1"))
    await cluster.manager.says("service attached")
    before = service_id(worker, "worker")
    assert (await command(cluster.manager.data, "worker", "revoke", before, "--yes"))[0] == 0
    assert "was revoked; started again, it joins as another one" in (await worker.says("teletrunk worker:"))["event"]
    assert await ended(worker) == 2
    again = await cluster.run(cluster.service("worker", "w1"))
    assert (await again.says("enrolled"))["id"] != before


async def test_a_token_ends_at_its_time(cluster: Cluster) -> None:
    await cluster.join_token("worker", 5, "--days", str(0.1 / 86_400))
    worker = await cluster.run(cluster.service("worker", "w1"))
    assert "TELETRUNK_JOIN_TOKEN_FILE: " in (await worker.says("teletrunk worker:"))["event"]


async def test_a_stolen_token_takes_nobodys_id(cluster: Cluster) -> None:
    await cluster.join_token("worker", 5)
    stolen = cluster.token_file.read_text()
    worker = await cluster.run(cluster.service("worker", "w1"))
    await cluster.manager.says("service attached")
    victim = Identity("worker", service_id(worker, "worker"))
    assert await cluster.ask(stolen, victim) is TAKEN
    assert await cluster.ask(stolen, Identity("worker", "a" * 16), "storage") is grpc.StatusCode.INVALID_ARGUMENT
    await worker.stop()
    assert await cluster.ask(stolen, victim) is TAKEN, "away is not gone"
    assert (await command(cluster.manager.data, "worker", "remove", "--yes", victim.id))[0] == 0
    assert await cluster.ask(stolen, victim) is TAKEN, "a certificate of its is valid yet"
    back = await cluster.run(cluster.service("worker", "w1"))
    assert (await back.says("enrols afresh"))["reason"] == "the Manager does not accept the certificate any more"
    assert (await back.says("enrolled"))["id"] == victim.id, "its own key opens"
    await cluster.manager.says("service attached")


async def test_whoever_was_away_for_longer_than_its_certificate_comes_back(
    tmp_path: Path, exits: contextlib.AsyncExitStack
) -> None:
    cluster = Cluster(tmp_path, exits, CERTIFICATE_DAYS=str(LIFE_DAYS))
    await cluster.start()
    await cluster.join_token("worker", 1)
    worker = await cluster.run(cluster.service("worker", "w1"))
    await cluster.manager.says("service attached")
    await worker.stop()
    papers = Papers(worker.data / "identity" / "worker", Identity("worker", service_id(worker, "worker")))

    async def has_ended() -> bool:
        return not papers.valid

    await until(has_ended)
    assert await cluster.ask(cluster.token_file.read_text(), papers.identity) is TAKEN
    again = await cluster.run(cluster.service("worker", "w1"))
    assert (await again.says("enrolled"))["id"] == papers.identity.id
    await again.stop()
    await until(has_ended)
    alone = {"JOIN_TOKEN_FILE": "", "AUTHORITY_FILE": ""}
    nothing = await cluster.run(cluster.service("worker", "w1", **alone))
    line = (await nothing.says("teletrunk worker:"))["event"]
    assert f"the certificate of worker {papers.identity.id} has ended: set TELETRUNK_INVITATION" in line
    invited = await cluster.run(cluster.service("worker", "w1", INVITATION=await cluster.invitation("worker"), **alone))
    assert (await invited.says("enrolled"))["id"] == papers.identity.id


async def test_a_chart_starts_everything_at_once(tmp_path: Path, exits: contextlib.AsyncExitStack) -> None:
    file, text = tmp_path / "join.json", secret()
    cluster = Cluster(tmp_path, exits, JOIN_FILE=str(file), AUTHORITY=str(tmp_path / "ca"))
    cluster.authority = tmp_path / "ca" / "authority.pem"
    worker = await cluster.run(cluster.service("worker", "w1"))
    assert str(cluster.token_file) in (await worker.says("waits to enrol"))["reason"]
    cluster.token_file.write_text(text + "\n")
    Authority.open(tmp_path / "ca", 1)
    waits = await worker.says("waits to enrol")
    assert waits["reason"] == f"the Manager at 127.0.0.1:{cluster.door} cannot be reached to enrol"
    declared(file, ("storage", secret(), 3))
    await cluster.start()
    assert "is none" in (await worker.says("teletrunk worker:"))["event"], "no waiting makes this secret one"

    declared(file, ("storage", secret(), 3), ("worker", text, 1))  # a Secret that was changed, in place
    await cluster.manager.says("join tokens declared")
    worker = await cluster.run(cluster.service("worker", "w1"))
    await worker.says("enrolled")
    assert sorted((t["kind"], t["members"], t["declared"]) for t in await cluster.tokens()) == [
        ("storage", 0, True), ("worker", 1, True),
    ]  # fmt: skip
    declared_id = next(token["id"] for token in await cluster.tokens() if token["kind"] == "worker")
    code, said = await command(cluster.manager.data, "join-token", "revoke", declared_id)
    assert code == 1 and "TELETRUNK_JOIN_FILE: take it out there" in said
    file.write_text("[")
    assert "TELETRUNK_JOIN_FILE: " in (await cluster.manager.says("the join file cannot be used"))["error"]
    assert len(await cluster.tokens()) == 2, "what was declared stays"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("nonsense", "Invalid JSON"),
        ("{}", "valid array"),
        ('[{"kind":"worker","secret":"' + "k7" * 16 + '","count":1}]', "entry 1: secret: must be a random text of 32"),
        ('[{"kind":"worker","secret":"short","count":1}]', "entry 1: secret: must be a random text of 32"),
        ('[{"kind":"worker","secret":"changeme-0123456789-abcdefghijklmnop","count":1}]', "not a sample"),
        ('[{"kind":"manager","secret":"tq8rv1pzm3kw9x0bndyc5hj7fgl2s4ae","count":1}]', "entry 1: kind: "),
        ('[{"kind":"worker","secret":"tq8rv1pzm3kw9x0bndyc5hj7fgl2s4ae","count":0}]', "entry 1: count: "),
        ('[{"kind":"worker","secret":"tq8rv1pzm3kw9x0bndyc5hj7fgl2s4ae"}]', "entry 1: count: Field required"),
    ],
)
async def test_a_join_file_that_is_wrong_is_one_line(content: str, line: str, tmp_path: Path) -> None:
    file = tmp_path / "join.json"
    file.write_text(content)
    manager = Process("teletrunk_manager", tmp_path / "manager", TLS="true", JOIN_FILE=str(file),
                      MANAGER_ADDRESS="127.0.0.1:0")  # fmt: skip
    await manager.start()
    said = (await manager.says("teletrunk manager:"))["event"]
    assert "TELETRUNK_JOIN_FILE: " in said and line in said
    assert "tq8rv1p" not in said and "k7k7" not in said, "a secret is not repeated"
    assert await ended(manager) == 2
    await manager.stop()


async def test_another_authority_is_taken_over(tmp_path: Path, exits: contextlib.AsyncExitStack) -> None:
    text, file = secret(), tmp_path / "join.json"
    declared(file, ("worker", text, 1))
    cluster = Cluster(tmp_path, exits, JOIN_FILE=str(file))
    cluster.token_file.write_text(text)
    await cluster.start()
    worker = await cluster.run(cluster.service("worker", "w1"))
    await cluster.manager.says("service attached")
    await cluster.manager.stop()
    shutil.rmtree(cluster.authority.parent)
    await cluster.start()
    await worker.says("enrols afresh")
    await cluster.manager.says("service attached")
    assert list((await attached(cluster)).items()) == [(service_id(worker, "worker"), True)]


async def test_a_manager_of_another_authority_is_not_believed(cluster: Cluster, tmp_path: Path) -> None:
    await cluster.join_token("worker", 1)
    file = tmp_path / "ca.crt"
    file.write_bytes(Authority.open(tmp_path / "other", 1).pem)
    worker = await cluster.run(cluster.service("worker", "w1", AUTHORITY_FILE=str(file)))
    reason = (await worker.says("waits to enrol"))["reason"]
    assert reason.endswith("does not prove itself by the authority that TELETRUNK_AUTHORITY_FILE holds")
    file.write_bytes(cluster.authority.read_bytes())
    await worker.says("enrolled")


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"AUTHORITY_FILE": ""}, "TELETRUNK_AUTHORITY_FILE: set it together"),
        ({"AUTHORITY_FILE": __file__}, "holds no certificate (PEM)"),
        ({"INVITATION": "x"}, "give one of TELETRUNK_INVITATION and TELETRUNK_JOIN_TOKEN_FILE"),
        ({"JOIN_ADDRESS": "nowhere"}, "TELETRUNK_JOIN_ADDRESS: must be host:port"),
    ],
)
async def test_what_no_waiting_cures_is_one_line(
    settings: dict[str, str], line: str, tmp_path: Path, exits: contextlib.AsyncExitStack
) -> None:
    cluster = Cluster(tmp_path, exits)
    cluster.token_file.write_text(secret())
    worker = await cluster.run(cluster.service("worker", "w1", **settings))
    assert line in (await worker.says("teletrunk worker:"))["event"]
    assert await asyncio.wait_for(ended(worker), 10) == 2


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_of_many_at_once_only_so_many_come_in_as_there_are_places(
    kind: str, tmp_path: Path, exits: contextlib.AsyncExitStack, request: pytest.FixtureRequest
) -> None:
    settings = {}
    if kind == "postgresql":
        settings["DATABASE_URL"] = await request.getfixturevalue("postgres").database()
    cluster = Cluster(tmp_path, exits, **settings)
    await cluster.start()
    await cluster.join_token("worker", 1)
    text = cluster.token_file.read_text()
    names = [Identity("worker", letter * 16) for letter in "abcd"]
    answers = await asyncio.gather(*(cluster.ask(text, name) for name in names))
    assert sorted(map(str, answers)) == [*["None"], *[str(grpc.StatusCode.RESOURCE_EXHAUSTED)] * 3]
    assert [token["members"] for token in await cluster.tokens()] == [1]
