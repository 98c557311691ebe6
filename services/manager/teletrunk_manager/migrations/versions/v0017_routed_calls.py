"""Calls that were refused before they were routed are told from others, and since when Workers show that they were."""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("calls", sa.Column("routed", sa.Boolean(), nullable=False, server_default=sa.true()))
    upgrades = op.create_table(
        "upgrades",
        sa.Column("what", sa.String(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("what", name="pk_upgrades"),
    )
    workers = sa.table("services", sa.column("kind", sa.String()))
    count = sa.select(sa.func.count()).select_from(workers).where(workers.c.kind == "worker")
    if op.get_bind().scalar(count):  # a new installation has no Workers of the version before
        op.bulk_insert(upgrades, [{"what": "route-proofs", "at": time.time()}])


def downgrade() -> None:
    op.drop_table("upgrades")
    with op.batch_alter_table("calls") as calls:
        calls.drop_column("routed")
