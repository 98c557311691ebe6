"""Alembic's entry: runs on the connection that the Storage hands over."""

from __future__ import annotations

from alembic import context

from teletrunk_session_store.vault.tables import TABLES

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=TABLES,
    render_as_batch=True,
    version_table=context.config.attributes["version_table"],
)
with context.begin_transaction():
    context.run_migrations()
