"""What a trunk's options are called by the command."""

from __future__ import annotations

from teletrunk.cli.trunk_options import WORDS
from teletrunk.v1.trunk_pb2 import TrunkOptions


def test_every_choice_has_a_word() -> None:
    chosen = {field.name: field.enum_type for field in TrunkOptions.DESCRIPTOR.fields if field.enum_type is not None}
    assert {name: [value.name for value in kind.values] for name, kind in chosen.items()} == {
        name: list(words) for name, words in WORDS.items()
    }
