"""The vault as it was before it had versions: a vault that is there already only gets what it lacks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "vault",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("wrapped_key", sa.LargeBinary(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "sessions",
        sa.Column("session_id", sa.String(), primary_key=True),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "leases",
        sa.Column("session_id", sa.String(), primary_key=True),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "peers",
        sa.Column("session_id", sa.String(), primary_key=True),
        sa.Column("user_id", sa.BigInteger(), primary_key=True),
        sa.Column("access_hash", sa.BigInteger(), nullable=False),
        sa.Column("first_name", sa.String(), nullable=False),
        sa.Column("last_name", sa.String(), nullable=False),
        sa.Column("username", sa.String(), nullable=False),
        sa.Column("phone", sa.String(), nullable=False),
        if_not_exists=True,
    )
    for column in ("username", "phone"):
        op.create_index(f"ix_peers_{column}", "peers", [column], if_not_exists=True)
    op.create_table(
        "aliases",
        sa.Column("session_id", sa.String(), primary_key=True),
        sa.Column("kind", sa.String(), primary_key=True),
        sa.Column("value", sa.String(), primary_key=True),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.Float(), nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "live_calls",
        sa.Column("session_id", sa.String(), primary_key=True),
        sa.Column("phone_call_id", sa.BigInteger(), primary_key=True),
        sa.Column("access_hash", sa.BigInteger(), nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "flood_waits",
        sa.Column("session_id", sa.String(), primary_key=True),
        sa.Column("until", sa.Float(), nullable=False),
        if_not_exists=True,
    )


def downgrade() -> None:
    for table in ("flood_waits", "live_calls", "aliases", "peers", "leases", "sessions", "vault"):
        op.drop_table(table)
