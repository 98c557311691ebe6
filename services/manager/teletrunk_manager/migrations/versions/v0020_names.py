"""Services have names that people give them; changes say what people called the thing that was changed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "service_names",
        sa.Column("service_id", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
    )
    op.add_column("changes", sa.Column("name", sa.String, nullable=False, server_default=""))


def downgrade() -> None:
    with op.batch_alter_table("changes") as altered:
        altered.drop_column("name")
    op.drop_table("service_names")
