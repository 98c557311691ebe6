"""The Manager's process."""

from __future__ import annotations

import asyncio
import os

import structlog
from pydantic import Field

from teletrunk import rpc, running
from teletrunk.config import ServiceSettings, kept_secret, load
from teletrunk.v1 import admin_pb2_grpc, manager_pb2_grpc
from teletrunk_manager.admin_service import AdminService
from teletrunk_manager.configurations import Configurations
from teletrunk_manager.db.database import Database
from teletrunk_manager.live import Live
from teletrunk_manager.manager_service import ManagerService
from teletrunk_manager.passwords import PasswordSeal

log = structlog.get_logger()


class ManagerSettings(ServiceSettings):
    """Prefix TELETRUNK_."""

    database_url: str | None = Field(None, description="SQLAlchemy URL; DATA/manager.db when not given.")


async def serve(settings: ManagerSettings) -> None:
    database = Database(settings.database_url or f"sqlite+aiosqlite:///{settings.data / 'manager.db'}")
    await database.open()
    live = Live()
    configurations = Configurations(database, live)
    seal = PasswordSeal(kept_secret(settings.data, "manager.key", lambda: os.urandom(32)))
    token = settings.token()
    server = rpc.Server(settings.manager_address, token)
    server.add(
        manager_pb2_grpc.add_ManagerServiceServicer_to_server,
        ManagerService(database, live, configurations, seal),
    )
    server.add(
        admin_pb2_grpc.add_AdminServiceServicer_to_server,
        AdminService(database, live, configurations, seal, token),
    )
    await server.start()
    log.info("manager listening", address=settings.manager_address)
    await running.until_stopped(_nothing_else())
    await server.stop()
    await database.close()


async def _nothing_else() -> None:
    """The server's own tasks do the work."""
    await asyncio.Event().wait()


def main() -> None:
    running.run("manager", lambda: load(ManagerSettings), serve)


if __name__ == "__main__":
    main()
