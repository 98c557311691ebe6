"""The Session Storage's process."""

from __future__ import annotations

import teletrunk.lean_libraries  # noqa: F401

# isort: split
import asyncio
import secrets
import socket

import structlog
from teletrunk import __version__, lazy_packages, lazy_schema, rpc, running
from teletrunk.config import kept_secret, load
from teletrunk.identity import Identity
from teletrunk.membership import membership_of
from teletrunk.operations import serve_operations
from teletrunk.service import Service
from teletrunk.v1 import manager_pb2 as pb
from teletrunk.v1 import session_store_pb2_grpc

from teletrunk_session_store.config import StorageSettings

log = structlog.get_logger()


async def serve(settings: StorageSettings) -> int | None:
    settings.check()
    running.hold_alone(settings.data, "session-store")
    async with Service("session-store") as service:
        return await _serve(settings, service)
    return None  # a signal came while it was starting


async def _serve(settings: StorageSettings, service: Service) -> int | None:
    # Imported late: a refusal over kurigram's neighbours must come before kurigram itself.
    lazy_schema.install()
    lazy_packages.install("sqlalchemy.ext.asyncio")  # without its sessions, and so without the ORM: 6 MB

    from teletrunk_session_store.grants import RIGHTS, Grants
    from teletrunk_session_store.manager_link import ManagerLink
    from teletrunk_session_store.service import SessionStoreService
    from teletrunk_session_store.sessions import Sessions
    from teletrunk_session_store.telegram import library_tasks
    from teletrunk_session_store.telegram.clients import Clients
    from teletrunk_session_store.telegram.sign_in import SignIns
    from teletrunk_session_store.vault.adoption import vault_service
    from teletrunk_session_store.vault.seal import Seal
    from teletrunk_session_store.vault.store import Vault

    lazy_schema.load_calls()
    library_tasks.watch(asyncio.get_running_loop())
    vault = Vault(settings.database_url(), Seal(settings.key(), settings.other_keys()))
    service.on_close("vault", vault.close)
    await vault.open()
    if moved := await vault.rotate():
        log.info("vault moved under another key", rows=moved)
    clients = Clients(settings)
    storage_id = kept_secret(settings.data, "storage.id", lambda: secrets.token_hex(8).encode()).decode()
    membership = membership_of(settings, Identity("storage", storage_id))
    security = await membership.security()
    sessions = Sessions(storage_id, vault, clients)
    service.on_close("sessions", sessions.stop)
    sign_ins = SignIns(clients)
    service.on_close("sign-ins", sign_ins.close)
    grants = Grants()
    store = SessionStoreService(sessions, sign_ins, vault, grants, settings.telegram_library_versions.split(","))
    service.on_close("calls", store.settle)
    server = rpc.Server(settings.storage_address, security, RIGHTS, grants.is_current)
    server.add(session_store_pb2_grpc.add_SessionStoreServiceServicer_to_server, store)
    service.on_close("gRPC", server.stop)
    await server.start()
    await sessions.start()
    address = f"{settings.storage_address.rpartition(':')[0]}:{server.port}"
    log.info("storage listening", address=address)
    if vault.held_back:
        log.warning("no session is run yet", reason=vault.held_back)
    reached = settings.public_storage_address or address
    await server.show(vault_service(await vault.introduce(settings.witness(storage_id, reached))))
    hello = pb.StorageHello(
        storage_id=storage_id,
        name=socket.gethostname(),
        version=__version__,
        address=reached,
        vault_proof=await vault.proof(),
        takes_parts=True,
    )
    manager = ManagerLink(membership.managers, security, hello, sessions, grants)
    service.on_close("Manager", manager.way.close)

    def not_ready() -> str:
        return service.not_ready() or ("the vault does not answer" if sessions.blind else "")

    service.background("Manager link", manager.stay_attached)
    service.background("the vault's other Storages", sessions.follow)
    service.background(
        "metrics",
        lambda: serve_operations(
            settings.storage_metrics_address, "TELETRUNK_STORAGE_METRICS_ADDRESS", not_ready, sessions.measure
        ),
    )
    if security.papers is not None:
        service.background("certificate", lambda: membership.keep(manager.way, manager.way.redial))
    return await service.until_stopped(lambda: sessions.drain(settings.drain_seconds))


def main() -> None:
    running.run("session-store", lambda: load(StorageSettings), serve)


if __name__ == "__main__":
    main()
