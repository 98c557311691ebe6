"""The vault's tables."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy as sa
from teletrunk.schema import Schema

CHECK: Final = "check"  # the row of `vault` that tells a wrong key
PROOF: Final = "proof"  # the one whose value the Manager knows its Storages by
TABLES = sa.MetaData()
META = sa.Table(
    "vault",
    TABLES,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("wrapped_key", sa.LargeBinary, nullable=False),
    sa.Column("value", sa.LargeBinary, nullable=False),
)
SESSIONS = sa.Table(
    "sessions",
    TABLES,
    sa.Column("session_id", sa.String, primary_key=True),
    sa.Column("user_id", sa.BigInteger, nullable=False),
    sa.Column("wrapped_key", sa.LargeBinary, nullable=False),
    sa.Column("value", sa.LargeBinary, nullable=False),
)
LEASES = sa.Table(
    "leases",
    TABLES,
    sa.Column("session_id", sa.String, primary_key=True),
    sa.Column("owner", sa.String, nullable=False),
    sa.Column("fence", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.Float, nullable=False),
)
PEERS = sa.Table(
    "peers",
    TABLES,
    sa.Column("session_id", sa.String, primary_key=True),
    sa.Column("user_id", sa.BigInteger, primary_key=True),
    sa.Column("access_hash", sa.BigInteger, nullable=False),
    sa.Column("first_name", sa.String, nullable=False, default=""),
    sa.Column("last_name", sa.String, nullable=False, default=""),
    sa.Column("username", sa.String, nullable=False, default="", index=True),
    sa.Column("phone", sa.String, nullable=False, default="", index=True),
)
# What leads to a peer, and since when: usernames and numbers move from one user to another.
ALIASES = sa.Table(
    "aliases",
    TABLES,
    sa.Column("session_id", sa.String, primary_key=True),
    sa.Column("kind", sa.String, primary_key=True),
    sa.Column("value", sa.String, primary_key=True),
    sa.Column("user_id", sa.BigInteger, nullable=False),
    sa.Column("seen_at", sa.Float, nullable=False),
    sa.Index("ix_aliases_session_id_user_id", "session_id", "user_id"),
)
CALLS = sa.Table(
    "live_calls",
    TABLES,
    sa.Column("session_id", sa.String, primary_key=True),
    sa.Column("phone_call_id", sa.BigInteger, primary_key=True),
    sa.Column("access_hash", sa.BigInteger, nullable=False),
)
# Each phone.requestCall until it is answered: it may have begun a call whose id nobody knows yet.
REQUESTS = sa.Table(
    "call_requests",
    TABLES,
    sa.Column("session_id", sa.String, primary_key=True),
    sa.Column("random_id", sa.BigInteger, primary_key=True),
    sa.Column("callee_id", sa.BigInteger, nullable=False),
    sa.Column("asked_at", sa.Float, nullable=False),
)
FLOODS = sa.Table(
    "method_waits",
    TABLES,
    sa.Column("session_id", sa.String, primary_key=True),
    sa.Column("method", sa.String, primary_key=True),
    sa.Column("until", sa.Float, nullable=False),
)
# One value each, as JSON or text: see `adoption`.
ORIGIN = sa.Table(
    "origin",
    TABLES,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("value", sa.String, nullable=False),
)
# The Storages that have opened this vault, each as JSON: a `Witness`.
STORAGES = sa.Table(
    "storages",
    TABLES,
    sa.Column("storage_id", sa.String, primary_key=True),
    sa.Column("seen", sa.String, nullable=False),
)
# The lock: several Storages may open one vault at once. The table: Manager and vault may share a database.
SCHEMA = Schema("the vault", Path(__file__).parent.parent / "migrations", lock=0x7E1F, version_table="vault_version")
