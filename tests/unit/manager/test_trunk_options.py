"""A trunk's options: every one has a rule, and a change changes what it names and nothing else."""

from __future__ import annotations

import pytest
from teletrunk.v1 import trunk_pb2 as pb
from teletrunk_manager.domain import trunk_options


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
