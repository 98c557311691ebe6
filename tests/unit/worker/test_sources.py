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
HEADERS = ("", "X-Trunk: one", "x-trunk:two", "X-Other: one", "no header", ": odd")
CALLS: tuple[dict[str, list[str]], ...] = ({}, {"x-trunk": [" one"]}, {"x-trunk": ["two", "one"]}, {"x-other": ["one"]})
CHANGES = st.lists(
    st.tuples(st.sampled_from("abc"), st.lists(st.sampled_from(NETWORKS), max_size=4), st.sampled_from(HEADERS)),
    max_size=30,
)
Known = tuple[list[ipaddress.IPv4Network], str]


def is_borne(header: str, call: dict[str, list[str]]) -> bool:
    name, colon, value = header.partition(":")
    return not colon or value.strip() in [given.strip() for given in call.get(name.lower(), [])]


@given(CHANGES)
def test_it_finds_those_that_looking_at_all_would_find(
    changes: list[tuple[str, list[ipaddress.IPv4Network], str]],
) -> None:
    sources, known = Sources(), dict[str, Known]()
    for trunk_id, networks, header in changes:
        sources.put(trunk_id, networks, header)
        known[trunk_id] = networks, header
    for address in ADDRESSES:
        source = ipaddress.ip_address(address)
        here = {each for each, (own, _) in known.items() if any(source in one for one in own)}
        assert {each for each in "abc" if sources.has(each, address)} == here
        for call in CALLS:
            found = sources.at(address, lambda name, call=call: call.get(name, []))  # type: ignore[misc]
            assert found == {each for each in here if is_borne(known[each][1], call)}


def test_what_is_gone_leaves_nothing_behind() -> None:
    sources = Sources()
    for number in range(100):
        sources.put(f"t{number}", NETWORKS, HEADERS[number % len(HEADERS)])
    for number in range(100):
        sources.put(f"t{number}", ())
    assert not sources._keys and not sources._trunks and not sources._lengths and not sources._names
    assert sources.at("no address", lambda name: []) == set() == sources.at("192.0.2.1", lambda name: [])
