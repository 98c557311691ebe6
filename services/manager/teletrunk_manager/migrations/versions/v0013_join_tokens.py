"""Join tokens, what proves a member, members that have retired, and where the Managers are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "join_tokens",
        sa.Column("join_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("places", sa.Integer(), nullable=False),
        sa.Column("comment", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=True),
        sa.Column("declared", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("join_id", name="pk_join_tokens"),
        sa.UniqueConstraint("secret_hash", name="uq_join_tokens_secret_hash"),
        sa.CheckConstraint("kind IN ('worker', 'storage')", name="ck_join_tokens_kind"),
        sa.CheckConstraint("places > 0", name="ck_join_tokens_places"),
    )
    op.add_column("members", sa.Column("came_by", sa.String(), nullable=False, server_default=""))
    op.add_column("members", sa.Column("key_fingerprint", sa.String(), nullable=False, server_default=""))
    op.add_column("members", sa.Column("certified_until", sa.Float(), nullable=False, server_default="0"))
    op.add_column("members", sa.Column("retired_at", sa.Float(), nullable=True))
    op.create_index("ix_members_came_by", "members", ["came_by"])
    op.create_table(
        "managers",
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("seen_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("address", name="pk_managers"),
    )


def downgrade() -> None:
    op.drop_table("managers")
    # Who had retired was no member any more: an older Manager would let it in again.
    op.execute("DELETE FROM members WHERE retired_at IS NOT NULL")
    op.drop_index("ix_members_came_by", "members")
    with op.batch_alter_table("members") as members:
        for column in ("retired_at", "certified_until", "key_fingerprint", "came_by"):
            members.drop_column(column)
    op.drop_table("join_tokens")
