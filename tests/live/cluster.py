"""A Kubernetes node of our own (tools/kube/cluster), and a release of the chart on it, handled as an operator does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import teletrunk
from teletrunk_sandbox.actors import ActorError

ROOT = Path(__file__).parents[2]
CHART = "deploy/k8s/teletrunk"
OUTSIDE, NODE = "10.243.0.1", "10.243.0.2"  # as tools/kube/addresses has them
NAMESPACE, RELEASE = "teletrunk", "t"
KEPT = Path("/var/lib/teletrunk") / NAMESPACE / RELEASE  # what a Worker keeps on its node
TAG = os.environ.get("TELETRUNK_IMAGE_TAG", teletrunk.__version__)
IMAGES = [f"localhost/teletrunk/{name}:{TAG}" for name in ("manager", "worker", "session-store", "sandbox")]
CODE, GATEWAY, FRIEND = "22222", "+15550100", "+15550199"
_COMMAND_S = 240.0
_ENVIRONMENT = ["bash", "-c", '. tools/kube/environment && exec "$@"', "environment"]
LABEL = f"app.kubernetes.io/instance={RELEASE}"


def cannot(reason: str) -> None:
    pytest.fail(reason) if "TELETRUNK_CI" in os.environ else pytest.skip(reason)


@contextlib.contextmanager
def node() -> Iterator[dict[str, str]]:
    """A node with our images, and the environment in which kubectl and helm reach it."""
    if os.getuid() != 0:
        cannot("root is needed: the node has namespaces of its own")
    prepared = _tool("tools/kube/prepare", deadline=1800)
    if prepared.returncode != 0:
        cannot(f"tools/kube/prepare: {prepared.stdout}{prepared.stderr}")
    shutil.rmtree(KEPT, ignore_errors=True)  # the node's file system is this machine's
    up = _tool("tools/kube/cluster", "up")
    assert up.returncode == 0, up.stdout + up.stderr
    try:
        loaded = _tool("tools/kube/cluster", "load", *IMAGES)
        assert loaded.returncode == 0, loaded.stdout + loaded.stderr
        kubeconfig = up.stdout.strip().rpartition("KUBECONFIG=")[2]
        scratch = {f"HELM_{kind}_HOME": "/tmp/teletrunk-helm" for kind in ("CACHE", "CONFIG", "DATA")}
        yield {**os.environ, "KUBECONFIG": kubeconfig, **scratch}
    finally:
        down = _tool("tools/kube/cluster", "down")
        shutil.rmtree(KEPT, ignore_errors=True)
        assert down.returncode == 0, down.stdout + down.stderr


def _tool(*command: str, deadline: float = _COMMAND_S) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=deadline)


def database_secret(url: str) -> dict[str, str]:
    """As pods reach a database of this machine's PostgreSQL (the fixture relays it)."""
    outside = f"postgresql+asyncpg://teletrunk@{OUTSIDE}:5432/{url.rpartition('/')[2]}"
    return {"manager-url": outside, "vault-url": outside}


