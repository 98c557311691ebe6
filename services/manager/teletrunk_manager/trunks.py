"""Trunks: what PBXs register as."""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from teletrunk import codecs
from teletrunk.config import ConfigurationError
from teletrunk.remedies import LIST_TRUNKS, Advised, Shows, Term
from teletrunk.v1 import admin_pb2 as pb
from teletrunk.v1.trunk_pb2 import TrunkOptions

from teletrunk_manager.accounts import find_account
from teletrunk_manager.allotments import Allotment
from teletrunk_manager.bindings import Bindings
from teletrunk_manager.configurations import Configurations
from teletrunk_manager.db.audit import asker, delete_whole
from teletrunk_manager.db.database import Database, delete_others
from teletrunk_manager.db.pages import paged
from teletrunk_manager.db.tables import Account, Assignment, Trunk, TrustedAddress
from teletrunk_manager.disputes import Undisputed
from teletrunk_manager.domain import trunk_options
from teletrunk_manager.domain.claims import Claims
from teletrunk_manager.domain.entries import Entrance, entries
from teletrunk_manager.domain.logins import is_login, login_for
from teletrunk_manager.live import Live, Seen
from teletrunk_manager.mistakes import Mistake, NotNow, Taken, Unknown
from teletrunk_manager.passwords import PasswordSeal, SealBroken, make_password, pbx_label, trunk_label
from teletrunk_manager.refused_registrations import of_trunks

_HIGHEST_PRIORITY = 1000
_LONGEST_COMMENT = 200
_MOST_NETWORKS = 100
_LONGEST_PBX_PASSWORD = 128
_TRIED = 20
_ANOTHER_LOGIN = Term("with --login", "as login")


Explained = TypeVar("Explained")


