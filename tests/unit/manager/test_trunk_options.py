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


NO_ADDRESSES = f"""
    192.0.2.999 192.0.2.010 256.1.1.1:5060 127.1 0x7f.1 3221225994 1.2.3.4.5 pbx.1 0.0.0.0 255.255.255.255
    224.0.0.1:5060 [1.2.3.4] [abcd] [2001:db8:::1] [::]:5060 [ff02::1] [::ffff:192.0.2.1]
    192.0.2.1:0 [2001:db8::1]:65536 pbx..example.com {"a" * 64}.example.com
"""


@pytest.mark.parametrize("address", NO_ADDRESSES.split())
def test_an_address_that_is_none_is_refused(address: str) -> None:
    for field in ("address", "proxy"):
        with pytest.raises(ValueError, match="is no address of a PBX"):
            trunk_options.checked(pb.TrunkOptions(pbx=pb.PbxAddress(**{field: address})))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "address",
    ["192.0.2.10:5060", "pbx", "pbx1.local:5061", "1.pbx.example", "[2001:db8::1]", "[2001:db8::1]:5060"],
)
def test_an_address_that_somebody_may_have_is_taken(address: str) -> None:
    given = pb.TrunkOptions(pbx=pb.PbxAddress(address=f" {address} "))
    assert trunk_options.checked(given).pbx.address == address


def test_the_name_in_a_digest_may_be_any_that_a_pbx_gives() -> None:
    for name in ("100@pbx.example.com", "EXAMPLE\\100", "Our office", 'a"b', ""):
        assert trunk_options.checked(pb.TrunkOptions(pbx=pb.PbxAddress(auth_username=name))).pbx.auth_username == name
    for name in (" 100", "100 ", "a\nb", "é", "x" * 65):
        with pytest.raises(ValueError, match="is no name for a digest"):
            trunk_options.checked(pb.TrunkOptions(pbx=pb.PbxAddress(auth_username=name)))


def test_a_rule_of_blanks_is_none() -> None:
    with pytest.raises(ValueError, match="has no pattern"):
        trunk_options.checked(pb.TrunkOptions(dial_rules=[" "]))


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
