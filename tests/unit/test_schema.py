"""What a database's scripts are, read without Alembic, is what Alembic reads."""

from __future__ import annotations

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from teletrunk.schema import Schema
from teletrunk_manager.db.database import SCHEMA as MANAGER
from teletrunk_session_store.vault.tables import SCHEMA as VAULT


@pytest.mark.parametrize("schema", [MANAGER, VAULT], ids=["Manager", "vault"])
def test_revisions_are_the_numbers_of_their_files(schema: Schema) -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.scripts))
    directory = ScriptDirectory.from_config(config)
    revisions = [script.revision for script in directory.walk_revisions()]
    assert schema.head == directory.get_current_head() == revisions[0]
    assert all(schema.knows(revision) for revision in revisions)
    assert not schema.knows("9999")
