"""What a Manager keeps: its database, the key of the trunks' passwords, its authority."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from teletrunk.backup.part import Part, Store
from teletrunk.backup.witness import MANAGER, STORAGE, Witness, is_loopback, machine_id, reached
from teletrunk.config import load

from teletrunk_manager import authority
from teletrunk_manager.config import ManagerSettings
from teletrunk_manager.db.database import SCHEMA
from teletrunk_manager.db.tables import Base, Service


def part() -> Part:
    """Of this machine's settings. Raises `ConfigurationError`."""
    return ManagerPart(load(ManagerSettings))


class ManagerPart(Part):
    def __init__(self, settings: ManagerSettings) -> None:
        certificate, key = authority.files(settings.authority_directory)
        paths = {
            "secrets/cluster.token": settings.data / "secrets" / "cluster.token",
            "secrets/manager.key": settings.key_path,
            "authority/authority.pem": certificate,
            "authority/authority.key": key,
        }
        needed = ("secrets/manager.key", *(("authority/authority.pem", "authority/authority.key") * settings.tls))
        store = Store(settings.url(), SCHEMA, list(Base.metadata.sorted_tables))
        super().__init__("manager", paths, settings.given_token(), needed, store)
        self._settings = settings

    async def witnesses(self, connection: AsyncConnection | None) -> list[Witness]:
        here, data = machine_id(), str(self._settings.data.resolve())
        addresses = {self._settings.manager_address, self._settings.public_manager_address} - {None}
        found = [Witness(MANAGER, reached(address), "", here, data) for address in addresses if address]
        if connection is not None:
            storages = sa.select(Service.service_id, Service.address).where(Service.kind == "storage")
            for service_id, address in await connection.execute(storages):
                found.append(Witness(STORAGE, reached(address), service_id, here if is_loopback(address) else ""))
        return found
