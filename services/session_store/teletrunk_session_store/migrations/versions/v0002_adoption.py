"""Where the vault lies, who uses it, and whether it is a copy that nobody has adopted yet."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "origin",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("value", sa.String(), nullable=False),
    )
    op.create_table(
        "storages",
        sa.Column("storage_id", sa.String(), primary_key=True),
        sa.Column("seen", sa.String(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("storages")
    op.drop_table("origin")
