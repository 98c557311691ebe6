"""What a PBX administrator sets on a trunk (`TrunkOptions`, trunk.proto), and the password that we show a PBX."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("trunks", sa.Column("options", sa.String(), nullable=False, server_default="{}"))
    op.add_column("trunks", sa.Column("sealed_pbx_password", sa.LargeBinary(), nullable=False, server_default=""))


def downgrade() -> None:
    with op.batch_alter_table("trunks") as trunks:
        trunks.drop_column("sealed_pbx_password")
        trunks.drop_column("options")
