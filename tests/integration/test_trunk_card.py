"""What is printed of a trunk is what its PBX must enter, by what the Workers announce; and what cannot work is said."""

from __future__ import annotations

import json

import grpc
import pytest
from teletrunk.v1 import admin_pb2 as admin
from teletrunk.v1 import fleet_pb2, fleet_pb2_grpc, trunk_pb2
from teletrunk.v1 import manager_pb2 as pb

from tests.integration.manager_process import Attachment, mistake, worker_hello
from tests.integration.manager_world import World

pytestmark = pytest.mark.parametrize("world", ["sqlite"], indirect=True)  # its words are the same with each database
TLS = "127.0.0.1:5061"


async def command(world: World, *arguments: str) -> str:
    status, out, errors = await world.process.command(*arguments)
    assert (status, errors) == (0, ""), errors
    return out


async def test_the_card_has_an_address_for_each_transport_that_the_trunk_allows(world: World) -> None:
    await world.add_account()
    await world.worker.beat(pb.Heartbeat(sip_tls_address=TLS, most_calls=4))
    both = await command(world, "trunk", "add", "@ann", "--login", "both")
    assert "server    127.0.0.1:5060\n  transport UDP or TCP\n  or\n  server    127.0.0.1:5061\n  transport TLS" in both
    only = await command(world, "trunk", "add", "@ann", "--login", "only", "--transports", "tls")
    assert f"server    {TLS}\n  transport TLS\n" in only and "5060" not in only
    shown = (await command(world, "trunk", "show", "only")).splitlines()
    assert f"server: {TLS}, TLS" in shown and not any("5060" in line for line in shown)
    secret = await command(world, "trunk", "add", "@ann", "--login", "secret", "--srtp", "required")
    assert TLS in secret and "5060" not in secret, "by UDP no call of it would be taken"
    assert "server: 127.0.0.1:5060, TCP" in await command(world, "trunk", "change", "both", "--transports", "tcp")
    for arguments in (("worker", "show", "worker-1"), ("status", "--json")):
        assert TLS in (await world.process.command(*arguments))[1]


async def test_a_trunk_that_nobody_can_use_is_told_or_refused(world: World) -> None:
    await world.add_account()
    await world.worker.beat(pb.Heartbeat())
    before = await command(world, "trunk", "add", "@ann", "--login", "early", "--transports", "tls")
    assert "Warning" not in before, "an older Worker does not say where it takes TLS"
    await world.worker.beat(pb.Heartbeat(most_calls=4))
    said = await command(world, "trunk", "add", "@ann", "--login", "only", "--transports", "tls")
    assert "Warning: it allows TLS only, and no Worker takes TLS" in said and "5060" not in said
    assert "only: it allows TLS only" in (await world.process.command("doctor", "--trunk", "only"))[1]
    said = await command(world, "trunk", "add", "@ann", "--login", "secret", "--srtp", "required")
    assert "Warning: it requires SRTP, which goes over TLS only, and no Worker takes TLS" in said
    options = trunk_pb2.TrunkOptions(srtp=trunk_pb2.SRTP_POLICY_REQUIRED, transports=["udp"])
    request = admin.AddTrunkRequest(account="@ann", options=options)
    code, why = await mistake(world.wire.admin.AddTrunk(request))
    assert code is grpc.StatusCode.INVALID_ARGUMENT and why.startswith("the trunk allows UDP and requires SRTP")
    refused = await world.process.command("trunk", "change", "secret", "--transports", "udp,tcp")
    assert refused[0] == 1 and "the trunk allows UDP, TCP and requires SRTP" in refused[2]
    unused = await command(world, "trunk", "add", "@ann", "--login", "plain", "--pbx", "pbx.example.com")
    assert "Warning: nothing goes to pbx.example.com: its PBX registers here" in unused
    assert "Warning: nothing goes to pbx.example.com" in await command(world, "trunk", "show", "plain")


async def test_the_worker_that_is_named_is_one_that_may_use_the_account(world: World) -> None:
    await world.add_account()
    other = Attachment(world.wire, worker_hello("other", "192.0.2.7:5060"))
    await other.beat(pb.Heartbeat(sip_tls_address="192.0.2.7:5061"))
    fleet = fleet_pb2_grpc.FleetServiceStub(world.wire.channel)
    await fleet.Assign(fleet_pb2.AssignRequest(account="@ann", worker_ids=["other"]))
    trunk = (await world.add_trunk("office")).trunk
    assert (trunk.sip_address, trunk.sip_tls_address) == ("192.0.2.7:5060", "192.0.2.7:5061")
    await fleet.Assign(fleet_pb2.AssignRequest(account="@ann", worker_ids=[]))
    await other.beat(pb.Heartbeat(sip_tls_address="192.0.2.7:5061", draining=True))
    trunk = (await world.wire.admin.GetTrunk(admin.GetTrunkRequest(trunk="office"))).trunk
    assert trunk.sip_address == "127.0.0.1:5060", "the one that goes is named last"


async def test_a_trunk_whose_pbx_does_not_register_shows_what_is_its_own(world: World) -> None:
    await world.add_account()
    await command(world, "trunk", "add", "@ann", "--login", "peer", "--kind", "peer", "--pbx", "192.0.2.10")
    shown = await command(world, "trunk", "show", "peer")
    assert "the PBX sees us come from: 127.0.0.1:5060" in shown
    assert not any(word in shown for word in ("server:", "digest:", "may be used from"))


async def test_a_change_of_nothing_is_told_and_no_codecs_are_the_usual_ones(world: World) -> None:
    await world.add_account()
    await command(world, "trunk", "add", "@ann", "--login", "office", "--codecs", "G722", "--comment", "x")
    status, out, errors = await world.process.command("trunk", "change", "office")
    assert (status, out) == (1, "") and errors.startswith("teletrunk: nothing is to be changed")
    changed = json.loads(await command(world, "trunk", "change", "office", "--codecs", "", "--comment", "", "--json"))
    assert (changed["trunk"]["codecs"], changed["trunk"].get("comment", "")) == (["PCMA", "PCMU", "G722"], "")
