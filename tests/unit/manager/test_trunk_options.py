"""A trunk's options: every one has a rule, and a change changes what it names and nothing else."""

from __future__ import annotations

import pytest
from teletrunk.v1 import trunk_pb2 as pb
from teletrunk_manager.domain import dial_rules, trunk_options
from teletrunk_manager.domain.kept import kept


def test_every_option_has_a_rule() -> None:
    fields = {field.name for field in pb.TrunkOptions.DESCRIPTOR.fields}
    assert set(trunk_options._RULES) == fields


def test_a_change_changes_what_it_names() -> None:
    before = pb.TrunkOptions(off=True, transports=["udp"])
    after = trunk_options.changed(before, pb.TrunkOptions(transports=["TLS", "tcp", "tls"], off=False), ["transports"])
    assert after == pb.TrunkOptions(off=True, transports=["tls", "tcp"])
    assert trunk_options.changed(before, pb.TrunkOptions(), ["transports", "off"]) == pb.TrunkOptions()
    assert before == pb.TrunkOptions(off=True, transports=["udp"])


def test_what_is_not_known_is_refused_with_what_there_is() -> None:
    with pytest.raises(ValueError, match="unknown transport sctp: there are udp, tcp, tls"):
        trunk_options.checked(pb.TrunkOptions(transports=["sctp"]))
    with pytest.raises(ValueError, match="there is no trunk option colour: there are "):
        trunk_options.changed(pb.TrunkOptions(), pb.TrunkOptions(), ["colour"])


def test_too_many_rules_are_counted_before_one_is_compiled() -> None:
    before = dial_rules.parse.cache_info().misses
    with pytest.raises(ValueError, match="too many dial rules: use up to 50"):
        trunk_options.checked(pb.TrunkOptions(dial_rules=[f"never-seen-{number}=1" for number in range(1_000)]))
    assert dial_rules.parse.cache_info().misses == before


def test_what_is_kept_is_bounded_by_its_length() -> None:
    made = []

    @kept(100)
    def length(text: str) -> int:
        made.append(text)
        return len(text)

    small, large = [str(number) for number in range(9)], "x" * 95
    assert [length(text) for text in small * 2] == [1] * 18 and made == small
    assert length(large) == length(large) == 95 and made == [*small, large]
    assert length(small[-1]) == 1 and made == [*small, large], "who was asked for last stays"
    assert length(small[0]) == 1 and made[-1] == small[0], "who was not asked for longest has gone"
    assert length("y" * 101) == length("y" * 101) == 101 and len(made) == 13, "what is too long is not kept"
