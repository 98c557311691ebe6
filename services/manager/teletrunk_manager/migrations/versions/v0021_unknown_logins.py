"""Refused registrations say what followed the phrase; logins that nobody has are remembered for a while."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("refused_registrations", sa.Column("detail", sa.String, nullable=False, server_default=""))
    op.create_table(
        "unknown_logins",
        sa.Column("login", sa.String, primary_key=True),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("last_at", sa.Double(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("unknown_logins")
    with op.batch_alter_table("refused_registrations") as altered:
        altered.drop_column("detail")
