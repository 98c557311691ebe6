"""The index of addresses says what looking at every trunk would say, whatever came and went."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st
from teletrunk_worker.trunks.sources import Sources

ADDRESSES = ("192.0.2.1", "192.0.2.2", "192.0.3.1", "10.0.0.1", "2001:db8::1", "2001:db8:0:1::1", "::1")
NETWORKS = tuple(
    map(
        ipaddress.ip_network,
        ("192.0.2.1", "192.0.2.0/24", "192.0.0.0/16", "0.0.0.0/0", "2001:db8::1", "2001:db8::/32", "::/0", "::1"),
    )
)
CHANGES = st.lists(st.tuples(st.sampled_from("abc"), st.lists(st.sampled_from(NETWORKS), max_size=4)), max_size=30)


@given(CHANGES)
def test_it_finds_those_that_looking_at_all_would_find(changes: list[tuple[str, list[ipaddress.IPv4Network]]]) -> None:
    sources, known = Sources(), dict[str, list[ipaddress.IPv4Network]]()
    for trunk_id, networks in changes:
        sources.put(trunk_id, networks)
        known[trunk_id] = networks
        for address in ADDRESSES:
            source = ipaddress.ip_address(address)
            assert sources.at(address) == {each for each, own in known.items() if any(source in one for one in own)}


def test_what_is_gone_leaves_nothing_behind() -> None:
    sources = Sources()
    for number in range(100):
        sources.put(f"t{number}", NETWORKS)
    for number in range(100):
        sources.put(f"t{number}", ())
    assert not sources._keys and not sources._trunks and not sources._lengths
    assert sources.at("no address") == set() == sources.at("192.0.2.1")
