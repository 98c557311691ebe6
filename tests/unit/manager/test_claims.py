"""Which trunks would take each other's calls."""

from __future__ import annotations

import time

import pytest
from teletrunk.v1 import trunk_pb2 as pb
from teletrunk_manager.domain.claims import Claims


def peer(address: str, *trusted: str, header: str = "") -> Claims:
    return made(pb.TRUNK_KIND_PEER, pb.PbxAddress(address=address, header=header), trusted)


def outbound(address: str, *trusted: str, proxy: str = "") -> Claims:
    return made(pb.TRUNK_KIND_OUTBOUND, pb.PbxAddress(address=address, proxy=proxy, username="u"), trusted)


def made(kind: pb.TrunkKind.ValueType, pbx: pb.PbxAddress, trusted: tuple[str, ...]) -> Claims:
    claims = Claims.of(pb.TrunkOptions(kind=kind, pbx=pbx), trusted)
    assert claims is not None
    return claims


def test_a_trunk_whose_pbx_registers_claims_nothing() -> None:
    assert Claims.of(pb.TrunkOptions(), ["0.0.0.0/0"]) is None


@pytest.mark.parametrize(
    ("mine", "theirs", "shared"),
    [
        (peer("192.0.2.10"), peer("192.0.2.10:5080"), "192.0.2.10/32"),
        (peer("192.0.2.10"), peer("192.0.2.11"), ""),
        (peer("192.0.2.99", "192.0.2.0/28"), peer("192.0.2.10"), "192.0.2.0/28"),
        (peer("192.0.2.10"), peer("pbx.example.com", "192.0.2.0/28"), "192.0.2.10/32"),
        (peer("[2001:db8::1]:5060"), peer("pbx.example.com", "2001:db8::/64"), "2001:db8::1/128"),
        (peer("2001.example"), peer("pbx.example.com", "2001:db8::/64"), ""),
        (peer("PBX.example.com."), peer("pbx.Example.com:5061"), "pbx.example.com"),
        (peer("192.0.2.10"), outbound("192.0.2.10"), "192.0.2.10/32"),
        (peer("192.0.2.10"), outbound("pbx.example.com", proxy="192.0.2.10:5062"), "192.0.2.10/32"),
        (outbound("pbx.example.com"), peer("pbx.example.com"), "pbx.example.com"),
        (outbound("pbx.example.com"), outbound("pbx.example.com"), ""),
        (outbound("pbx.example.com", "198.51.100.0/24"), peer("198.51.100.7"), "198.51.100.0/24"),
        (peer("192.0.2.10", header="X-Trunk: a"), peer("192.0.2.10", header="x-trunk:b"), ""),
        (peer("192.0.2.10", header="X-Trunk: a"), peer("192.0.2.10", header="X-Trunk: a"), "192.0.2.10/32"),
        (peer("192.0.2.10", header="Max-Forwards: 70"), peer("192.0.2.10", header="X-Trunk: a"), "192.0.2.10/32"),
        (peer("192.0.2.10", header="X-Trunk: a"), peer("192.0.2.10"), "192.0.2.10/32"),
    ],
)  # fmt: skip
def test_what_two_are_known_by(mine: Claims, theirs: Claims, shared: str) -> None:
    assert mine.shared_with(theirs) == shared
    assert bool(theirs.shared_with(mine)) == bool(shared), "whoever comes second"


@pytest.mark.parametrize(
    ("claims", "too_large"),
    [
        (peer("pbx.example.com", "192.0.2.0/24", "2001:db8::/48"), ""),
        (peer("pbx.example.com", "192.0.0.0/23"), "192.0.0.0/23"),
        (outbound("pbx.example.com", "0.0.0.0/0"), "0.0.0.0/0"),
        (peer("pbx.example.com", "::/0"), "::/0"),
    ],
)
def test_what_is_too_large_for_one_administrator(claims: Claims, too_large: str) -> None:
    assert claims.too_large() == too_large


def test_many_networks_against_thousands_of_trunks_cost_little() -> None:
    """By the processor's time: it was seconds when each pair was compared."""
    others = [peer(f"10.{number // 256}.{number % 256}.1") for number in range(3_000)]
    mine = peer("192.0.2.1", *(f"172.16.{number}.0/24" for number in range(50)))
    begun = time.process_time()
    assert not any(mine.shared_with(other) for other in others)
    assert time.process_time() - begun < 1.0


@pytest.mark.parametrize(
    ("mine", "theirs", "shared"),
    [
        (["10.0.0.0/8", "10.1.0.0/16"], ["10.1.2.0/24"], "10.0.0.0/8"),
        (["10.1.2.0/24", "10.1.3.0/24"], ["10.1.0.0/16"], "10.1.2.0/24"),
        (["10.1.3.0/24"], ["10.1.2.0/24", "0.0.0.0/0"], "10.1.3.0/24"),
        (["2001:db8::/32"], ["32.1.13.184/32"], ""),
    ],
)
def test_networks_within_one_another(mine: list[str], theirs: list[str], shared: str) -> None:
    assert peer("a.example", *mine).shared_with(peer("b.example", *theirs)) == shared