class Trunks:
    def __init__(
        self,
        database: Database,
        live: Live,
        configurations: Configurations,
        seal: PasswordSeal,
        bindings: Bindings,
        allotment: Allotment,
    ) -> None:
        self._allotment = allotment
        self._database = database
        self._live = live
        self._configurations = configurations
        self._seal = seal
        self._bindings = bindings

    async def add(self, request: pb.AddTrunkRequest) -> pb.AddTrunkResponse:
        """Raises `Mistake`. The password is in this answer and in no other."""
        chosen = _codecs(request.codecs) or list(codecs.USUAL)
        _check(request)
        options = await _in_thread(lambda: trunk_options.checked(request.options))
        _explained(lambda: trunk_options.require_whole(options, bool(request.pbx_password)))
        _explained(lambda: trunk_options.require_possible(options))
        if request.login and not is_login(request.login):
            raise Mistake(f"{request.login!r} is not a login: use up to 64 letters, digits and . _ + -")
        password, trunk_id = make_password(), secrets.token_hex(6)
        claims = Claims.of(options, ())
        undisputed = await Undisputed.looked_up(self._database, claims, asker())
        async with self._database.transaction() as session:
            account = await find_account(session, request.account)
            await self._allotment.require_trunk(session, asker())
            trunk = Trunk(
                trunk_id=trunk_id,
                login=request.login or await _free_login(session, account),
                sealed_password=self._seal.close(password, trunk_label(trunk_id)),
                account_id=account.account_id,
                priority=request.priority,
                comment=request.comment,
                codecs=",".join(chosen),
                sha256_only=request.sha256_only,
                options=trunk_options.written(options),
                sealed_pbx_password=self._sealed(request.pbx_password, trunk_id),
                administrator=asker(),
            )
            await undisputed.confirm(session, claims)
            session.add(trunk)
            try:
                await session.flush()
            except IntegrityError:
                raise Taken(f"the login {trunk.login} is taken: choose another ", _ANOTHER_LOGIN) from None
            (made,) = await self._messages(session, [trunk])
        self._configurations.changed()
        return pb.AddTrunkResponse(trunk=made, password=password)

    def _sealed(self, pbx_password: str, trunk_id: str) -> bytes:
        """Raises `Mistake`."""
        if len(pbx_password) > _LONGEST_PBX_PASSWORD or not pbx_password.isprintable():
            raise Mistake(f"the PBX's password is too long or has control characters: up to {_LONGEST_PBX_PASSWORD}")
        return self._seal.close(pbx_password, pbx_label(trunk_id)) if pbx_password else b""

    async def check_seal(self) -> None:
        """Raises `ConfigurationError` for a key that is not the one under which the trunks' passwords were sealed."""
        async with self._database.transaction(reading=True) as session:
            trunks = (await session.scalars(sa.select(Trunk).limit(_TRIED))).all()
        if trunks and not any(self._opens(trunk) for trunk in trunks):  # one alone may be damaged
            raise ConfigurationError(
                "the trunks' passwords were sealed with another key: put the right file back "
                "(TELETRUNK_KEY_FILE, or DATA/secrets/manager.key)"
            )

    def _opens(self, trunk: Trunk) -> bool:
        try:
            self._seal.open(trunk.sealed_password, trunk_label(trunk.trunk_id))
        except SealBroken:
            return False
        return True

    async def page(self, request: pb.ListTrunksRequest) -> pb.ListTrunksResponse:
        """Those that the asker may see, by login."""
        query = sa.select(Trunk)
        if asker():
            query = query.where(Trunk.administrator == asker())
        async with self._database.transaction(reading=True) as session:
            trunks, following = await paged(session, query, Trunk.login, request, after=request.after)
            listed = await self._messages(session, trunks)
        return pb.ListTrunksResponse(trunks=listed, next=following)

    async def one(self, name: str) -> pb.Trunk:
        """Raises `Unknown`."""
        async with self._database.transaction(reading=True) as session:
            trunk = await find_trunk(session, name)
            (message,) = await self._messages(session, [trunk])
        message.bindings.extend(await self._bindings.of(trunk.trunk_id))
        return message

    async def change(self, request: pb.ChangeTrunkRequest) -> pb.Trunk:
        """Raises `Unknown`, `Mistake`, and `NotNow` when it has been changed since the version that was looked at."""
        _check(request)
        chosen = _codecs(request.codecs)
        await _in_thread(lambda: trunk_options.changed(TrunkOptions(), request.options, request.changed_options))
        undisputed = await self._undisputed(request)
        async with self._database.transaction() as session:
            trunk = await find_trunk(session, request.trunk)
            if request.version and request.version != trunk.version:
                raise NotNow(f"{trunk.login} has been changed meanwhile: look at it again")
            for name in ("priority", "comment", "sha256_only"):
                if request.HasField(name):
                    setattr(trunk, name, getattr(request, name))
            if chosen:
                trunk.codecs = ",".join(chosen)
            before = trunk_options.read(trunk.options)
            options = _explained(lambda: trunk_options.changed(before, request.options, request.changed_options))
            has_password = bool(request.pbx_password or trunk.sealed_pbx_password)
            _explained(lambda: trunk_options.require_whole(options, has_password))
            if {"kind", "pbx", "srtp", "transports"} & _changed_options(request):
                _explained(lambda: trunk_options.require_possible(options))
            trunk.options = trunk_options.written(options)
            if request.pbx_password:
                trunk.sealed_pbx_password = self._sealed(request.pbx_password, trunk.trunk_id)
            if undisputed is not None:
                trusted = await _trusted(session, [trunk.trunk_id])
                await undisputed.confirm(session, Claims.of(options, trusted.get(trunk.trunk_id, ())))
            await session.flush()
            (changed,) = await self._messages(session, [trunk])
        self._configurations.changed()
        return changed

    async def _undisputed(self, request: pb.ChangeTrunkRequest) -> Undisputed | None:
        """None for a change after which it is known by what it was known by. Raises `Unknown`, `Mistake`."""
        if not {"kind", "pbx"} & _changed_options(request):
            return None
        async with self._database.transaction(reading=True) as session:
            trunk = await find_trunk(session, request.trunk)
            trusted = await _trusted(session, [trunk.trunk_id])
        before = trunk_options.read(trunk.options)
        options = _explained(lambda: trunk_options.changed(before, request.options, request.changed_options))
        claims = Claims.of(options, trusted.get(trunk.trunk_id, ()))
        return await Undisputed.looked_up(self._database, claims, trunk.administrator)

    async def reset_password(self, name: str) -> str:
        """Raises `Unknown`. The old password is worth nothing from now on."""
        password = make_password()
        async with self._database.transaction() as session:
            trunk = await find_trunk(session, name)
            trunk.sealed_password = self._seal.close(password, trunk_label(trunk.trunk_id))
        self._configurations.changed()
        return password

    async def remove(self, name: str) -> None:
        """Raises `Unknown`."""
        async with self._database.transaction() as session:
            await delete_whole(session, await find_trunk(session, name))
        self._configurations.changed()

    async def trust(self, name: str, addresses: list[str]) -> None:
        """Raises `Unknown`, and `Mistake` for what is no address."""
        if len(addresses) > _MOST_NETWORKS:
            raise Mistake(f"too many addresses: use up to {_MOST_NETWORKS}, or larger subnets")
        networks = {str(_network(address)) for address in addresses}
        async with self._database.transaction(reading=True) as session:
            trunk = await find_trunk(session, name)
        claims = Claims.of(trunk_options.read(trunk.options), networks)
        undisputed = await Undisputed.looked_up(self._database, claims, trunk.administrator)
        async with self._database.transaction() as session:
            trunk = await find_trunk(session, name)
            await session.refresh(trunk, with_for_update=True)  # two lists at once must not become one
            await undisputed.confirm(session, Claims.of(trunk_options.read(trunk.options), networks))
            await self._allotment.require_networks(session, trunk, len(networks))
            trunk.version += 1  # what it is known by is another: whoever has looked at it looks again
            listed = sa.select(TrustedAddress).where(TrustedAddress.trunk_id == trunk.trunk_id)
            missing = await delete_others(session, listed, "network", networks)
            session.add_all(TrustedAddress(trunk_id=trunk.trunk_id, network=network) for network in sorted(missing))
        self._configurations.changed()

    async def _messages(self, session: AsyncSession, trunks: Sequence[Trunk]) -> list[pb.Trunk]:
        """As people see them."""
        ids = [trunk.trunk_id for trunk in trunks]
        refused, trusted = await of_trunks(session, ids), await _trusted(session, ids)
        assigned = await _assigned(session, {trunk.account_id for trunk in trunks})
        workers = sorted(self._live.of_kind("worker"), key=lambda worker: worker.draining)
        messages = []
        for trunk in trunks:
            may = assigned.get(trunk.account_id)
            options = trunk_options.read(trunk.options)
            theirs = (worker for worker in workers if may is None or worker.service_id in may)
            enters = entries(options, map(_entrance, theirs))
            message = _message(trunk, options, workers)
            message.sip_address, message.sip_tls_address = enters.address, enters.tls
            message.warnings.extend(enters.warnings)
            message.refused_registrations.extend(refused.get(trunk.trunk_id, ()))
            message.trusted_addresses.extend(trusted.get(trunk.trunk_id, ()))
            messages.append(message)
        return messages


