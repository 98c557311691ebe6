"""The chart on a live Kubernetes: installed, called through, upgraded under a call, hurt, rolled back, removed.

The tests build on each other, in this order. The phone is outside the cluster and registers at the node's address.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from teletrunk_sandbox.actors import Actor

from tests import sip_wire
from tests.deploy.backup_page import documented
from tests.live.cluster import (
    CHART,
    CODE,
    GATEWAY,
    LABEL,
    NODE,
    OUTSIDE,
    RELEASE,
    Installation,
    database_secret,
    until,
)
from tests.servers import Postgres

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]

SIP = (NODE, 5060)
PAL = "+15550177"
PHONE_HZ, PAL_HZ = 440.0, 620.0
TALK_S = 3.0


@dataclass
class Line:
    """A trunk, the phone that is registered with it, and somebody to call at the sandbox's Telegram."""

    login: str
    password: str
    phone: Actor
    people: Actor

    async def register(self) -> None:
        await self.phone.tell("register", server=f"{NODE}:5060", login=self.login, password=self.password)
        assert (await self.phone.wait("registration"))["status"] == 200

    async def call(self) -> int:
        """A call of the phone to the pal, who has answered it."""
        call = int((await self.phone.tell("call", to=PAL, play={"hz": PHONE_HZ}))["call"])
        outcomes = [asyncio.create_task(self.phone.wait(event, call=call)) for event in ("established", "ended")]
        done, waiting = await asyncio.wait(outcomes, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        outcome = done.pop().result()
        assert outcome["event"] == "established", f"{outcome['status']} {outcome['phrase']}"
        await self.people.wait("connected", phone=PAL)
        return call

    async def sounds(self, call: int) -> None:
        """Each hears the other's tone."""
        await asyncio.sleep(TALK_S)
        here = await self.phone.tell("heard", call=call)
        there = await self.people.tell("heard", phone=PAL)
        assert here["hz"] == pytest.approx(PAL_HZ, abs=5) and there["hz"] == pytest.approx(PHONE_HZ, abs=5)

    async def hang_up(self, call: int) -> None:
        await self.phone.tell("hangup", call=call)
        await self.phone.wait("ended", call=call)
        await self.people.wait("ended", phone=PAL)

    async def works(self) -> bool:
        call = await self.call()
        try:
            await self.sounds(call)
        finally:  # the next try begins with nothing open
            await self.hang_up(call)
        return True


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def line(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Line]:
    """The account is signed in and a trunk made as NOTES.txt says."""
    log = Path(tmp_path_factory.mktemp("actors")) / "actors.log"
    async with installation.timed("account add, trunk add"):
        await installation.teletrunk("account", "add", GATEWAY, standard_input=f"{CODE}\n")
        trunk = json.loads(await installation.teletrunk("trunk", "add", GATEWAY, "--json"))
        await installation.active()
    subscriber = ("subscriber", "--dc", "127.0.0.1:8443", "--rsa-key", "/data/sandbox/rsa.pub.pem",
                  "--control-port", "8445")  # fmt: skip
    async with (
        Actor("sip-phone", "--address", OUTSIDE, log=log) as phone,
        Actor(*subscriber, log=log, program=installation.subscriber()) as people,
    ):
        await people.tell("user", phone=PAL, first_name="Pal", username="pal")
        await people.tell("behave", phone=PAL, on_call="answer", play={"hz": PAL_HZ})
        found = Line(trunk["trunk"]["login"], trunk["password"], phone, people)
        await found.register()
        yield found


async def test_calls_with_sound_go_both_ways(installation: Installation, line: Line) -> None:
    async with installation.timed("a call from the phone, and one to it"):
        await line.works()
        await line.phone.tell("behave", on_call="answer", play={"hz": PHONE_HZ})
        await line.people.tell("call", phone=PAL, to=GATEWAY, play={"hz": PAL_HZ})
        incoming = await line.phone.wait("incoming")
        await line.people.wait("connected", phone=PAL)
        await line.sounds(incoming["call"])
        await line.people.tell("hangup", phone=PAL)
        await line.phone.wait("ended", call=incoming["call"])


async def test_helm_test_places_a_call_of_its_own(installation: Installation, line: Line) -> None:
    async with installation.timed("helm test"):
        said = await installation.helm("test", RELEASE, "--logs", "--timeout", "120s")
    assert "the phone heard 62" in said


async def test_an_upgrade_loses_no_call_that_is_up(installation: Installation, line: Line) -> None:
    """All three roll. Worker and Storage wait for the call; new ones are refused with row 23 meanwhile."""
    before = {part: await installation.ids(part) for part in ("manager", "storage", "worker")}
    identity = [worker["id"] for worker in await installation.services("worker")]
    secrets = await installation.secrets()
    call = await line.call()
    async with installation.timed("helm upgrade with a call up, until all have rolled"):
        rolled = [f"--set-string={part}.podAnnotations.rolled=once" for part in before]
        await installation.helm("upgrade", RELEASE, CHART, "-f", installation.values, *rolled)

        async def managers_rolled() -> bool:
            return not await installation.ids("manager") & before["manager"] and await installation.ready("manager")

        await until(managers_rolled, "the Managers have not rolled", 120)
        await line.sounds(call)
        async with sip_wire.udp(SIP, OUTSIDE) as wire:
            refused = await wire.invite(PAL, line.login, line.password)
        assert refused.status == (503, "Worker is restarting: it takes no more calls")
        assert refused.header("Retry-After")
        await line.hang_up(call)

        async def all_rolled() -> bool:
            fresh = all([not await installation.ids(part) & before[part] for part in before])
            return fresh and all([await installation.ready(part) for part in before])

        await until(all_rolled, "not everything has rolled", 120)
        await installation.active()
    async with installation.timed("the phone's binding is there after the Worker's upgrade"):
        await line.works()  # it has not registered again
    assert [worker["id"] for worker in await installation.services("worker")] == identity  # the node's
    assert await installation.secrets() == secrets
    assert await installation.sandbox("duplicates") == 0


async def test_a_manager_that_is_killed_is_not_noticed_by_callers(installation: Installation, line: Line) -> None:
    async with installation.timed("ten calls, a Manager killed among them"):
        for number in range(10):
            if number == 3:
                victim = (await installation.names("manager"))[0]
                await installation.kubectl("delete", "pod", victim, "--grace-period=0", "--force")
            await line.hang_up(await line.call())


async def test_a_worker_that_is_cut_off_says_which_row_it_is(installation: Installation, line: Line) -> None:
    for part, port, expected in (
        ("manager", 5050, (503, "Manager unreachable")),
        ("storage", 5052, (503, "Session storage is unreachable")),
    ):
        async with installation.timed(f"cut off from the {part}s, and back"), sip_wire.udp(SIP, OUTSIDE) as wire:
            await cut(installation, port)
            try:

                async def refused(wire: sip_wire.SipWire = wire, expected: tuple[int, str] = expected) -> bool:
                    answer = await wire.invite(PAL, line.login, line.password, patience=15)
                    return answer.status == expected

                await until(refused, f"the phone did not read {expected}", 40)
            finally:
                await installation.inside("nft", "delete", "table", "inet", "cut")
            await until(line.works, "no call works again", 60)


async def cut(installation: Installation, port: int) -> None:
    """Nothing goes from the node's own network, where the Worker is, to that port of pods any more."""
    for rule in (
        "add table inet cut",
        "add chain inet cut out { type filter hook output priority 0 ; }",
        f"add rule inet cut out tcp dport {port} drop",
    ):
        await installation.inside("nft", *rule.split())


async def test_a_storage_that_is_deleted_hands_its_session_over(installation: Installation, line: Line) -> None:
    victim = await holder(installation)
    async with installation.timed("a Storage's pod deleted, until the session is active elsewhere"):
        await installation.kubectl("delete", "pod", victim, "--wait=false")

        async def elsewhere() -> bool:
            active = (await installation.account())["state"] == "SESSION_STATE_ACTIVE"
            return active and await holder(installation) not in ("", victim)

        await until(elsewhere, "the session is nowhere", 60)
    async with installation.timed("from there until a call works"):
        await until(line.works, "no call works again", 30)
    assert await installation.sandbox("duplicates") == 0


async def holder(installation: Installation) -> str:
    """The pod of the Storage that runs the session, by what the Storages say."""
    for pod in await installation.names("storage"):
        lines = await installation.kubectl("logs", pod)
        states = [json.loads(text) for text in lines.splitlines() if '"session state"' in text]
        if states and states[-1]["state"] == "active":
            return pod
    return ""


async def test_the_only_node_is_drained_and_back(installation: Installation, line: Line) -> None:
    """One Manager and one Storage go and find no other node; the budgets keep the others, and calls go on being made.
    The Worker stays with its node."""

    async def whole() -> bool:
        return all([await installation.ready(part) for part in ("manager", "storage", "worker")])

    await until(whole, "what was hurt before is not back", 120)  # the budgets count it
    worker = await installation.ids("worker")
    async with installation.timed("the only node drained: one of each evicted, until a call works"):
        await installation.kubectl("cordon", "node1")
        try:
            for part, leaves in (("manager", (await installation.names("manager"))[0]),
                                 ("storage", await holder(installation))):  # fmt: skip
                (stays,) = set(await installation.names(part)) - {leaves}
                await until(functools.partial(evicted, installation, leaves), f"{leaves} cannot be evicted", 30)
                with pytest.raises(AssertionError, match="disruption budget"):
                    await evicted(installation, stays)
            await until(line.works, "no call works on what is left", 60)
        finally:
            await installation.kubectl("uncordon", "node1")
    async with installation.timed("uncordoned, until everything is back"):
        await until(whole, "not everything is back", 120)
    assert await installation.ids("worker") == worker
    await until(line.works, "no call works again", 30)
    assert await installation.sandbox("duplicates") == 0


async def evicted(installation: Installation, pod: str) -> bool:
    """As `kubectl drain` does. kubectl 1.37 asks in a form that an API of 1.20 does not have yet."""
    body = {"apiVersion": "policy/v1beta1", "kind": "Eviction", "metadata": {"name": pod}}
    path = f"/api/v1/namespaces/teletrunk/pods/{pod}/eviction"
    await installation.kubectl("create", "--raw", path, "-f", "-", standard_input=json.dumps(body))
    return True


async def test_a_rollback_goes_back_to_the_release_before(installation: Installation, line: Line) -> None:
    async with installation.timed("helm rollback --wait"):
        await installation.helm("rollback", RELEASE, "1", "--wait", "--timeout", "180s")
        await installation.active()
    await until(line.works, "no call works again", 30)


async def test_a_lost_database_comes_back_from_a_backup(
    installation: Installation, line: Line, postgres: Postgres, tmp_path: Path
) -> None:
    """By docs/operations/backup.md, with a call up: the Storage that holds it is still there when another one has the
    restored vault. As long as it is, nobody can adopt; it ends with the call, and then a call goes through again."""
    desk = Desk(installation, tmp_path)
    call, busy = await line.call(), await holder(installation)
    (free,) = set(await installation.names("storage")) - {busy}
    async with installation.timed("backup, a database lost, maintenance, restore, with a call up"):
        sums = await desk.types(" backup ")
        for part in ("manager", "storage"):
            content = (tmp_path / f"{part}.backup").read_bytes()
            assert hashlib.sha256(content).hexdigest() in sums
        await give_database(installation, await postgres.database())
        await installation.helm("upgrade", RELEASE, CHART, "-f", installation.values, "--set=maintenance.enabled=true")
        await desk.types("wait --for=condition=Ready")
        await desk.types("/tmp/backup")
        await line.sounds(call)
    async with installation.timed("the old Storage noticed; from the call's end until calls go again"):
        await installation.helm("upgrade", RELEASE, CHART, "-f", installation.values)

        async def refused() -> bool:
            with pytest.raises(AssertionError, match=f"still there: a Session Storage at {busy}"):
                await adopt(installation, free)
            return True

        await until(refused, "the Storage that still has the call was not noticed", 60)
        await line.hang_up(call)

        async def held_back() -> bool:
            account = await installation.account()
            assert "teletrunk storage adopt" in account.get("reason", ""), account
            return True

        await until(held_back, "the restored account is not said to be held back", 60)
        await until(lambda: adopt(installation, free), "nobody could adopt", 60)
        await installation.active()
        await until(line.works, "no call works again", 30)
    assert await installation.sandbox("duplicates") == 0


class Desk:
    """Where an operator types what the page says; this release is called `t`."""

    def __init__(self, installation: Installation, place: Path) -> None:
        self._installation = installation
        self._place = place
        self._said: list[str] = []
        (place / "passphrase").write_text("correct horse battery staple\n")

    async def types(self, what: str) -> str:
        """Each line of the page that has this in it, and again where it fails, which leaves nothing. What they said."""
        lines = [line for line in documented() if line.startswith("kubectl") and what in line]
        assert lines, what
        for line in lines:
            ours = re.sub(r"(?<=[ /])teletrunk-", f"{RELEASE}-teletrunk-", line)
            await until(functools.partial(self._run, ours), f"{line}: it does not work", 60)
        return "".join(self._said)

    async def _run(self, command: str) -> bool:
        self._said.append(await self._installation.run("bash", "-c", f"cd {self._place}; {{ {command}; }} 2>&1"))
        return True


async def give_database(installation: Installation, url: str) -> None:
    """An empty one, in the Secret that the release knows."""
    secret = json.dumps({"stringData": database_secret(url)})
    await installation.kubectl("patch", "secret", "teletrunk-database", "--patch", secret)


async def adopt(installation: Installation, storage: str) -> bool:
    await installation.kubectl("exec", storage, "-c", "storage", "--", "teletrunk", "storage", "adopt", "--yes")
    return True


async def test_uninstalling_leaves_nothing(installation: Installation, line: Line) -> None:
    async with installation.timed("helm uninstall --wait"):
        await installation.helm("uninstall", RELEASE, "--wait", "--timeout", "180s")
        kinds = "all,secrets,configmaps,serviceaccounts,networkpolicies,pvc,pdb,clusterrolebindings"

        async def nothing() -> bool:
            left = await installation.kubectl("get", kinds, "-l", LABEL, "--no-headers")
            assert not left.strip(), left
            return True

        await until(nothing, "something is left", 120)  # a busy kubelet takes a minute to forget its pods
