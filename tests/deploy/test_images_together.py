"""The four images as one gateway: an account is signed in, a phone registers, calls, and hears a Telegram user."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator

import pytest

from tests.deploy.podman import build_images, image, output, podman, talk

pytestmark = pytest.mark.timeout(1800)  # the first build downloads and compiles
_PATIENCE_S = 60.0
_GATEWAY, _CODE = "+15550100", "/data/sandbox/codes/15550100"
_KEY = "/sandbox/sandbox/rsa.pub.pem"


class Gateway:
    """All containers in one network namespace, without a way out, as on one machine."""

    def __init__(self) -> None:
        self.name = f"teletrunk-{secrets.token_hex(4)}"
        token = secrets.token_hex(16)
        self._settings = [f"--env=TELETRUNK_CLUSTER_TOKEN={token}", f"--env=TELETRUNK_TELEGRAM_RSA_KEY_FILE={_KEY}"]
        self._settings.append("--env=TELETRUNK_TELEGRAM_SERVER=127.0.0.1:8443")

    def start(self, target: str, *options: str) -> None:
        network = "none" if target == "manager" else f"container:{self.name}-manager"
        careful = ("--read-only", "--cap-drop=all", "--security-opt=no-new-privileges", f"--network={network}")
        name = f"--name={self.name}-{target}"
        output("run", "--detach", name, *careful, *self._settings, *options, image(target))

    def run(self, target: str, *command: str, standard_input: str = "") -> str:
        done = podman("exec", "--interactive", f"{self.name}-{target}", *command, standard_input=standard_input)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def eventually(self, target: str, *command: str, says: str) -> str:
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            done = podman("exec", f"{self.name}-{target}", *command)
            if done.returncode == 0 and says in done.stdout:
                return done.stdout
            assert time.monotonic() < deadline, f"{command}: {done.stdout}{done.stderr}{self.logs()}"
            time.sleep(0.3)

    def sign_in(self) -> str:
        """The command asks for the code that Telegram has sent."""
        command = talk("exec", "--interactive", f"{self.name}-manager", "teletrunk", "account", "add", _GATEWAY)
        with command:
            assert command.stderr is not None
            assert "has sent a code" in command.stderr.readline()
            out, errors = command.communicate(self.run("sandbox", "cat", _CODE), timeout=_PATIENCE_S)
        assert command.returncode == 0, errors
        return out

    def logs(self) -> str:
        last = (podman("logs", "--tail=15", f"{self.name}-{name}") for name in ("worker", "session-store", "manager"))
        return "\n".join(done.stdout + done.stderr for done in last)

    def remove(self) -> None:
        for target in ("worker", "session-store", "sandbox", "manager"):
            podman("rm", "--force", "--volumes", f"{self.name}-{target}")
        podman("volume", "rm", "--force", self.name)


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    build_images()
    gateway = Gateway()
    try:
        gateway.start("manager")
        gateway.start("sandbox", f"--volume={gateway.name}:/data")
        gateway.eventually("sandbox", "ls", "/data/sandbox/codes", says="15550199")  # the friend has signed in
        gateway.start("session-store", f"--volume={gateway.name}:/sandbox:ro")
        gateway.start("worker")
        gateway.eventually("manager", "teletrunk", "worker", "list", says="attached")
        gateway.eventually("manager", "teletrunk", "storage", "list", says="attached")
        yield gateway
    finally:
        gateway.remove()


# The phone is a child of the script: one command a line in, one event a line out.
_CALL = """
import asyncio, json, sys
from teletrunk_sandbox.actors import Actor

async def main(login, password):
    async with Actor("sip-phone") as phone:
        await phone.tell("register", server="127.0.0.1:5060", login=login, password=password, transport="udp")
        registered = await phone.wait("registration")
        call = (await phone.tell("call", to="@friend", play={"hz": 440.0}))["call"]
        await phone.wait("established", call=call)
        await asyncio.sleep(4)
        heard = await phone.tell("heard", call=call)
        await phone.tell("hangup", call=call)
        await phone.wait("ended", call=call)
        print(json.dumps({"registered": registered["status"], "hz": heard["hz"]}))

asyncio.run(main(*json.loads(sys.stdin.readline())))
"""


def test_a_call_through_the_images(gateway: Gateway) -> None:
    assert "Signed in: Gateway" in gateway.sign_in()
    trunk = json.loads(gateway.run("manager", "teletrunk", "trunk", "add", _GATEWAY, "--json"))
    gateway.eventually("manager", "teletrunk", "account", "list", says="active")
    login = json.dumps([trunk["trunk"]["login"], trunk["password"]])
    heard = json.loads(gateway.run("sandbox", "python", "-c", _CALL, standard_input=login + "\n"))
    assert heard["registered"] == 200
    assert heard["hz"] == pytest.approx(620, abs=5)  # the friend's tone, out of ntgcalls, through the Worker
    assert "200" in gateway.eventually("manager", "teletrunk", "call", "list", says="friend")
