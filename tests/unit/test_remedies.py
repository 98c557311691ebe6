"""Remedies as data: the operations that they name are there, in the command and in REST, and are told in both words."""

from __future__ import annotations

from typing import Any

import pytest
import typer
from teletrunk import remedies
from teletrunk.cli.main import app
from teletrunk.errors import TABLE, Row
from teletrunk.remedies import APPROVE_STORAGE, CHANGE_TRUNK, LIST_SERVICES, Operation, Shows, Term, command_line
from teletrunk.rest import ROUTES
from teletrunk_manager.api.wording import for_programs

_OPERATIONS = {name: value for name, value in vars(remedies).items() if isinstance(value, Operation)}


@pytest.mark.parametrize("name", _OPERATIONS)
def test_each_operation_is_a_command_and_a_route(name: str) -> None:
    operation = _OPERATIONS[name]
    (route,) = [route for route in ROUTES if route.rpc == operation.rpc]
    for text in operation.commands:
        words = text.split()
        group: Any = typer.main.get_command(app)
        for word in words[:2]:
            group = getattr(group, "real", group).commands[word]
        fields = {word[1:-1] for word in words if word.startswith("{")}
        assert fields <= set(route.request.DESCRIPTOR.fields_by_name), "what is filled in is a field of the request"


def test_one_remedy_in_the_words_of_each() -> None:
    parts = "look: ", Shows(LIST_SERVICES), "; then ", APPROVE_STORAGE.of(storage_id="a b"), ", ", Term("--x", "y.x")
    assert command_line(parts) == (
        "look: teletrunk worker list and storage list show them; then teletrunk storage approve a b, --x"
    )
    assert for_programs(parts) == "look: GET /v1/services shows them; then POST /v1/storages/a%20b/approval, y.x"
    assert for_programs([APPROVE_STORAGE]) == "POST /v1/storages/{storage_id}/approval"
    codecs = CHANGE_TRUNK.of(trunk="office").giving("--codecs", "codecs")
    assert command_line([codecs]) == "teletrunk trunk change office --codecs"
    assert for_programs([codecs]) == "PATCH /v1/trunks/office with codecs"
    assert command_line([APPROVE_STORAGE]) == "teletrunk storage approve STORAGE_ID"


@pytest.mark.parametrize("row", TABLE.values(), ids=lambda row: row.id)
def test_a_program_is_given_no_command_that_rest_has(row: Row) -> None:
    """A vault is adopted where its Storage is, and nowhere else."""
    assert "teletrunk " not in for_programs(row.advice).replace("teletrunk storage adopt", "")
