"""The Session Storage's process."""

from __future__ import annotations

import secrets
import socket

import structlog
from teletrunk import __version__, rpc, running
from teletrunk.config import kept_secret, load
from teletrunk.enrolment import security_of
from teletrunk.identity import Identity
from teletrunk.operations import operations_app, serve_http
from teletrunk.v1 import manager_pb2 as pb
from teletrunk.v1 import session_store_pb2_grpc

from teletrunk_session_store.config import StorageSettings

log = structlog.get_logger()


async def serve(settings: StorageSettings) -> None:
    # Imported late: a refusal over kurigram's neighbours must come before kurigram itself.
    from teletrunk_session_store.grants import RIGHTS, Grants
    from teletrunk_session_store.manager_link import ManagerLink
    from teletrunk_session_store.service import SessionStoreService
    from teletrunk_session_store.sessions import Sessions
    from teletrunk_session_store.telegram.clients import Clients
    from teletrunk_session_store.telegram.sign_in import SignIns
    from teletrunk_session_store.vault.adoption import vault_service
    from teletrunk_session_store.vault.seal import Seal
    from teletrunk_session_store.vault.store import Vault

    settings.check()
    running.hold_alone(settings.data, "session-store")
    vault = Vault(settings.database_url(), Seal(settings.key(), settings.other_keys()))
    await vault.open()
    if moved := await vault.rotate():
        log.info("vault moved under another key", rows=moved)
    clients = Clients(settings)
    storage_id = kept_secret(settings.data, "storage.id", lambda: secrets.token_hex(8).encode()).decode()
    security = await security_of(settings, Identity("storage", storage_id))
    sessions = Sessions(storage_id, vault, clients)
    sign_ins = SignIns(clients)
    grants = Grants()
    service = SessionStoreService(sessions, sign_ins, vault, grants, settings.telegram_library_versions.split(","))
    server = rpc.Server(settings.storage_address, security, RIGHTS, grants.is_current)
    server.add(session_store_pb2_grpc.add_SessionStoreServiceServicer_to_server, service)
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
    )
    manager = ManagerLink(settings.manager_address, security, hello, sessions, grants)
    operations = operations_app(lambda: "the vault does not answer" if sessions.blind else "", sessions.measure)
    works = [
        manager.stay_attached(),
        sessions.follow(),
        serve_http(settings.storage_metrics_address, "TELETRUNK_STORAGE_METRICS_ADDRESS", operations),
    ]
    if security.papers is not None:
        works.append(security.papers.keep_fresh(manager.way.renew, manager.way.redial))
    await running.until_stopped(*works)
    await manager.way.close()
    await server.stop()
    await service.settle()
    await sign_ins.close()
    await sessions.stop()
    await vault.close()


def main() -> None:
    running.run("session-store", lambda: load(StorageSettings), serve)


if __name__ == "__main__":
    main()
