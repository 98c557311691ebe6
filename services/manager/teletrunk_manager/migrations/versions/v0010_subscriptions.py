"""Subscriptions, owners, bans, the record of changes; call records as columns; versions for optimistic locking."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from teletrunk.v1 import call_pb2

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_CALL_COLUMNS: dict[str, Any] = {
    "trunk_id": sa.String(),
    "worker_id": sa.String(),
    "to_telegram": sa.Boolean(),
    "caller": sa.String(),
    "called": sa.String(),
    "ringing_at": sa.Float(),
    "answered_at": sa.Float(),
    "ended_at": sa.Float(),
    "ended_by": sa.String(),
    "error_id": sa.String(),
    "sip_status": sa.Integer(),
}
_EMPTY: dict[str, Any] = {"String": "", "Float": "0", "Integer": "0", "Boolean": sa.true()}


def upgrade() -> None:
    op.create_table(
        "subscriptions",
        sa.Column("subscription_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("lines", sa.Integer()),
        sa.Column("valid_until", sa.Float()),
        sa.Column("total_seconds", sa.Integer()),
        sa.Column("failed_calls", sa.Integer()),
        sa.Column("window_seconds", sa.Integer()),
        sa.Column("call_seconds", sa.Integer()),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("subscription_id", name="pk_subscriptions"),
        sa.UniqueConstraint("name", name="uq_subscriptions_name"),
        sa.CheckConstraint("lines IS NULL OR lines >= 0", name="ck_subscriptions_lines"),
        sa.CheckConstraint(
            "(total_seconds IS NULL AND failed_calls IS NULL) OR window_seconds > 0", name="ck_subscriptions_window"
        ),
    )
    with op.batch_alter_table("accounts") as accounts:
        accounts.add_column(sa.Column("subscription_id", sa.String()))
        accounts.add_column(sa.Column("owner", sa.String(), nullable=False, server_default=""))
        accounts.add_column(sa.Column("version", sa.Integer(), nullable=False, server_default="1"))
        accounts.create_foreign_key(
            "fk_accounts_subscription_id",
            "subscriptions",
            ["subscription_id"],
            ["subscription_id"],
            ondelete="SET NULL",
        )
        accounts.create_index("ix_accounts_subscription_id", ["subscription_id"])
    with op.batch_alter_table("trunks") as trunks:
        trunks.add_column(sa.Column("administrator", sa.String(), nullable=False, server_default=""))
        trunks.add_column(sa.Column("version", sa.Integer(), nullable=False, server_default="1"))
    op.create_table(
        "shares",
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("administrator", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "administrator", name="pk_shares"),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.account_id"], name="fk_shares_account_id", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "bans",
        sa.Column("network", sa.String(), nullable=False),
        sa.Column("until", sa.Float(), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("network", name="pk_bans"),
    )
    op.create_index("ix_bans_until", "bans", ["until"])
    op.create_table(
        "changes",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("before", sa.String(), nullable=False),
        sa.Column("after", sa.String(), nullable=False),
    )
    op.create_index("ix_changes_at", "changes", ["at"])
    with op.batch_alter_table("calls") as calls:
        for name, kind in _CALL_COLUMNS.items():
            calls.add_column(sa.Column(name, kind, nullable=False, server_default=_EMPTY[type(kind).__name__]))
        calls.create_index("ix_calls_account_id_invited_at", ["account_id", "invited_at"])
    _fill_calls()


def _fill_calls() -> None:
    """The columns of the records that are there, out of the records."""
    columns: list[Any] = [sa.column(name, kind) for name, kind in _CALL_COLUMNS.items()]
    table = sa.table("calls", sa.column("call_id"), sa.column("record"), *columns)
    connection = op.get_bind()
    for call_id, blob in connection.execute(sa.select(table.c.call_id, table.c.record)).all():
        record = call_pb2.CallRecord.FromString(blob)
        values = {name: getattr(record, name) for name in _CALL_COLUMNS if name != "to_telegram"}
        values["to_telegram"] = record.direction == call_pb2.DIRECTION_SIP_TO_TELEGRAM
        connection.execute(sa.update(table).where(table.c.call_id == call_id).values(**values))


def downgrade() -> None:
    with op.batch_alter_table("calls") as calls:
        calls.drop_index("ix_calls_account_id_invited_at")
        for name in _CALL_COLUMNS:
            calls.drop_column(name)
    for table in ("changes", "bans", "shares"):
        op.drop_table(table)
    with op.batch_alter_table("trunks") as trunks:
        trunks.drop_column("version")
        trunks.drop_column("administrator")
    with op.batch_alter_table("accounts") as accounts:
        accounts.drop_index("ix_accounts_subscription_id")
        accounts.drop_constraint("fk_accounts_subscription_id", type_="foreignkey")
        for name in ("version", "owner", "subscription_id"):
            accounts.drop_column(name)
    op.drop_table("subscriptions")
