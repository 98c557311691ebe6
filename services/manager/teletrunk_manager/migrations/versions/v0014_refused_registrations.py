"""Registrations that were refused."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "refused_registrations",
        sa.Column("trunk_id", sa.String(), nullable=False),
        sa.Column("error_id", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("worker_id", sa.String(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("first_at", sa.Double(), nullable=False),
        sa.Column("last_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("trunk_id", "error_id", "source", name="pk_refused_registrations"),
        sa.ForeignKeyConstraint(
            ["trunk_id"], ["trunks.trunk_id"], name="fk_refused_registrations_trunk_id_trunks", ondelete="CASCADE"
        ),
    )


def downgrade() -> None:
    op.drop_table("refused_registrations")
