"""Accounts, trunks, services and call records."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("account_id", sa.String, primary_key=True),
        sa.Column("user_id", sa.BigInteger, nullable=False, unique=True),
        sa.Column("phone", sa.String, nullable=False),
        sa.Column("username", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("session_id", sa.String, nullable=False, unique=True),
        sa.Column("storage_id", sa.String, nullable=False),
    )
    op.create_table(
        "trunks",
        sa.Column("trunk_id", sa.String, primary_key=True),
        sa.Column("login", sa.String, nullable=False, unique=True),
        sa.Column("sealed_password", sa.LargeBinary, nullable=False),
        sa.Column(
            "account_id",
            sa.String,
            sa.ForeignKey("accounts.account_id", ondelete="CASCADE"),
            nullable=False,
            index=True,
        ),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("comment", sa.String, nullable=False),
        sa.Column("codecs", sa.String, nullable=False),
        sa.CheckConstraint("priority >= 0", name="priority"),
    )
    op.create_table(
        "services",
        sa.Column("service_id", sa.String, primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("version", sa.String, nullable=False),
        sa.Column("address", sa.String, nullable=False),
        sa.Column("last_seen", sa.Float, nullable=False),
        sa.CheckConstraint("kind IN ('worker', 'storage')", name="kind"),
    )
    op.create_table(
        "calls",
        sa.Column("call_id", sa.String, primary_key=True),
        sa.Column("account_id", sa.String, nullable=False, index=True),
        sa.Column("invited_at", sa.Float, nullable=False, index=True),
        sa.Column("record", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    for table in ("calls", "services", "trunks", "accounts"):
        op.drop_table(table)