def _message(trunk: Trunk, options: TrunkOptions, workers: list[Seen]) -> pb.Trunk:
    return pb.Trunk(
        trunk_id=trunk.trunk_id,
        login=trunk.login,
        account_id=trunk.account_id,
        priority=trunk.priority,
        comment=trunk.comment,
        codecs=trunk.codecs.split(","),
        sha256_only=trunk.sha256_only,
        version=trunk.version,
        registered_at=[w.service_id for w in workers if w.is_registered(trunk.trunk_id)],
        options=options,
        has_pbx_password=bool(trunk.sealed_pbx_password),
        states=[state for w in workers if (state := w.state_of(trunk.trunk_id)) is not None],
    )


def _entrance(worker: Seen) -> Entrance:
    said = worker.heartbeat.most_calls > 0  # in the same version as where it takes TLS
    return Entrance(worker.address, worker.heartbeat.sip_tls_address, said)


async def _assigned(session: AsyncSession, account_ids: Iterable[str]) -> dict[str, set[str]]:
    """The Workers of those accounts that are not for all."""
    found: dict[str, set[str]] = {}
    for row in await session.scalars(sa.select(Assignment).where(Assignment.account_id.in_(list(account_ids)))):
        found.setdefault(row.account_id, set()).add(row.worker_id)
    return found


