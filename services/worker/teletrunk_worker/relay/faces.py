"""Where each peer finds this Worker: at the public address, or, in a network beside it, at the machine's own.

A router that translates seldom lets those behind it reach each other by the address that it has outside.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Callable, Sequence

from teletrunk.own_address import ANY, address_towards, own_addresses

from teletrunk_worker.sip.proxy import bracketed
from teletrunk_worker.sip.transport.flow import Address, Flow, without_zone
from teletrunk_worker.sip.transport.locate import PORTS

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_KEPT = 1_024


class Faces:
    def __init__(
        self,
        public: Sequence[str],
        listens_at: str,
        local: Sequence[Network],
        port_of: Callable[[str], int],
        inside: Address,
    ) -> None:
        """`public` are the addresses that peers outside of the `local` networks know, the first one also those of a
        family that has none of its own; `port_of` is told a transport, `inside` is what hosts know."""
        self.public = tuple(public)
        self._listens_at = listens_at
        self._local = tuple(local)
        self._port_of = port_of
        # How routes name this port, on either side: it grows with the machine's addresses that peers are told.
        self.own = [*((host, port) for host in self.public for port in {port_of(one) for one in PORTS}), inside]

    def at(self, flow: Flow) -> Address:
        """Where the peer of this flow comes back to."""
        face = self._host(flow), self._port_of(flow.transport)
        if face not in self.own:
            self.own.append(face)
        return face

    def name(self, flow: Flow) -> Address:
        """What it is called in what hosts write for this peer: with the port of UDP and TCP, whatever the way."""
        return self._host(flow), self.port_of_names

    def contact(self, flow: Flow, *, secure: bool) -> str:
        """The same all a dialog long. `secure`: it is one of `sips:` addresses, in which ours has to be one as well
        (RFC 3261 8.1.1.8, 12.1.1)."""
        is_sips = secure and flow.transport == "TLS"
        host, port = self.at(flow) if is_sips else self.name(flow)
        return f"<{'sips' if is_sips else 'sip'}:{bracketed(host)}:{port}>"

    @property
    def port_of_names(self) -> int:
        return self._port_of("UDP")

    def _host(self, flow: Flow) -> str:
        return self.beside(flow) or self._public_for(flow.peer[0])

    def beside(self, flow: Flow) -> str:
        """The machine's address that faces a peer in a local network; empty for others."""
        peer = flow.peer[0]
        if not _is_in(peer, self._local):
            return ""
        if self._listens_at not in ANY:
            return self._listens_at
        try:
            return without_zone(_towards(peer))
        except OSError:  # the way there has gone
            return ""

    def for_sound(self, face: str) -> str:
        """In place of what is `beside` a peer: sound has IPv4 alone, and nobody knows the IPv4 address of a peer that
        signals by IPv6."""
        if ":" not in face:
            return face
        return "127.0.0.1" if ipaddress.ip_address(face).is_loopback else _way_out("0.0.0.0")  # noqa: S104

    def _public_for(self, peer: str) -> str:
        """Of the peer's own family, if there is one."""
        return next((host for host in self.public if (":" in host) == (":" in peer)), self.public[0])


@functools.lru_cache(_KEPT)
def _is_in(host: str, networks: tuple[Network, ...]) -> bool:
    try:
        address = ipaddress.ip_address(without_zone(host))
    except ValueError:
        return False
    return any(address in network for network in networks)


def _towards(peer: str) -> str:
    """A PBX on this machine may pass what it is told on to others: it is told what these can reach as well."""
    if ipaddress.ip_address(without_zone(peer)).is_loopback:
        return _way_out("::" if ":" in peer else "0.0.0.0")  # noqa: S104
    return address_towards(peer)


def _way_out(listens_at: str) -> str:
    is_ipv6 = listens_at == "::"
    return next(address for address in own_addresses(listens_at) if (":" in address) == is_ipv6)
