"""Invitations, members and assignments."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0001"
branch_labels = None
depends_on = None

_KIND = "kind IN ('worker', 'storage')"


def upgrade() -> None:
    op.create_table(
        "invitations",
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("comment", sa.String(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("secret_hash", name="pk_invitations"),
        sa.CheckConstraint(_KIND, name="ck_invitations_kind"),
    )
    op.create_table(
        "members",
        sa.Column("service_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("comment", sa.String(), nullable=False),
        sa.Column("enrolled_at", sa.Float(), nullable=False),
        sa.Column("revoked", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("service_id", name="pk_members"),
        sa.CheckConstraint(_KIND, name="ck_members_kind"),
    )
    op.create_table(
        "assignments",
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("worker_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "worker_id", name="pk_assignments"),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.account_id"], name="fk_assignments_account_id", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "drains",
        sa.Column("worker_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("worker_id", name="pk_drains"),
    )
    op.create_table(
        "trusted_addresses",
        sa.Column("trunk_id", sa.String(), nullable=False),
        sa.Column("network", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("trunk_id", "network", name="pk_trusted_addresses"),
        sa.ForeignKeyConstraint(
            ["trunk_id"], ["trunks.trunk_id"], name="fk_trusted_addresses_trunk_id", ondelete="CASCADE"
        ),
    )


def downgrade() -> None:
    for table in ("trusted_addresses", "drains", "assignments", "members", "invitations"):
        op.drop_table(table)
