"""Calls are found by what PBXs know them by: the Call-ID of each leg."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sip_call_ids",
        sa.Column("sip_call_id", sa.String, primary_key=True),
        sa.Column("call_id", sa.String, sa.ForeignKey("calls.call_id", ondelete="CASCADE"), primary_key=True),
    )
    op.create_index("ix_sip_call_ids_call_id", "sip_call_ids", ["call_id"])


def downgrade() -> None:
    op.drop_table("sip_call_ids")
