"""Who asks: the PBX behind a digest answer, and whether it may come from there. Asked for every call."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
import structlog
from structlog.contextvars import bind_contextvars
from teletrunk import causes
from teletrunk.errors import Refusal
from teletrunk.v1 import manager_pb2
from teletrunk.v1.trunk_pb2 import TRUNK_KIND_UNSPECIFIED, TrunkOptions

from teletrunk_manager.db.database import Database
from teletrunk_manager.db.tables import Account, Assignment, Share, Trunk, TrustedAddress
from teletrunk_manager.domain import digest, trunk_options
from teletrunk_manager.domain.rights import may_use
from teletrunk_manager.passwords import PasswordSeal, SealBroken, revision, trunk_label

log = structlog.get_logger()


@dataclass(frozen=True)
class Pbx:
    """A PBX that has shown its trunk's password, with what its calls need of the account."""

    trunk_id: str
    login: str
    codecs: str
    account_id: str
    session_id: str
    storage_id: str
    phone: str
    username: str
    subscription_id: str | None
    password_revision: int
    options: TrunkOptions


class Authentication:
    def __init__(self, database: Database, seal: PasswordSeal) -> None:
        self._database = database
        self._seal = seal

    async def pbx(self, given: manager_pb2.Digest, source: str, worker_id: str) -> Pbx:
        """Who has these credentials. Raises `Refusal`.

        What a stranger could learn from comes after the password: the list of addresses, whose session it is.
        """
        # A NUL in a stranger's login is an error to PostgreSQL.
        login = given.username if given.username.isprintable() else ""
        found = await self._database.ask(_WITH_LOGIN, login=login)
        if found is None:
            digest.matches(_answer(given), "")  # as much work as for a login that there is
            raise Refusal("login-not-found")
        if found.sha256_only and digest.is_md5(given.algorithm):
            raise causes.MD5_NOT_ALLOWED.refusal()
        if not digest.matches(_answer(given), self._password(found)):
            raise Refusal("wrong-password")
        _say_whose(found)
        if trunk_options.read(found.options).kind != TRUNK_KIND_UNSPECIFIED:
            raise causes.TRUNK_DOES_NOT_REGISTER.refusal()
        networks = _lines(found.networks)
        if networks and not any(_is_within(source, network) for network in networks):
            raise Refusal("ip-not-allowed")
        return self._admitted(found, worker_id)

    async def known_pbx(self, trunk_id: str, worker_id: str) -> Pbx:
        """Who is known by its address, or by a registration of ours: the Worker has seen to that. Raises `Refusal`.

        The list of addresses adds some to its own; it takes none away.
        """
        found = await self._database.ask(_WITH_ID, trunk_id=trunk_id)
        if found is None or trunk_options.read(found.options).kind == TRUNK_KIND_UNSPECIFIED:
            raise Refusal("login-not-found")
        _say_whose(found)
        return self._admitted(found, worker_id)

    def _admitted(self, found: Any, worker_id: str) -> Pbx:
        """What a PBX is asked that is the one it says. Raises `Refusal`."""
        options = trunk_options.read(found.options)
        if options.off:
            raise causes.TRUNK_OFF.refusal()
        sharers, workers = map(_lines, (found.sharers, found.workers))
        if not may_use(found.administrator, found.owner, sharers):
            raise Refusal("session-access-revoked", "its owner has withdrawn it")
        if workers and worker_id not in workers:
            raise causes.ASSIGNED_ELSEWHERE.refusal()
        return Pbx(*(*found[: len(_PBX)], revision(found.sealed_password), options))

    def _password(self, trunk: Any) -> str:
        try:
            return self._seal.open(trunk.sealed_password, trunk_label(trunk.trunk_id))
        except SealBroken:
            log.error("DATA/secrets/manager.key does not open this trunk: put the right file back", login=trunk.login)
            raise Refusal("database-error") from None


def _say_whose(found: Any) -> None:
    """To whatever is logged in answering this request."""
    bind_contextvars(trunk_id=found.trunk_id, account_id=found.account_id, login=found.login)


def _listed(name: str, column: Any, where: Any) -> Any:
    """The rows' values in one text, a line each."""
    return sa.select(sa.func.aggregate_strings(column, "\n")).where(where).scalar_subquery().label(name)


def _lines(listed: str | None) -> list[str]:
    return listed.split("\n") if listed else []


_PBX = (
    Trunk.trunk_id,
    Trunk.login,
    Trunk.codecs,
    Account.account_id,
    Account.session_id,
    Account.storage_id,
    Account.phone,
    Account.username,
    Account.subscription_id,
)
# Made once: one of them is asked for every call. An empty list of networks or Workers allows all.
_WHO = sa.select(
    *_PBX,
    Trunk.sealed_password,
    Trunk.sha256_only,
    Trunk.administrator,
    Trunk.options,
    Account.owner,
    _listed("networks", TrustedAddress.network, TrustedAddress.trunk_id == Trunk.trunk_id),
    _listed("sharers", Share.administrator, Share.account_id == Account.account_id),
    _listed("workers", Assignment.worker_id, Assignment.account_id == Account.account_id),
).join(Account, Account.account_id == Trunk.account_id)
_WITH_LOGIN = _WHO.where(Trunk.login == sa.bindparam("login"))
_WITH_ID = _WHO.where(Trunk.trunk_id == sa.bindparam("trunk_id"))


def _is_within(source: str, network: str) -> bool:
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return False
    return address in ipaddress.ip_network(network)


def _answer(given: manager_pb2.Digest) -> digest.DigestAnswer:
    return digest.DigestAnswer(**{field.name: getattr(given, field.name) for field in given.DESCRIPTOR.fields})