class Installation:
    """One release of the chart. `seconds` is what each step took, for the table at the end."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.values = ""  # the file that it was installed with
        self.seconds: dict[str, float] = {}

    async def run(self, *command: str, standard_input: str = "") -> str:
        """What a command printed. Fails the test with all of it when the command fails."""
        process = await asyncio.create_subprocess_exec(
            *_ENVIRONMENT, *command, cwd=ROOT, env=self.environment,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, errors = await asyncio.wait_for(process.communicate(standard_input.encode()), _COMMAND_S)
        assert process.returncode == 0, f"{' '.join(command)}: {out.decode()}{errors.decode()}"
        return out.decode()

    async def kubectl(self, *arguments: str, standard_input: str = "") -> str:
        return await self.run("kubectl", "--namespace", NAMESPACE, *arguments, standard_input=standard_input)

    async def helm(self, *arguments: str) -> str:
        return await self.run("helm", "--namespace", NAMESPACE, *arguments)

    async def inside(self, *command: str) -> str:
        """On the node itself."""
        return await self.run("tools/kube/cluster", "exec", *command)

    async def teletrunk(self, *arguments: str, standard_input: str = "") -> str:
        """The command, on a Manager's pod."""
        where = f"deployment/{RELEASE}-teletrunk-manager"
        return await self.kubectl(
            "exec", "-i", where, "-c", "manager", "--", "teletrunk", *arguments, standard_input=standard_input
        )

    async def sandbox(self, command: str, **arguments: object) -> Any:
        """A command of the local Telegram's control channel, which is on loopback of its pod."""
        line = json.dumps({"command": command, "arguments": arguments})
        talk = (
            "import socket, sys; s = socket.create_connection(('127.0.0.1', 8445), 5); "
            "s.sendall(sys.argv[1].encode() + b'\\n'); print(s.makefile().readline())"
        )
        where = f"deployment/{RELEASE}-teletrunk-sandbox"
        answer = json.loads(await self.kubectl("exec", where, "--", "python", "-c", talk, line))
        assert "error" not in answer, answer
        return answer.get("result")

    def subscriber(self) -> tuple[str, ...]:
        """The program of an actor that plays Telegram users from the sandbox's own pod."""
        where = f"deployment/{RELEASE}-teletrunk-sandbox"
        kubectl = ("kubectl", "--namespace", NAMESPACE, "exec", "-i", where, "--", "python", "-m", "teletrunk_sandbox")
        return ("env", f"KUBECONFIG={self.environment['KUBECONFIG']}", *_ENVIRONMENT, *kubectl)

    async def pods(self, component: str) -> list[dict[str, Any]]:
        """Those that are not on their way out, the oldest first."""
        listed = await self.kubectl(
            "get", "pods", "-o", "json", "-l", f"{LABEL},app.kubernetes.io/component={component}"
        )
        pods = [pod for pod in json.loads(listed)["items"] if "deletionTimestamp" not in pod["metadata"]]
        return sorted(pods, key=lambda pod: pod["metadata"]["creationTimestamp"])

    async def names(self, component: str) -> list[str]:
        return [pod["metadata"]["name"] for pod in await self.pods(component)]

    async def ids(self, component: str) -> set[str]:
        """A pod that is made anew under its old name is another one."""
        return {pod["metadata"]["uid"] for pod in await self.pods(component)}

    async def ready(self, component: str) -> bool:
        """As many as there shall be, and each of them ready: one that is still on its way out has no successor yet."""
        pods = await self.pods(component)
        return len(pods) == await self._wanted(component) and all(map(_is_ready, pods))

    async def _wanted(self, component: str) -> int:
        """How many pods the Deployment, StatefulSet or DaemonSet makes."""
        kinds = "deployments,statefulsets,daemonsets"
        found = await self.kubectl("get", kinds, "-o", "json", "-l", f"{LABEL},app.kubernetes.io/component={component}")
        (owner,) = json.loads(found)["items"]
        wanted = owner["spec"].get("replicas", owner["status"].get("desiredNumberScheduled"))
        assert isinstance(wanted, int), owner
        return wanted

    async def services(self, kind: str) -> list[dict[str, Any]]:
        """Workers or Storages that the Manager sees attached."""
        listed = json.loads(await self.teletrunk(kind, "list", "--json"))
        return [service for service in listed.get("services", []) if service.get("attached")]

    async def secrets(self) -> dict[str, dict[str, str]]:
        """What the chart has made and must keep, by name."""
        listed = json.loads(await self.kubectl("get", "secrets", "-o", "json", "-l", LABEL))["items"]
        return {secret["metadata"]["name"]: secret["data"] for secret in listed}

    async def account(self) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(await self.teletrunk("account", "list", "--json"))["accounts"]
        return found[0]

    async def active(self) -> None:
        await until(self._is_active, "the session is not active", 60)

    async def _is_active(self) -> bool:
        return (await self.account()).get("state") == "SESSION_STATE_ACTIVE"

    @contextlib.asynccontextmanager
    async def timed(self, step: str) -> AsyncIterator[None]:
        began = time.monotonic()
        yield
        self.seconds[step] = time.monotonic() - began


def _is_ready(pod: dict[str, Any]) -> bool:
    """One that waits for a node has no word on it at all."""
    return any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in pod["status"].get("conditions", [])
    )


def said(installation: Installation) -> str:
    """The last lines of every pod, and of the container before it where there was one."""
    lines = []
    for component in ("manager", "storage", "worker"):
        command = ("kubectl", "--namespace", NAMESPACE, "logs", "--prefix", "--tail=60", "--all-containers")
        selector = ("-l", f"{LABEL},app.kubernetes.io/component={component}")
        done = subprocess.run([*_ENVIRONMENT, *command, *selector], cwd=ROOT, env=installation.environment,
                              capture_output=True, text=True, timeout=_COMMAND_S)  # fmt: skip
        lines.append(done.stdout)
    return "\n".join(lines)


async def until(condition: Callable[[], Awaitable[bool]], complaint: str, seconds: float) -> float:
    """Waits until an async condition holds; returns for how long. A complaint comes with what failed last."""
    began, failure = time.monotonic(), ""
    while time.monotonic() - began < seconds:
        try:
            if await condition():
                return time.monotonic() - began
            failure = ""
        except (AssertionError, ActorError) as error:  # of a command or a call that fails meanwhile
            failure = f": {error}"
        await asyncio.sleep(0.3)
    raise AssertionError(f"{complaint} after {seconds} s{failure}")
