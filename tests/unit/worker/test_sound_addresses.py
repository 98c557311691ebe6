"""Where no sound goes, whatever a description says."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from teletrunk.own_address import address_towards
from teletrunk_worker.relay import sound_addresses

PBX, PUBLIC = "198.51.100.7", "203.0.113.1"


def description(address: str) -> bytes:
    return f"v=0\r\no=- 1 1 IN IP4 {PBX}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n".encode()


def own() -> str:
    return address_towards("192.0.2.1")


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "169.254.1.1", "224.0.0.1", "255.255.255.255", PUBLIC])
def test_no_sound_to_where_no_pbx_is(address: str) -> None:
    assert sound_addresses.objection(description(address), PBX, [PUBLIC]) == f"no sound to {address}"
    rtcp = description(PBX) + f"a=rtcp:4001 IN IP4 {address}\r\n".encode()
    assert sound_addresses.objection(rtcp, PBX, [PUBLIC]) == f"no sound to {address}"


def test_no_sound_to_this_machine() -> None:
    assert sound_addresses.objection(description(own()), PBX, [PUBLIC]) == f"no sound to {own()}"


def test_a_description_names_few_addresses() -> None:
    """Each of them is looked up in the system's routes."""
    lines = "".join(f"c=IN IP4 198.51.100.{number}\r\n" for number in range(1, 180)).encode()
    assert sound_addresses.objection(description(PBX) + lines, PBX, [PUBLIC]) == "too many addresses"
    assert not sound_addresses.objection(description(PBX) + lines[:24] * 180, PBX, [PUBLIC])


_WITH_ADDRESSES_OF_OTHERS = """
echo 1 > /proc/sys/net/ipv4/ip_nonlocal_bind
ip link set lo up
ip address add 203.0.113.9/24 dev lo
exec "$0" -c "
from tests.unit.worker.test_sound_addresses import PBX, PUBLIC, description
from teletrunk_worker.relay.sound_addresses import objection
print([objection(description(address), PBX, [PUBLIC]) for address in ('127.0.0.1', '203.0.113.9', PBX)])
"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a network namespace with a setting of its own")
def test_a_machine_that_may_bind_addresses_of_others_does_not_take_them_for_its_own() -> None:
    """As beside keepalived."""
    command = ["unshare", "--net", "sh", "-ec", _WITH_ADDRESSES_OF_OTHERS, sys.executable]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout == "['no sound to 127.0.0.1', 'no sound to 203.0.113.9', '']\n"


@pytest.mark.parametrize("address", [PBX, "198.51.100.8", "192.168.1.7", "10.0.0.1", "0.0.0.0"])
def test_sound_goes_to_pbxs_also_behind_nat_and_on_hold(address: str) -> None:
    assert not sound_addresses.objection(description(address), PBX, [PUBLIC])


@pytest.mark.parametrize("source", ["127.0.0.1", "::ffff:127.0.0.1", "::1", PUBLIC])
def test_a_pbx_on_this_machine_has_its_addresses(source: str) -> None:
    assert not sound_addresses.objection(description("127.0.0.1"), source, [PUBLIC])
    assert not sound_addresses.objection(description(own()), source, [PUBLIC])
    assert sound_addresses.objection(description("224.0.0.1"), source, [PUBLIC])


def test_link_local_addresses_are_for_who_comes_from_one() -> None:
    assert not sound_addresses.objection(description("169.254.1.1"), "169.254.1.1", [PUBLIC])
