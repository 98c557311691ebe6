"""Services that join by their account in a cluster, as an API server over TLS confirms it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from teletrunk.identity import Identity

from tests.integration.joining import Cluster, ended
from tests.integration.test_fleet import Process
from tests.kubernetes_api import KubernetesApi

WORKER, STORAGE = "system:serviceaccount:phones:teletrunk-worker", "system:serviceaccount:phones:teletrunk-storage"
INVALID, UNAVAILABLE = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNAVAILABLE
STRANGER = Identity("worker", "a" * 16)


class World:
    def __init__(self, api: KubernetesApi, cluster: Cluster) -> None:
        self.api = api
        self.cluster = cluster


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with contextlib.AsyncExitStack() as exits:
        api = KubernetesApi(tmp_path / "kubernetes")
        await api.start()
        exits.push_async_callback(api.stop)
        accounts = "worker=phones/teletrunk-worker, storage=phones/teletrunk-storage"
        cluster = Cluster(tmp_path, exits, JOIN_SERVICE_ACCOUNTS=accounts, KUBERNETES_API=api.url,
                          KUBERNETES_CREDENTIALS=str(api.credentials))  # fmt: skip
        await cluster.start()
        yield World(api, cluster)


async def test_services_join_by_their_accounts(world: World) -> None:
    for kind, account in (("worker", WORKER), ("storage", STORAGE)):
        world.cluster.token_file.write_text(world.api.token(account, "teletrunk"))
        service = await world.cluster.run(world.cluster.service(kind, kind))
        await service.says("enrolled")
        assert (await world.cluster.manager.says("service attached"))["kind"] == kind
    assert set(world.cluster.rows("SELECT came_by FROM members")) == {
        ("account/phones/teletrunk-worker",), ("account/phones/teletrunk-storage",),
    }  # fmt: skip


async def test_who_the_api_server_does_not_vouch_for_is_refused(world: World) -> None:
    api, ask = world.api, world.cluster.ask
    assert await ask(api.token(WORKER, "https://kubernetes.default.svc"), STRANGER) is INVALID, "another audience"
    assert await ask(api.token("system:serviceaccount:phones:default", "teletrunk"), STRANGER) is INVALID
    assert await ask(api.token("system:serviceaccount:other:teletrunk-worker", "teletrunk"), STRANGER) is INVALID
    assert await ask(api.token("phones/teletrunk-worker", "teletrunk"), STRANGER) is INVALID, "a user of that name"
    ended_token = api.token(WORKER, "teletrunk")
    del api.tokens[ended_token]
    assert await ask(ended_token, STRANGER) is INVALID
    assert api.reviews == 5
    assert await ask("no token of an account", STRANGER) is INVALID and api.reviews == 5
    assert await ask(api.token(STORAGE, "teletrunk"), STRANGER, "worker") is INVALID, "of another kind"
    assert await ask(api.token(WORKER, "teletrunk"), STRANGER, "worker") is None


async def test_without_the_api_servers_answer_nobody_is_let_in(world: World) -> None:
    api, ask = world.api, world.cluster.ask
    token = api.token(WORKER, "teletrunk")
    api.denies = True
    assert await ask(token, STRANGER) is UNAVAILABLE
    why = (await world.cluster.manager.says("the cluster's API server confirms no account"))["why"]
    assert "403: may this Manager's account create TokenReviews?" in why
    api.denies, api.slow = False, True
    assert await ask(token, STRANGER) is UNAVAILABLE
    api.slow = False
    (api.credentials / "ca.crt").write_bytes(world.cluster.authority.read_bytes())
    assert await ask(token, STRANGER) is UNAVAILABLE, "an API server of another authority"
    await api.stop()
    assert await ask(token, STRANGER) is UNAVAILABLE
    assert token not in str(world.cluster.manager.lines)


async def test_a_service_waits_for_the_api_server_and_reads_its_token_anew(world: World) -> None:
    world.api.denies = True
    world.cluster.token_file.write_text(world.api.token(WORKER, "teletrunk"))
    worker = await world.cluster.run(world.cluster.service("worker", "w1"))
    assert "come again" in (await worker.says("waits to enrol"))["reason"]
    world.api.tokens.clear()
    world.cluster.token_file.write_text(world.api.token(WORKER, "teletrunk"))  # as the kubelet renews it
    world.api.denies = False
    await worker.says("enrolled")


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"JOIN_SERVICE_ACCOUNTS": "worker=phones"}, "must be worker=NAMESPACE/NAME"),
        ({"JOIN_SERVICE_ACCOUNTS": "manager=phones/x"}, "must be worker=NAMESPACE/NAME"),
        ({"JOIN_SERVICE_ACCOUNTS": "worker=phones/x,storage=phones/x"}, "phones/x stands there twice"),
        ({"KUBERNETES_API": "http://kubernetes.default.svc"}, "TELETRUNK_KUBERNETES_API: must be https://"),
    ],
)
async def test_wrong_settings_are_one_line(settings: dict[str, str], line: str, tmp_path: Path) -> None:
    manager = Process("teletrunk_manager", tmp_path, TLS="true", MANAGER_ADDRESS="127.0.0.1:0", **settings)
    await manager.start()
    assert line in (await manager.says("teletrunk manager:"))["event"]
    assert await ended(manager) == 2
    await manager.stop()
