"""Addresses that Workers' edges have banned: kept, so that every Worker turns them away, a restarted one too."""

from __future__ import annotations

import ipaddress
import time
from collections import defaultdict

import sqlalchemy as sa
import structlog
from teletrunk.remedies import LIST_BANS, Shows
from teletrunk.v1 import fleet_pb2
from teletrunk.v1 import manager_pb2 as pb

from teletrunk_manager.configurations import Configurations
from teletrunk_manager.db.database import Database
from teletrunk_manager.db.pages import paged
from teletrunk_manager.db.tables import BannedAddress
from teletrunk_manager.mistakes import Mistake, Unknown
from teletrunk_manager.news import News
from teletrunk_manager.refused_registrations import unknown_logins

log = structlog.get_logger()

_MEMORY_S = 7 * 86_400.0  # how long a ban makes the next one longer
_MOST_BANS = 100_000
_LONGEST_BAN_S = 86_400.0
_FIRST_BAN_S, _MOST_DOUBLINGS = 1_800.0, 16  # as at the edges
_MOST_A_WORKER, _PACE_S = 300, 3_600.0


class BanList:
    def __init__(self, database: Database, configurations: Configurations, news: News) -> None:
        self._news = news
        self._database = database
        self._configurations = configurations
        self._said: defaultdict[str, list[float]] = defaultdict(list)  # by Worker: when it has banned somebody

    async def add(self, ban: pb.Ban, worker_id: str) -> None:
        """A Worker's word, which is believed for single addresses, so many, and no longer than it has come to.

        Raises `Mistake` for what is no such address or too much, and `Refusal`.
        """
        network = _single(ban.network)
        now = time.time()
        if not self._has_a_say(worker_id, now):
            raise Mistake(f"{worker_id} bans too many")
        async with self._database.transaction() as session:
            await session.execute(sa.delete(BannedAddress).where(BannedAddress.until < now - _MEMORY_S))
            row = await session.get(BannedAddress, network)
            if row is not None and row.until > now:
                return  # it is told again until it is in the configuration
            times = min(max(1, ban.times), 1 if row is None else row.times + 1)
            until = min(ban.until, now + min(_FIRST_BAN_S * 2 ** min(times - 1, _MOST_DOUBLINGS), _LONGEST_BAN_S))
            if row is None:
                if (await session.scalar(sa.select(sa.func.count()).select_from(BannedAddress)) or 0) >= _MOST_BANS:
                    return
                session.add(BannedAddress(network=network, until=until, times=times))
            else:
                row.until, row.times = until, max(row.times, times)
            self._said[worker_id].append(now)
        self._news.tell("address.banned", {"network": network, "until": until, "times": times})
        log.warning("address banned", network=network, seconds=round(until - now))
        self._configurations.changed()

    def _has_a_say(self, worker_id: str, now: float) -> bool:
        self._said[worker_id] = [at for at in self._said[worker_id] if now - at < _PACE_S]
        return len(self._said[worker_id]) < _MOST_A_WORKER

    async def page(self, request: fleet_pb2.ListBansRequest) -> fleet_pb2.ListBansResponse:
        """Those in force, by network, and who wanted to come in by a login that nobody has."""
        query = sa.select(BannedAddress).where(BannedAddress.until > time.time())
        async with self._database.transaction(reading=True) as session:
            rows, following = await paged(session, query, BannedAddress.network, request, after=request.after)
            unknown = [] if request.after or request.page else await unknown_logins(session)
        bans = [pb.Ban(network=row.network, until=row.until, times=row.times) for row in rows]
        return fleet_pb2.ListBansResponse(bans=bans, next=following, unknown_logins=unknown)

    async def lift(self, address: str) -> None:
        """Raises `Mistake`, and `Unknown` when the address is not banned."""
        network = _network(address)
        async with self._database.transaction() as session:
            row = await session.get(BannedAddress, network)
            if row is None or row.until < time.time():
                raise Unknown(f"{address} is not banned: ", Shows(LIST_BANS, "those that are"))
            await session.delete(row)
        self._configurations.changed()


def _network(text: str) -> str:
    """As edges name it: an IPv4 address, or the /64 that an IPv6 address is in."""
    try:
        network = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise Mistake(f"{text} is no address: write 192.0.2.10 or 2001:db8::1") from None
    if isinstance(network, ipaddress.IPv6Network):
        return str(network.supernet(new_prefix=64) if network.prefixlen > 64 else network)
    return str(network.network_address) if network.prefixlen == 32 else str(network)


def _single(text: str) -> str:
    """One address, or one IPv6 network of 64 bits. Raises `Mistake`."""
    network = _network(text)
    if "/" in network and not network.endswith("/64"):
        raise Mistake(f"{text} is more than an address")
    return network
