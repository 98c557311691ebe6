"""Call records are found by trunk, number and row."""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_COLUMNS = ("trunk_id", "caller", "called", "error_id")


def upgrade() -> None:
    for column in _COLUMNS:
        op.create_index(f"ix_calls_{column}_call_id", "calls", [column, "call_id"])


def downgrade() -> None:
    for column in _COLUMNS:
        op.drop_index(f"ix_calls_{column}_call_id", "calls")
