"""A gateway in containers, as those who run it use it: an account is signed in, a phone registers, calls and hears."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from tests.deploy.podman import podman, talk

PATIENCE_S = 240.0  # how soon is no promise: images may be built beside this, by the same two processors
ACCOUNT, _CODE = "+15550100", "/data/sandbox/codes/15550100"
_FRIENDS_CODE = "15550199"
FRIEND_HZ = 620

# The phone is a child of the script, which runs in the sandbox's container.
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


@dataclass
class Gateway:
    """Where what runs: the containers' names by `manager`, `session-store`, `worker`, `sandbox`."""

    containers: Mapping[str, str]
    # What a command is given beside the container's own environment.
    environment: Mapping[str, str] = field(default_factory=dict)
    # What enters the network namespace that is the containers' host: podman's commands join their caller's.
    inside: Sequence[str] = ()

    def _exec(self, target: str, *command: str) -> list[str]:
        settings = [f"--env={name}={value}" for name, value in self.environment.items()]
        return ["exec", "--interactive", *settings, self.containers[target], *command]

    def run(self, target: str, *command: str, standard_input: str = "") -> str:
        done = podman(*self._exec(target, *command), standard_input=standard_input, inside=self.inside)
        assert done.returncode == 0, f"{done.stdout}{done.stderr}{self.logs()}"
        return done.stdout

    def eventually(self, target: str, *command: str, says: str) -> str:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            done = podman(*self._exec(target, *command), inside=self.inside)
            if done.returncode == 0 and says in done.stdout:
                return done.stdout
            assert time.monotonic() < deadline, f"{command}: {done.stdout}{done.stderr}{self.logs()}"
            time.sleep(1)  # a command costs half a second of a processor

    def telegram_is_up(self) -> None:
        self.eventually("sandbox", "ls", "/data/sandbox/codes", says=_FRIENDS_CODE)  # the friend has signed in

    def is_whole(self) -> None:
        for kind in ("worker", "storage"):
            self.eventually("manager", "teletrunk", kind, "list", says="attached")

    def sign_in(self) -> str:
        """The command asks for the code that Telegram has sent."""
        command = talk(*self._exec("manager", "teletrunk", "account", "add", ACCOUNT), inside=self.inside)
        with command:
            assert command.stderr is not None
            assert "has sent a code" in command.stderr.readline()
            out, errors = command.communicate(self.run("sandbox", "cat", _CODE), timeout=PATIENCE_S)
        assert command.returncode == 0, errors
        return out

    def carries_a_call(self) -> None:
        """A phone with a trunk of its own calls the friend, and hears what comes out of the friend's ntgcalls."""
        trunk = json.loads(self.run("manager", "teletrunk", "trunk", "add", ACCOUNT, "--json"))
        self.eventually("manager", "teletrunk", "account", "list", says="active")
        login = json.dumps([trunk["trunk"]["login"], trunk["password"]])
        heard = json.loads(self.run("sandbox", "python", "-c", _CALL, standard_input=login + "\n"))
        assert heard["registered"] == 200
        assert heard["hz"] == pytest.approx(FRIEND_HZ, abs=5)
        listed = self.eventually("manager", "teletrunk", "call", "list", "--json", says="friend")
        assert json.loads(listed)["calls"][0]["sip_status"] == 200

    def logs(self) -> str:
        last = (podman("logs", "--tail=15", name) for name in self.containers.values())
        return "\n".join(done.stdout + done.stderr for done in last)
