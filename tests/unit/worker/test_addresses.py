"""One peer is one address, however it is written; and what a Worker says that its own are."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from teletrunk_worker.config import WorkerSettings
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


@pytest.mark.parametrize(
    ("listens", "public", "families"),
    [
        ("192.0.2.1:5060", None, [4]),
        ("[2001:db8::1]:5060", None, [6]),
        ("0.0.0.0:5060", None, [4]),
        ("0.0.0.0:5060", "198.51.100.1", [4]),
        ("[2001:db8::1]:5060", "2001:db8::2", [6]),
        ("[::]:5060", "198.51.100.1", [4, 6]),
        ("[::]:5060", "2001:db8::2", [6, 4]),
    ],
)
def test_a_worker_has_an_address_of_each_family_that_it_listens_at(
    listens: str, public: str | None, families: list[int]
) -> None:
    found = WorkerSettings(sip_address=listens, public_address=public).reachable_addresses()
    assert [6 if ":" in address else 4 for address in found] == families
    assert public in (None, found[0])


def test_at_all_addresses_it_has_one_of_each_family() -> None:
    settings = WorkerSettings(sip_address="[::]:5060")
    found = settings.reachable_addresses()
    assert {":" in address for address in found} == {True, False} and len(found) == 2
    assert settings.reachable_media_address() in found, "sound has IPv4 alone"


def is_beside(peer: str, **settings: Any) -> bool:
    networks = WorkerSettings(**settings).networks_beside
    return any(ipaddress.ip_address(peer) in network for network in networks)


@pytest.mark.parametrize("peer", ["10.1.2.3", "172.31.0.9", "192.168.1.50", "100.64.0.1", "fd00::5", "fe80::1", "::1"])
def test_whoever_is_seen_with_a_private_address_is_beside_it(peer: str) -> None:
    assert is_beside(peer) and is_beside(peer, public_address="203.0.113.7")
    assert not is_beside(peer, public_address="203.0.113.7", local_networks="")
    assert not is_beside("198.51.100.9") and not is_beside("2001:db8::9")


def test_a_public_address_of_a_private_network_is_what_that_network_is_told() -> None:
    """A container behind its machine's address: who is beside that machine is not beside the container."""
    assert not is_beside("192.168.1.50", public_address="192.168.1.10")
    assert is_beside("172.17.0.3", public_address="192.168.1.10"), "another container"
    assert not is_beside("192.168.1.50", public_address="203.0.113.7", media_address="192.168.1.10")