async def _trusted(session: AsyncSession, trunk_ids: list[str]) -> dict[str, list[str]]:
    """Where each trunk may be used from, by its id."""
    query = sa.select(TrustedAddress).where(TrustedAddress.trunk_id.in_(trunk_ids)).order_by(TrustedAddress.network)
    found: dict[str, list[str]] = {}
    for row in await session.scalars(query):
        found.setdefault(row.trunk_id, []).append(row.network)
    return found


def _changed_options(request: pb.ChangeTrunkRequest) -> set[str]:
    return {path.partition(".")[0] for path in request.changed_options}


async def _free_login(session: AsyncSession, account: Account) -> str:
    taken = set((await session.scalars(sa.select(Trunk.login))).all())
    return login_for(account.username, account.phone, taken)


async def _in_thread(rule: Callable[[], Explained]) -> Explained:
    """Dial rules take a while to compile, and no call waits meanwhile; then they are known. Raises `Mistake`."""
    return await asyncio.to_thread(_explained, rule)


def _explained(rule: Callable[[], Explained]) -> Explained:
    """Raises `Mistake`."""
    try:
        return rule()
    except Advised as error:
        raise Mistake(*error.parts) from None
    except ValueError as error:
        raise Mistake(str(error)) from None


def _codecs(given: Iterable[str]) -> list[str]:
    """Raises `Mistake`."""
    wanted = list(dict.fromkeys(codec.strip().upper() for codec in given))
    unknown = sorted(set(wanted) - set(codecs.CODECS))
    if not unknown:
        return wanted
    there_are = f"there are {', '.join(codecs.CODECS)}"
    if lacking := [codec for codec in unknown if codec in codecs.LACKING]:
        raise Mistake(f"the Workers' SIP library has no {', '.join(lacking)}: {there_are}")
    raise Mistake(f"unknown codec {', '.join(unknown)}: {there_are}")


def _check(request: pb.AddTrunkRequest | pb.ChangeTrunkRequest) -> None:
    if request.priority > _HIGHEST_PRIORITY:
        raise Mistake(f"the priority {request.priority} is too high: use 0 to {_HIGHEST_PRIORITY}")
    if len(request.comment) > _LONGEST_COMMENT:
        raise Mistake(f"the comment is too long: use up to {_LONGEST_COMMENT} characters")


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Calls over IPv4 come from IPv4, however somebody writes that. Raises `Mistake`."""
    try:
        found = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise Mistake(f"{text} is no address or subnet: write 192.0.2.10, 192.0.2.0/24 or 2001:db8::/32") from None
    if isinstance(found, ipaddress.IPv4Network) or (mapped := found.network_address.ipv4_mapped) is None:
        return found
    return ipaddress.ip_network((mapped, found.prefixlen - 96), strict=False)


async def find_trunk(session: AsyncSession, text: str) -> Trunk:
    """By login first: an id is never shown where a login would do."""
    for column in (Trunk.login, Trunk.trunk_id):
        found = await session.scalar(sa.select(Trunk).where(column == text))
        if found is not None and asker() in ("", found.administrator):
            return found
    raise Unknown(f"there is no trunk {text}: ", Shows(LIST_TRUNKS))
