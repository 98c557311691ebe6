"""Which Worker registers an outbound trunk, and is told its PBX's password."""

from __future__ import annotations

from teletrunk.v1 import admin_pb2 as admin
from teletrunk.v1 import manager_pb2 as pb
from teletrunk.v1.trunk_pb2 import TRUNK_KIND_OUTBOUND, PbxAddress, TrunkOptions, TrunkState

from tests.integration.manager_process import PATIENCE_S, Attachment, worker_hello
from tests.integration.manager_world import World

_PASSWORD = "s3cret-of-pbx"


async def test_who_says_that_it_has_registered_takes_no_trunk_from_the_worker_that_has(world: World) -> None:
    await world.add_account()
    pbx = PbxAddress(address="192.0.2.9", username="u")
    options = TrunkOptions(kind=TRUNK_KIND_OUTBOUND, pbx=pbx)
    request = admin.AddTrunkRequest(account="@ann", login="out", options=options, pbx_password=_PASSWORD)
    trunk_id = (await world.wire.admin.AddTrunk(request)).trunk.trunk_id
    up = pb.Heartbeat(trunk_states=[TrunkState(trunk_id=trunk_id, up=True)])
    thief = Attachment(world.wire, worker_hello("a-thief"))  # its id comes first
    await thief.beat(up)

    async def passwords(priority: int) -> list[str]:
        """What both are told after one more change."""
        change = admin.ChangeTrunkRequest(trunk="out", priority=priority, codecs=["PCMA", "PCMU"][: priority % 2 + 1])
        await world.wire.admin.ChangeTrunk(change)

        def is_new(config: pb.WorkerConfig) -> bool:
            return bool(config.trunks) and len(config.trunks[0].codecs) == priority % 2 + 1

        told = [await worker.config(is_new, within=PATIENCE_S) for worker in (world.worker, thief)]
        return [config.trunks[0].pbx_password for config in told]

    assert await passwords(1) == ["", _PASSWORD], "the first one that says so, while nobody else does"
    await thief.beat()
    await world.worker.beat(up)
    assert await passwords(2) == [_PASSWORD, ""]
    await thief.beat(up)
    await world.worker.beat(up)
    assert await passwords(3) == [_PASSWORD, ""], "it has been here for longer"
    await world.worker.beat(pb.Heartbeat(draining=True))
    assert (await thief.config(lambda config: config.trunks[0].registers, PATIENCE_S)).trunks[0].pbx_password
