"""teletrunk storage adopt: lets the sessions of a copy run, once nobody answers where its original was."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import ssl
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine
from teletrunk import rpc
from teletrunk.backup.witness import MANAGER, STORAGE, Witness, is_loopback, machine_id, reached
from teletrunk.config import ConfigurationError, load
from teletrunk.database import make_engine, sqlite_file
from teletrunk.identity import MANAGER as IDENTITY_OF_MANAGER
from teletrunk.identity import Identity
from teletrunk.papers import Papers

from teletrunk_session_store.config import StorageSettings
from teletrunk_session_store.vault import adoption
from teletrunk_session_store.vault.tables import SCHEMA

_KNOCK_S: Final = 3.0
_DATABASE_S: Final = 20.0
_NO_VAULT: Final = "there is no vault of this version here: set TELETRUNK_DATA or TELETRUNK_VAULT_URL"
NOTHING_TO_DO: Final = "The vault is adopted already: its sessions run."


class StillThere(ConfigurationError):
    """Somebody may run the sessions; the text names who answered."""


def adopt(confirm: Callable[[str], bool]) -> str:
    """Adopts the vault of this machine's settings, or raises `StillThere`. `confirm` is shown what could be found out.

    Returns a line for the person who asked; empty when they did not confirm.
    """
    settings = load(StorageSettings)
    return asyncio.run(_adopt(settings, confirm))


async def _adopt(settings: StorageSettings, confirm: Callable[[str], bool]) -> str:
    file = sqlite_file(settings.database_url())
    if file is not None and not await asyncio.to_thread(file.exists):
        raise ConfigurationError(_NO_VAULT)  # to look would make an empty one
    engine = make_engine(settings.database_url())
    try:
        async with asyncio.timeout(_DATABASE_S), engine.connect() as connection:
            await connection.run_sync(_require_vault)
            if not await adoption.held_back(connection):
                return NOTHING_TO_DO
            witnesses = await adoption.witnesses(connection)
            users = await adoption.storages(connection)
            service = adoption.vault_service(await adoption.vault_id(connection))
        found = await _ask_all(settings, witnesses, users, service)
        await _require_no_leases(engine)
        if not confirm(found):
            return ""
        await _ask_all(settings, witnesses, users, service)  # a person may have thought for long
        async with asyncio.timeout(_DATABASE_S), engine.begin() as connection:
            await adoption.adopt(connection)
    except (SQLAlchemyError, OSError) as error:
        raise ConfigurationError(f"the vault cannot be used: {type(error).__name__}") from None
    finally:
        await engine.dispose()
    return "Adopted: the sessions are run from here. The old installation must never be started again."


def _require_vault(connection: Connection) -> None:
    if SCHEMA.revision(connection) != SCHEMA.head:
        raise ConfigurationError(_NO_VAULT)


async def _require_no_leases(engine: AsyncEngine) -> None:
    async with asyncio.timeout(_DATABASE_S), engine.connect() as connection:
        if owners := await adoption.owners_of_leases(connection):
            raise StillThere(f"the Session Storage {', '.join(owners)} runs sessions of this vault: stop it first")


async def _ask_all(settings: StorageSettings, witnesses: list[Witness], users: list[Witness], service: str) -> str:
    """Says who does not answer. Raises `StillThere` when one of them is there. `users` have this vault: in a cluster
    they may have the addresses of those before, and other ids."""
    here = machine_id()
    security = rpc.Security(settings.token(), _papers(settings))
    ours = [reached(address) for address in settings.manager_address.split(",")]
    shown = {await _certificate(address, security.papers) for address in ours} - {None}
    others = [each for each in witnesses if each.kind != MANAGER or each.address not in ours]
    asked = [each for each in others if _leads_there(each, here)]
    found = await asyncio.gather(*(_answers(each, users, security, service, shown) for each in asked))
    there = [f"a {each.kind} at {each.address}" for each, answers in zip(asked, found, strict=True) if answers]
    there += [
        f"a Session Storage on {each.data}"
        for each in witnesses
        if each.kind == STORAGE and each.machine == here and await asyncio.to_thread(_is_held, each, settings.data)
    ]
    if there:
        raise StillThere(
            f"the installation that this is a copy of is still there: {', '.join(sorted(set(there)))} answers; "
            "stop it for good, then adopt"
        )
    silent = f"Nobody answers at {_listed(asked)}." if asked else "No address of the old installation can be asked."
    beyond = [each for each in others if each not in asked]
    return f"{silent} From here nobody can ask at {_listed(beyond)}." if beyond else silent


def _listed(witnesses: list[Witness]) -> str:
    return ", ".join(sorted({f"{each.address} ({each.kind})" for each in witnesses}))


def _papers(settings: StorageSettings) -> Papers | None:
    papers = Papers(settings.data / "identity" / "storage", Identity("storage", ""))
    return papers if papers.exist else None


def _leads_there(witness: Witness, here: str) -> bool:
    """A loopback address of another machine says nothing about it from here."""
    return not is_loopback(witness.address) or not witness.machine or witness.machine == here


async def _answers(
    witness: Witness, users: list[Witness], security: rpc.Security, service: str, shown: Set[bytes | None]
) -> bool:
    """Whether somebody is there who is not of the new installation. Whatever accepts a connection counts: what is
    stopped or refuses us may run the sessions all the same. `shown` are the certificates of our Managers."""
    host, _, port = witness.address.rpartition(":")
    try:
        async with asyncio.timeout(_KNOCK_S):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except (OSError, TimeoutError):
        return False
    writer.close()
    if witness.kind == STORAGE:
        there = {each.service_id: each for each in (witness, *users) if each.address == witness.address}
        return not any(await asyncio.gather(*(_uses_our_vault(each, security, service) for each in there.values())))
    return await _certificate(witness.address, security.papers) not in shown


async def _certificate(address: str, papers: Papers | None) -> bytes | None:
    """What a Manager shows there. Each makes itself a certificate at its start: the same one is the same Manager."""
    if papers is None:
        return None
    context = ssl.create_default_context(cadata=papers.load()[2].decode())
    context.load_cert_chain(papers.file)
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    with contextlib.suppress(OSError):
        async with asyncio.timeout(_KNOCK_S):
            _, writer = await asyncio.open_connection(
                host.strip("[]"), int(port), ssl=context, server_hostname=IDENTITY_OF_MANAGER.server_name
            )
            writer.close()
            found: bytes | None = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            return found
    return None


async def _uses_our_vault(storage: Witness, security: rpc.Security, service: str) -> bool:
    question = health_pb2.HealthCheckRequest(service=service)
    with contextlib.suppress(grpc.aio.AioRpcError, ConfigurationError):
        async with rpc.dial(storage.address, security, Identity("storage", storage.service_id)) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            answer = await health.Check(question, timeout=_KNOCK_S)
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
    return False


def _is_held(witness: Witness, ours: Path) -> bool:
    """Whether a Storage holds that data directory now, as far as we may look."""
    if not witness.data or Path(witness.data) == ours.resolve():
        return False
    try:
        with (Path(witness.data) / "session-store.lock").open("r") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
