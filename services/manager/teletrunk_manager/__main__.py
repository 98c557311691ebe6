"""The Manager's process."""

from __future__ import annotations

import os

import structlog
from cryptography.hazmat.primitives.asymmetric import ec
from teletrunk import rpc, running
from teletrunk.config import ConfigurationError, kept_secret, load
from teletrunk.identity import MANAGER, Papers, signing_request
from teletrunk.operations import operations_app, serve_http
from teletrunk.v1 import admin_pb2_grpc, fleet_pb2_grpc, manager_pb2_grpc, subscription_pb2_grpc

from teletrunk_manager.accounts import Accounts
from teletrunk_manager.admin_service import AdminService
from teletrunk_manager.administrators import Administrators
from teletrunk_manager.api.app import make_app
from teletrunk_manager.api.repeating import Repeating
from teletrunk_manager.attachments import Attachments
from teletrunk_manager.authentication import Authentication
from teletrunk_manager.authority import Authority
from teletrunk_manager.bans import BanList
from teletrunk_manager.config import ManagerSettings
from teletrunk_manager.configurations import Configurations
from teletrunk_manager.db.database import Database
from teletrunk_manager.fleet import Fleet, Gatehouse
from teletrunk_manager.fleet_service import EnrolmentService, FleetService
from teletrunk_manager.live import Live
from teletrunk_manager.manager_service import ManagerService
from teletrunk_manager.mirror import Mirror
from teletrunk_manager.passwords import KEY_BYTES, PasswordSeal
from teletrunk_manager.retention import retention
from teletrunk_manager.state import SharedState
from teletrunk_manager.state.memory import MemoryState
from teletrunk_manager.state.redis import RedisState
from teletrunk_manager.storages import Storages
from teletrunk_manager.subscription_service import SubscriptionService
from teletrunk_manager.subscriptions import Subscriptions
from teletrunk_manager.trunks import Trunks
from teletrunk_manager.webhooks import Webhooks

log = structlog.get_logger()

# Everything else is for commands on the Manager's own machine.
RIGHTS = {"/teletrunk.v1.ManagerService/": frozenset({"worker", "storage"})}


async def serve(settings: ManagerSettings) -> None:
    database = Database(settings.url())
    try:
        await database.open(upgrade=settings.upgrade_database)
        await _serve(settings, database)
    finally:
        await database.close()


async def _serve(settings: ManagerSettings, database: Database) -> None:
    live = Live()
    state: SharedState = RedisState(settings.redis_url.get_secret_value()) if settings.redis_url else MemoryState()
    configurations = Configurations(database, live, state)
    mirror = Mirror(state, live, configurations)
    bans = BanList(database, configurations)
    subscriptions = Subscriptions(database, state)
    gatehouse = _gatehouse(settings)
    security = rpc.Security(settings.token(), _papers(settings, gatehouse))
    fleet = Fleet(database, live, configurations, gatehouse)
    await fleet.refresh()
    seal = _seal(settings)
    webhooks = Webhooks(database, seal)
    administrators = Administrators(database, configurations)
    trunks = Trunks(database, live, configurations, seal)
    await trunks.check_seal()
    accounts = Accounts(database, live, configurations, Storages(live, security))
    attachments = Attachments(database, live, state, configurations, bans)
    service = ManagerService(
        database, live, Authentication(database, seal), attachments, fleet, subscriptions, webhooks
    )
    server = rpc.Server(settings.manager_address, security, RIGHTS, fleet.is_current)
    server.add(manager_pb2_grpc.add_ManagerServiceServicer_to_server, service)
    admin = AdminService(database, live, accounts, trunks, administrators, webhooks)
    fleet_service, plans = FleetService(fleet, trunks, bans), SubscriptionService(subscriptions)
    server.add(admin_pb2_grpc.add_AdminServiceServicer_to_server, admin)
    server.add(fleet_pb2_grpc.add_FleetServiceServicer_to_server, fleet_service)
    server.add(subscription_pb2_grpc.add_SubscriptionServiceServicer_to_server, plans)
    api = make_app((admin, fleet_service, plans), administrators, Repeating(database, seal))
    enrolment = None
    if gatehouse is not None and security.papers is not None:
        server.listen_here(settings.socket)
        enrolment = rpc.Server(settings.enrolment, security, front_door=True)
        enrolment.add(fleet_pb2_grpc.add_EnrolmentServiceServicer_to_server, EnrolmentService(fleet))
        await enrolment.start()
        gatehouse.enrolment_address = gatehouse.enrolment_address or f"{_host(settings.enrolment)}:{enrolment.port}"
    await server.start()
    log.info("manager listening", address=f"{_host(settings.manager_address)}:{server.port}", tls=settings.tls)
    operations = operations_app(lambda: "the database cannot be used" if database.failing else "", live.measure)
    works = [
        configurations.keep_sending(), fleet.keep_current(), mirror.keep_looking(), mirror.keep_listening(),
        webhooks.keep_telling(), retention(database, settings.records_days),
        serve_http(settings.manager_metrics_address, "TELETRUNK_MANAGER_METRICS_ADDRESS", operations),
        serve_http(settings.api_address, "TELETRUNK_API_ADDRESS", api, **settings.api_tls()),
    ]  # fmt: skip
    if gatehouse is not None and security.papers is not None:
        works.append(security.papers.keep_fresh(lambda request: _signed(gatehouse, request), lambda: None))
    try:
        await running.until_stopped(*works)
    finally:
        live.close()
        if enrolment is not None:
            await enrolment.stop()
        await server.stop()
        await attachments.settle()
        await state.close()
        log.info("manager stopped")


def _host(address: str) -> str:
    return address.rpartition(":")[0]


def _gatehouse(settings: ManagerSettings) -> Gatehouse | None:
    if not settings.tls:
        return None
    authority = Authority.open(settings.authority_directory, settings.certificate_days)
    reached = settings.public_manager_address or settings.manager_address
    port = settings.enrolment.rpartition(":")[2]
    return Gatehouse(authority, f"{_host(reached)}:{port}" if port != "0" else "")


def _papers(settings: ManagerSettings, gatehouse: Gatehouse | None) -> Papers | None:
    """The Manager certifies itself afresh at each start."""
    if gatehouse is None:
        return None
    papers = Papers(settings.data / "identity" / "manager", MANAGER)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = gatehouse.authority.sign(signing_request(MANAGER, key), MANAGER)
    papers.store(key, certificate, gatehouse.authority.pem)
    return papers


async def _signed(gatehouse: Gatehouse, request: bytes) -> tuple[bytes, bytes]:
    return gatehouse.authority.sign(request, MANAGER), gatehouse.authority.pem


def _seal(settings: ManagerSettings) -> PasswordSeal:
    path = settings.manager_key_file
    try:
        key = (
            path.read_bytes()
            if settings.key_file
            else kept_secret(settings.data, "manager.key", lambda: os.urandom(KEY_BYTES))
        )
    except OSError as error:
        raise ConfigurationError(f"TELETRUNK_KEY_FILE: {path}: {error.strerror}") from None
    if len(key) != KEY_BYTES:
        raise ConfigurationError(f"{path} is not a key of {KEY_BYTES} bytes: put the right file back")
    return PasswordSeal(key)


def main() -> None:
    running.run("manager", lambda: load(ManagerSettings), serve)


if __name__ == "__main__":
    main()
