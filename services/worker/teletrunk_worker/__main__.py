"""The Worker's control process."""

from __future__ import annotations

import teletrunk.lean_libraries  # noqa: F401

# isort: split
import asyncio
import errno
import os
import secrets
import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any

import structlog
from teletrunk import __version__, metrics, running
from teletrunk.changes import Lists
from teletrunk.config import ConfigurationError, kept_secret, load
from teletrunk.errors import Refusal
from teletrunk.identity import Identity
from teletrunk.membership import membership_of
from teletrunk.operations import serve_operations
from teletrunk.service import Service
from teletrunk.v1 import manager_pb2 as pb

from teletrunk_worker.calls import Calls, Rim
from teletrunk_worker.config import CALLS_A_SIP_HOST, WorkerSettings
from teletrunk_worker.dialog_store import DialogStore
from teletrunk_worker.legs.supervisor import HostPool
from teletrunk_worker.legs.wire import Message
from teletrunk_worker.links.journal import Journal
from teletrunk_worker.links.manager import ManagerLink
from teletrunk_worker.links.spool import Spool
from teletrunk_worker.links.storage import StorageLinks
from teletrunk_worker.policy.bans import Bans
from teletrunk_worker.refused_calls import RefusedCalls
from teletrunk_worker.registrar_store import RegistrarStore
from teletrunk_worker.server.port import SipPort
from teletrunk_worker.sip.proxy import bracketed
from teletrunk_worker.sip.transport.locate import DnsResolver
from teletrunk_worker.trunks.book import TrunkBook
from teletrunk_worker.trunks.shown import shown

log = structlog.get_logger()

_WIDE_RATE = 16_000  # of hosts for calls with 7 kHz of sound
_CALLS_A_TELEGRAM_HOST = 20
_CERTIFICATE_LOOK_S = 10.0
_LEFT_DIALOGS_S = 300.0


async def serve(settings: WorkerSettings) -> int | None:
    """Returns the exit code of a Worker that was drained, if it was."""
    settings.check()
    running.hold_alone(settings.data, "worker")
    async with Service("worker") as service:
        return await _serve(settings, service)
    return None  # a signal came while it was starting


