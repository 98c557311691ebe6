"""A stream that stays open but says nothing, on the Manager's own server with a shorter patience."""

from __future__ import annotations

import asyncio
from pathlib import Path

from teletrunk import rpc
from teletrunk.v1 import manager_pb2 as pb
from teletrunk.v1 import manager_pb2_grpc
from teletrunk_manager.attachments import Attachments
from teletrunk_manager.authentication import Authentication
from teletrunk_manager.bans import BanList
from teletrunk_manager.bindings import Bindings
from teletrunk_manager.configurations import Configurations
from teletrunk_manager.db.database import Database
from teletrunk_manager.deliveries import Deliveries
from teletrunk_manager.enrolment import Enrolment
from teletrunk_manager.fleet import Fleet
from teletrunk_manager.live import Live
from teletrunk_manager.manager_service import ManagerService
from teletrunk_manager.managers import Managers
from teletrunk_manager.news import News
from teletrunk_manager.passwords import PasswordSeal
from teletrunk_manager.proofs import Proofs
from teletrunk_manager.refused_registrations import RefusedRegistrations
from teletrunk_manager.reported_calls import ReportedCalls
from teletrunk_manager.retirement import Retirement
from teletrunk_manager.state.memory import MemoryState
from teletrunk_manager.storages import Storages
from teletrunk_manager.streams import Streams
from teletrunk_manager.subscriptions import Subscriptions

from tests.integration.manager_process import TOKEN, Attachment, Wire, worker_hello


async def test_a_silent_service_is_let_go(tmp_path: Path) -> None:
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'manager.db'}")
    await database.open()
    live, state = Live(), MemoryState()
    seal, proofs = PasswordSeal(bytes(32)), Proofs(bytes(32))
    configurations = Configurations(database, live, state, seal)
    deliveries, subscriptions = Deliveries(database, seal), Subscriptions(database, state, proofs)
    news = News(database, deliveries)
    bans = BanList(database, configurations, news)
    storages = Storages(live, rpc.Security(TOKEN))
    bindings = Bindings(live, Streams(live, state))
    attachments = Attachments(
        database,
        live,
        state,
        configurations,
        bans,
        bindings,
        storages,
        news,
        proofs,
        RefusedRegistrations(database),
        silence=0.5,
    )
    fleet = Fleet(database, live, configurations)
    service = ManagerService(
        database,
        live,
        Authentication(database, seal),
        attachments,
        fleet,
        Enrolment(database, fleet, None),
        Retirement(database, live, fleet, configurations, Managers(database), hours=0),
        subscriptions,
        proofs,
        ReportedCalls(database, subscriptions, deliveries, proofs),
        RefusedRegistrations(database),
    )
    server = rpc.Server("127.0.0.1:0", rpc.Security(TOKEN))
    server.add(manager_pb2_grpc.add_ManagerServiceServicer_to_server, service)
    await server.start()
    wire = Wire(f"127.0.0.1:{server.port}")
    silent, talking = (Attachment(wire, worker_hello(name)) for name in ("silent", "talking"))
    await silent.beat()
    for _ in range(4):
        await talking.beat(pb.Heartbeat(active_calls=1))
        await asyncio.sleep(0.2)
    await silent.ended(within=1)
    await talking.beat()
    assert [worker.service_id for worker in live.of_kind("worker")] == ["talking"]
    await talking.leave()
    await wire.channel.close()
    await server.stop(0)
    await database.close()
