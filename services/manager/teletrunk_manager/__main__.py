"""The Manager's process."""

from __future__ import annotations

import teletrunk.lean_libraries  # noqa: F401

# isort: split
import asyncio

import structlog
from teletrunk import rpc, running
from teletrunk.config import load
from teletrunk.operations import serve_operations
from teletrunk.service import Service
from teletrunk.v1 import admin_pb2_grpc, fleet_pb2_grpc, live_calls_pb2_grpc, manager_pb2_grpc, subscription_pb2_grpc

from teletrunk_manager.accounts import Accounts
from teletrunk_manager.admin_service import AdminService
from teletrunk_manager.administrators import Administrators
from teletrunk_manager.allotments import Allotment
from teletrunk_manager.attachments import Attachments
from teletrunk_manager.authentication import Authentication
from teletrunk_manager.bans import BanList
from teletrunk_manager.bindings import Bindings
from teletrunk_manager.config import ManagerSettings
from teletrunk_manager.configurations import Configurations
from teletrunk_manager.db.database import Database
from teletrunk_manager.deliveries import Deliveries
from teletrunk_manager.enrolment import Enrolment
from teletrunk_manager.fleet import Fleet
from teletrunk_manager.fleet_service import EnrolmentService, FleetService
from teletrunk_manager.invitations import Invitations
from teletrunk_manager.join_file import keep_declared, read
from teletrunk_manager.join_tokens import JoinTokens
from teletrunk_manager.live import Live
from teletrunk_manager.live_call_service import LiveCallService
from teletrunk_manager.live_calls import LiveCalls
from teletrunk_manager.manager_service import ManagerService
from teletrunk_manager.managers import Managers
from teletrunk_manager.mirror import Mirror
from teletrunk_manager.news import News
from teletrunk_manager.passwords import PasswordSeal, kept_key
from teletrunk_manager.proofs import Proofs
from teletrunk_manager.refused_registrations import RefusedRegistrations
from teletrunk_manager.reported_calls import ReportedCalls
from teletrunk_manager.retention import retention, retention_of_changes
from teletrunk_manager.retirement import Retirement
from teletrunk_manager.services import Services
from teletrunk_manager.sign_ins import SignIns
from teletrunk_manager.state import SharedState
from teletrunk_manager.state.memory import MemoryState
from teletrunk_manager.storages import Storages
from teletrunk_manager.streams import Streams
from teletrunk_manager.subscription_service import SubscriptionService
from teletrunk_manager.subscriptions import Subscriptions
from teletrunk_manager.telegram_pace import TelegramPace
from teletrunk_manager.tokens import Tokens
from teletrunk_manager.trial_number import TrialNumber
from teletrunk_manager.trunks import Trunks
from teletrunk_manager.vaults import Vaults
from teletrunk_manager.webhooks import Webhooks

log = structlog.get_logger()

# Everything else is for commands on the Manager's own machine.
_OF_SERVICES = "/teletrunk.v1.ManagerService/"
RIGHTS = {_OF_SERVICES: frozenset({"worker"})} | {
    _OF_SERVICES + method: frozenset({"worker", "storage"}) for method in ("Attach", "Renew", "Leave")
}


async def serve(settings: ManagerSettings) -> int | None:
    settings.check()
    async with Service("manager") as service:
        return await _serve(settings, service)
    return None  # a signal came while it was starting