async def _serve(settings: WorkerSettings, service: Service) -> int | None:
    worker_id = kept_secret(settings.data, "worker.id", lambda: secrets.token_hex(8).encode()).decode()
    membership = membership_of(settings, Identity("worker", worker_id))
    security = await membership.security()
    calls = Calls(service, settings.max_calls, allow_registration=settings.allow_registration)
    bans = Bans(settings.trusted_networks)
    addresses = settings.reachable_addresses()  # once: hosts that start later must not be told another
    address = addresses[0]
    trunks = TrunkBook()
    certificates = settings.certificates()
    edge = SipPort(
        calls,
        *settings.listen,
        addresses,
        settings.offered_algorithms,
        bans,
        trunks,
        certificates,
        settings.tls_listen,
        DnsResolver(settings.name_servers),
        settings.networks_beside,
    )
    service.on_close("SIP port", edge.close)
    await _listen(edge, settings)
    dialogs = DialogStore(settings.data / "dialogs.jsonl", edge.dialogs, edge.own)
    left_dialogs = dialogs.load(edge.flow_of)
    edge.dialogs.changed = dialogs.note
    service.on_close("dialogs", dialogs.close)
    hello = pb.WorkerHello(
        worker_id=worker_id,
        name=socket.gethostname(),
        version=__version__,
        sip_address=f"{bracketed(address)}:{edge.port}",
        max_calls=settings.max_calls,
        takes_parts=True,
    )
    spool = Spool(settings.data / "records")
    spool.recover()
    journal = Journal(spool)
    service.on_close("journal", journal.close)
    manager = ManagerLink(membership.managers, security, hello, journal)
    service.on_close("Manager", manager.way.close)
    storages = StorageLinks(security)
    service.on_close("Storages", storages.close)
    bindings = RegistrarStore(settings.data / "bindings.jsonl", edge.registrar)
    sip_hosts = HostPool("sip", "teletrunk_worker.legs.sip_host", CALLS_A_SIP_HOST, settings.max_calls)
    telegram_hosts = HostPool(
        "telegram", "teletrunk_worker.legs.telegram_host", _CALLS_A_TELEGRAM_HOST, settings.max_calls
    )
    service.on_close("Telegram hosts", telegram_hosts.close)
    service.on_close("SIP hosts", sip_hosts.close)
    refused_calls = RefusedCalls(edge.admission.known.is_home, manager.report)
    calls.rim = Rim(
        worker_id, edge, sip_hosts, telegram_hosts, manager, storages, refused_calls, settings.first_answer_seconds
    )

    rtp_ports = settings.rtp_slices()

    def configure_sip_host(index: int, wide: bool) -> Message:
        return {
            "command": "configure",
            "hears_all": True,
            "rate": _WIDE_RATE if wide else settings.sample_rate,
            "max_calls": CALLS_A_SIP_HOST,
            "edge_port": edge.inside_port,
            "public_address": address,
            "public_port": edge.port,
            "media_address": settings.reachable_media_address(),
            "rtp_address": settings.media_bind_address,
            "rtp_port": rtp_ports[index].start,
            "rtp_ports": len(rtp_ports[index]),
        }

    def on_trunks(changed: list[str]) -> None:
        for trunk_id in changed:
            if not trunks.is_in_use(trunk_id):
                calls.withdrawn(trunk_id)
        edge.registrar.keep(edge.is_just, changed)
        if settings.allow_outbound:
            edge.pbxs.follow(changed)

    def on_config(said: pb.WorkerConfig, lists: Mapping[str, Mapping[str, Any]]) -> None:
        changed = trunks.put(said.trunks)
        if said.more_follows:
            on_trunks(changed)
            return
        calls.configure(said)
        storages.configure(lists["sessions"], watch=not service.draining)
        trunk_ids = set(lists["trunk_ids"])
        gone = trunks.keep_only(trunk_ids)
        edge.registrar.keep_only(trunk_ids)
        on_trunks([*gone, *changed])
        bans.sync_from_manager((ban.network, ban.until, ban.times) for ban in lists["bans"].values())

    def renewed() -> None:
        manager.way.redial()
        storages.redial()

    def load_now() -> tuple[pb.Heartbeat, Lists]:
        heartbeat = pb.Heartbeat(
            active_calls=calls.count,
            registrations=edge.registrar.count,
            draining=service.draining,
            tells_bindings=True,
            most_calls=settings.max_calls,
            sip_tls_address=f"{bracketed(address)}:{edge.tls_port}" if edge.tls_port else "",
        )
        return heartbeat, {
            "lines": calls.lines(),
            "registered_trunk_ids": edge.registrar.reachable_trunks(),
            "trunk_states": edge.pbxs.states(),
            "calls": calls.live(),
        }

    bindings.load(edge.flow_of)
    for binding in edge.registrar.all():
        edge.admission.known.note(binding.login, binding.flow.peer[0])
    reachable = set(edge.registrar.reachable_trunks())

    def on_registration(trunk_id: str) -> None:
        bindings.note(trunk_id)
        calls.bound(trunk_id)
        was, now = trunk_id in reachable, bool(edge.registrar.reachable(trunk_id))
        if was != now:
            (reachable.add if now else reachable.discard)(trunk_id)
            manager.has_news()

    storages.on_incoming = calls.on_incoming
    manager.on_config = on_config
    manager.load = load_now
    manager.on_wish = calls.wish
    manager.bindings_of = lambda trunk_id: shown(edge.registrar, trunk_id)
    manager.new_bans = lambda: [
        pb.Ban(network=network, until=until, times=times) for network, until, times in bans.pending()
    ]
    edge.admission.on_ban = manager.has_news
    edge.pbxs.changed = manager.has_news
    edge.registrar.changed = on_registration
    edge.is_host = sip_hosts.has_port
    await sip_hosts.start(configure_sip_host)
    telegram_hosts.prepare(lambda index, wide: None)  # a call rings for longer than one needs to start
    log.info("worker listening", sip=f"{bracketed(settings.listen[0])}:{edge.port}")

    async def end_left_dialogs() -> None:
        """A PBX whose connection has ended, too, is told once it has registered over another one."""
        until = time.monotonic() + _LEFT_DIALOGS_S
        restarting = Refusal("worker-restarting")
        waiting = left_dialogs
        while waiting and time.monotonic() < until:
            waiting = [dialog for dialog in waiting if not edge.end_left(dialog, restarting)]
            await asyncio.sleep(1)
        for dialog in waiting:
            dialogs.note(dialog.invite.call_id)

    async def leave_when_drained() -> None:
        await calls.drained()
        log.info("drained")
        service.stop(running.DRAINED)

    async def drain() -> None:
        manager.has_news()  # another Worker registers at PBXs from now on
        storages.stop_watching()
        await calls.ended(settings.drain_seconds)

    async def last_words() -> None:
        await calls.close()
        await manager.deliver_last_records()
        await bindings.close()

    def measure() -> None:
        edge.measure()
        metrics.CALLS.set(calls.count)
        metrics.CALLS_MOST.set(settings.max_calls)
        metrics.REGISTRATIONS.set(edge.registrar.count)
        states = [state.up for state in edge.pbxs.states()]
        metrics.TRUNKS_OF_OURS.labels("up").set(states.count(True))
        metrics.TRUNKS_OF_OURS.labels("down").set(states.count(False))
        metrics.BANS.set(len(bans.banned()))
        metrics.RECORDS_WAITING.set(journal.count)

    async def take_new_certificates() -> None:
        while True:
            await asyncio.sleep(_CERTIFICATE_LOOK_S)
            try:
                if certificates.reload():
                    log.info("a new certificate for SIP over TLS")
            except (OSError, ssl.SSLError) as error:
                log.error("the new certificate for SIP over TLS cannot be used", error=str(error))

    def not_ready() -> str:
        return service.not_ready() or calls.not_ready()

    service.on_close("calls", last_words)
    service.background("Manager link", manager.stay_attached)
    service.background("records", manager.deliver_records)
    service.background("last times of calls", journal.keep_touching)
    service.background("dialogs of the process before", end_left_dialogs)
    if settings.leave_when_drained:
        service.background("leaving when drained", leave_when_drained)
    service.background(
        "metrics",
        lambda: serve_operations(
            settings.worker_metrics_address, "TELETRUNK_WORKER_METRICS_ADDRESS", not_ready, measure
        ),
    )
    if settings.sip_tls_certificate is not None:
        service.background("SIP certificate", take_new_certificates)
    if security.papers is not None:
        service.background("certificate", lambda: membership.keep(manager.way, renewed))
    return await service.until_stopped(drain)


async def _listen(edge: SipPort, settings: WorkerSettings) -> None:
    """Raises `ConfigurationError`."""
    try:
        await edge.start()
    except OSError as error:
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error  # uvloop hides the reason there
        reason = os.strerror(cause.errno) if cause.errno else str(error)
        advice = ": stop what uses it, or set another port" if cause.errno == errno.EADDRINUSE else ""
        raise ConfigurationError(f"TELETRUNK_SIP_ADDRESS: {settings.sip_address}: {reason}{advice}") from None


def main() -> None:
    running.run("worker", lambda: load(WorkerSettings), serve)


if __name__ == "__main__":
    main()
