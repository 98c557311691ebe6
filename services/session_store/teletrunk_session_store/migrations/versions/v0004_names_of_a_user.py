"""All usernames of a user are asked for when its bare id calls: by the user, not by each name of the session."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_aliases_session_id_user_id", "aliases", ["session_id", "user_id"], if_not_exists=True)


def downgrade() -> None:
    op.drop_index("ix_aliases_session_id_user_id", "aliases", if_exists=True)