async def _serve(settings: ManagerSettings, service: Service) -> int | None:
    database = Database(settings.url())
    service.on_close("database", database.close)
    await database.open(upgrade=settings.upgrade_database)
    live = Live()
    state = _state(settings)
    service.on_close("shared state", state.close)
    key = kept_key(settings)
    seal, proofs = PasswordSeal(key), Proofs(key)
    configurations = Configurations(database, live, state, seal)
    streams = Streams(live, state)
    bindings = Bindings(live, streams)
    mirror = Mirror(state, live, configurations)
    deliveries = Deliveries(database, seal, private=settings.webhooks_to_private)
    webhooks, news = Webhooks(database, seal, deliveries), News(database, deliveries)
    bans = BanList(database, configurations, news)
    subscriptions = Subscriptions(database, state, proofs)
    subscriptions.on_limit = lambda facts: news.tell("plan.limit", facts)
    managers = Managers(database)
    gatehouse, papers = None, None
    if settings.tls:
        from teletrunk_manager.own_papers import gatehouse_of, papers_of  # all about certificates: 2 MB

        gatehouse = gatehouse_of(settings, managers)
        papers = papers_of(settings, gatehouse)
    security = rpc.Security(settings.token(), papers)
    fleet = Fleet(database, live, configurations)
    await fleet.refresh()
    enrolling = Enrolment(database, fleet, gatehouse)
    joins = JoinTokens(database, enrolling)
    declared = read(settings.join_file) if settings.join_file else []
    if settings.join_file:  # without one it has no say in what the others have declared
        await joins.declare(declared)
    retirement = Retirement(database, live, fleet, configurations, managers, settings.retire_hours)
    administrators, tokens = Administrators(database, configurations), Tokens(database)
    if token := settings.api_token():
        await tokens.keep("installation", token)
    allotment = Allotment(settings.administrator_trunks, settings.administrator_networks)
    trunks = Trunks(database, live, configurations, seal, bindings, allotment)
    await trunks.check_seal()
    storages = Storages(live, security)
    telegram_pace = TelegramPace()
    accounts = Accounts(database, live, configurations, storages, SignIns(proofs), telegram_pace)
    refused = RefusedRegistrations(database)
    service.on_close("refused registrations", refused.write)
    attachments = Attachments(database, live, state, configurations, bans, bindings, storages, news, proofs, refused)
    service.on_close("attachments", attachments.settle)
    authentication = Authentication(database, seal)
    reported = ReportedCalls(database, subscriptions, deliveries, proofs)
    questions = ManagerService(
        database, live, authentication, attachments, fleet, enrolling, retirement, subscriptions, proofs, reported,
        refused,
    )  # fmt: skip
    server = rpc.Server(settings.manager_address, security, RIGHTS, fleet.is_current)
    server.add(manager_pb2_grpc.add_ManagerServiceServicer_to_server, questions)
    trial_number = TrialNumber(database, live, storages, telegram_pace)
    services = Services(database, live)
    admin = AdminService(database, services, accounts, trunks, administrators, tokens, webhooks, trial_number)
    fleet_service = FleetService(
        fleet, enrolling, Invitations(database), joins, retirement, trunks, bans, Vaults(database)
    )
    plans = SubscriptionService(subscriptions)
    live_calls = LiveCalls(database, live, streams)
    live_call_service = LiveCallService(live_calls)
    server.add(admin_pb2_grpc.add_AdminServiceServicer_to_server, admin)
    server.add(fleet_pb2_grpc.add_FleetServiceServicer_to_server, fleet_service)
    server.add(subscription_pb2_grpc.add_SubscriptionServiceServicer_to_server, plans)
    server.add(live_calls_pb2_grpc.add_LiveCallServiceServicer_to_server, live_call_service)
    service.on_close("gRPC", server.stop)
    if gatehouse is not None and papers is not None:
        server.listen_here(settings.socket)
        enrolment = rpc.Server(settings.enrolment, security, front_door=True)
        enrolment.add(fleet_pb2_grpc.add_EnrolmentServiceServicer_to_server, EnrolmentService(enrolling))
        service.on_close("enrolment", enrolment.stop)
        await enrolment.start()
        gatehouse.enrolment_address = gatehouse.enrolment_address or f"{_host(settings.enrolment)}:{enrolment.port}"
        service.background("certificate", lambda: papers.keep_fresh(gatehouse.sign_own, lambda: None))
    await server.start()
    if gatehouse is not None:
        managers.own = settings.public_manager_address or f"{_host(settings.manager_address)}:{server.port}"
        await managers.show()
    log.info("manager listening", address=f"{_host(settings.manager_address)}:{server.port}", tls=settings.tls)

    def not_ready() -> str:
        return service.not_ready() or ("the database cannot be used" if database.failing else "")

    service.on_close("streams", attachments.close)
    service.background("configurations", configurations.keep_sending)
    service.background("members", lambda: fleet.keep_current(alone=not settings.redis_url))
    service.background("shared state, looking", mirror.keep_looking)
    service.background("shared state, listening", mirror.keep_listening)
    service.background("what other Managers pass on", streams.keep_handing_on)
    service.background("retirement", retirement.keep_looking)
    service.background("declared join tokens", lambda: keep_declared(settings.join_file, declared, joins.declare))
    service.background("webhooks", deliveries.keep_telling)
    service.background("news", news.keep_writing)
    service.background("refused registrations", refused.keep_writing)
    service.background("retention", lambda: retention(database, settings.records_days))
    service.background("retention of changes", lambda: retention_of_changes(database, settings.changes_days))
    service.background(
        "metrics",
        lambda: serve_operations(
            settings.manager_metrics_address, "TELETRUNK_MANAGER_METRICS_ADDRESS", not_ready, live.measure
        ),
    )
    if api_address := settings.api_address:
        # Imported where it is wanted only: FastAPI and what it makes of the protos take 20 MB.
        from teletrunk.http_server import serve_http

        from teletrunk_manager.api.app import make_app
        from teletrunk_manager.api.repeating import Repeating

        api = make_app((admin, fleet_service, plans, live_call_service), tokens, Repeating(database, seal))
        service.background("API", lambda: serve_http(api_address, "TELETRUNK_API_ADDRESS", api, **settings.api_tls()))
    return await service.until_stopped(lambda: asyncio.sleep(settings.drain_seconds))


def _state(settings: ManagerSettings) -> SharedState:
    if not settings.redis_url:
        return MemoryState()
    from teletrunk_manager.state.redis import RedisState  # its library is large

    return RedisState(settings.redis_url.get_secret_value())


def _host(address: str) -> str:
    return address.rpartition(":")[0]


def main() -> None:
    running.run("manager", lambda: load(ManagerSettings), serve)


if __name__ == "__main__":
    main()
