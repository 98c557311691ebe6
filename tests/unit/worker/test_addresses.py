"""One peer is one address, however it is written: IPv4 as IPv6 sees it, and what one stranger may have of IPv6."""

from __future__ import annotations

import pytest
from teletrunk_worker.sip.transport.flow import network_of, plain


@pytest.mark.parametrize(
    ("written", "known_by"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::FFFF:192.0.2.7", "192.0.2.7"),
        ("::ffff:c000:207", "192.0.2.7"),
        ("0:0:0:0:0:ffff:c000:0207", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("pbx.example", "pbx.example"),
        ("", ""),
    ],
)
def test_an_address_has_one_name(written: str, known_by: str) -> None:
    assert plain(written) == known_by


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("nonsense:", "nonsense:"),
    ],
)
def test_a_stranger_is_known_by_its_network(address: str, network: str) -> None:
    assert network_of(address) == network
