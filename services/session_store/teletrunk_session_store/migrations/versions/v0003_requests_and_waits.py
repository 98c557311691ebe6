"""Calls that are asked for, before they have an id; flood waits by method."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "call_requests",
        sa.Column("session_id", sa.String(), primary_key=True),
        sa.Column("random_id", sa.BigInteger(), primary_key=True),
        sa.Column("callee_id", sa.BigInteger(), nullable=False),
        sa.Column("asked_at", sa.Float(), nullable=False),
    )
    op.create_table(
        "method_waits",
        sa.Column("session_id", sa.String(), primary_key=True),
        sa.Column("method", sa.String(), primary_key=True),
        sa.Column("until", sa.Float(), nullable=False),
    )
    # A wait whose method nobody noted was most likely a call's. `flood_waits` stays: a Storage of the version before
    # may still be at work beside this one.
    op.execute(
        "INSERT INTO method_waits (session_id, method, until) "
        "SELECT session_id, 'phone.requestCall', until FROM flood_waits"
    )


def downgrade() -> None:
    op.drop_table("method_waits")
    op.drop_table("call_requests")
