"""Tokens end, see everything, and are seen used; deliveries that fail say why and are kept a while."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_NEW = {
    "api_tokens": {"sees_all": sa.Boolean, "expires_at": sa.Float, "last_used_at": sa.Float},
    "deliveries": {"failure": sa.String, "last_at": sa.Float, "given_up": sa.Boolean},
}
_EMPTY: dict[Any, Any] = {sa.Boolean: sa.false(), sa.Float: "0", sa.String: ""}


def upgrade() -> None:
    for table, columns in _NEW.items():
        for name, kind in columns.items():
            op.add_column(table, sa.Column(name, kind(), nullable=False, server_default=_EMPTY[kind]))
    op.execute("UPDATE api_tokens SET sees_all = true WHERE role = 'owner'")


def downgrade() -> None:
    for table, columns in _NEW.items():
        with op.batch_alter_table(table) as altered:
            for name in columns:
                altered.drop_column(name)
