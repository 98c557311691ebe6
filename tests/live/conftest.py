"""What all tests of a live cluster share: the node, the servers beside it, one installation."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.live.cluster import CHART, NAMESPACE, OUTSIDE, RELEASE, TAG, Installation, database_secret, node, said
from tests.servers import Postgres, Redis

VALUES = f"""
image: {{registry: localhost/teletrunk, tag: "{TAG}", pullPolicy: Never}}
database: {{existingSecret: teletrunk-database}}
redis: {{existingSecret: teletrunk-redis}}
sandbox: {{enabled: true}}
manager: {{api: {{enabled: true}}}}
storage: {{replicas: 2, persistence: {{enabled: false}}, drainSeconds: 120}}
worker: {{drainSeconds: 120}}
"""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """A failed test shows what the pods have said: they go with the cluster."""
    report = yield
    if report.failed and (installation := getattr(item, "funcargs", {}).get("installation")) is not None:
        report.sections.append(("what the pods said", said(installation)))
    return report


@pytest.fixture(scope="session")
def environment() -> Iterator[dict[str, str]]:
    with node() as found:
        yield found


@contextlib.contextmanager
def relayed(port: int, to: int) -> Iterator[None]:
    """A server of this machine's loopback, for the pods."""
    relay = subprocess.Popen(["socat", f"TCP-LISTEN:{port},bind={OUTSIDE},fork,reuseaddr", f"TCP:127.0.0.1:{to}"],
                             start_new_session=True)  # fmt: skip
    try:
        yield
    finally:
        relay.terminate()
        relay.wait(5)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def installation(
    environment: dict[str, str], postgres: Postgres, redis: Redis, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """The chart on two Managers, two Storages, a Worker and the sandbox; PostgreSQL and Redis are outside."""
    values = Path(tmp_path_factory.mktemp("live")) / "values.yaml"
    values.write_text(VALUES)
    urls = [f"--from-literal={key}={url}" for key, url in database_secret(await postgres.database()).items()]
    with relayed(5432, postgres.port), relayed(6379, redis.port):
        installation = Installation(environment)
        installation.values = str(values)
        await installation.run("kubectl", "create", "namespace", NAMESPACE)
        secret = ("create", "secret", "generic")
        await installation.kubectl(*secret, "teletrunk-database", *urls)
        await installation.kubectl(*secret, "teletrunk-redis", f"--from-literal=url=redis://{OUTSIDE}:6379/0")
        async with installation.timed("helm install --wait"):
            await installation.helm("install", RELEASE, CHART, "-f", str(values), "--wait", "--timeout", "150s")
        yield installation
        print("\n" + "\n".join(f"{step:<60}{seconds:6.1f} s" for step, seconds in installation.seconds.items()))
