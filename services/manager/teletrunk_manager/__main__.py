"""The Manager's process."""

from __future__ import annotations

import os

import structlog
from teletrunk import rpc, running
from teletrunk.config import ConfigurationError, kept_secret, load
from teletrunk.v1 import admin_pb2_grpc, manager_pb2_grpc

from teletrunk_manager.accounts import Accounts
from teletrunk_manager.admin_service import AdminService
from teletrunk_manager.attachments import Attachments
from teletrunk_manager.config import ManagerSettings
from teletrunk_manager.configurations import Configurations
from teletrunk_manager.db.database import Database
from teletrunk_manager.live import Live
from teletrunk_manager.manager_service import ManagerService
from teletrunk_manager.passwords import KEY_BYTES, PasswordSeal
from teletrunk_manager.storages import Storages
from teletrunk_manager.trunks import Trunks

log = structlog.get_logger()


async def serve(settings: ManagerSettings) -> None:
    database = Database(settings.url())
    try:
        await database.open()
        await _serve(settings, database)
    finally:
        await database.close()


async def _serve(settings: ManagerSettings, database: Database) -> None:
    live = Live()
    configurations = Configurations(database, live)
    trunks = Trunks(database, live, configurations, _seal(settings))
    accounts = Accounts(database, live, configurations, Storages(live, settings.token()))
    attachments = Attachments(database, live, configurations)
    server = rpc.Server(settings.manager_address, settings.token())
    server.add(
        manager_pb2_grpc.add_ManagerServiceServicer_to_server, ManagerService(database, live, trunks, attachments)
    )
    server.add(admin_pb2_grpc.add_AdminServiceServicer_to_server, AdminService(database, live, accounts, trunks))
    await server.start()
    log.info("manager listening", address=f"{settings.manager_address.rpartition(':')[0]}:{server.port}")
    try:
        await running.until_stopped(configurations.keep_sending())
    finally:
        live.close()
        await server.stop()
        log.info("manager stopped")


def _seal(settings: ManagerSettings) -> PasswordSeal:
    key = kept_secret(settings.data, "manager.key", lambda: os.urandom(KEY_BYTES))
    if len(key) != KEY_BYTES:
        path = settings.data / "secrets" / "manager.key"
        raise ConfigurationError(f"{path} is not a key of {KEY_BYTES} bytes: put the right file back")
    return PasswordSeal(key)


def main() -> None:
    running.run("manager", lambda: load(ManagerSettings), serve)


if __name__ == "__main__":
    main()
