"""Whom a call's sound goes to, and who is heard in it: the peer that was negotiated, and nobody else.

pjmedia takes RTP from everybody, and follows whoever has sent ten packets in a row. Here the kernel drops, before
pjmedia sees it, what does not come from
- nobody, until the description is negotiated;
- then the address that the description names, and the one that the peer's signalling comes from: a PBX behind NAT
  names an address that it does not send from;
- then the address and port that it was heard from first, until it describes itself again (re-INVITE, UPDATE).
An address that only a description names gets no more than a few packets until something comes from it.
What is of another codec than the agreed one is dropped, too: pjmedia decodes none of it and counts it all, so that a
call in which nobody is heard would look like one with sound.
"""

from __future__ import annotations

import ipaddress
import weakref
from collections.abc import Iterable

import pjsua2 as pj

from teletrunk_worker.legs import silenced_socket, socket_filter

Source = tuple[str, int]
_UNHEARD_PACKETS = 40
_LOOKS_UNTIL_SURE = 5  # a second: of a source that the description does not name


class RtpPeer:
    """The peer of one call's stream of sound."""

    def __init__(self, call: pj.Call) -> None:
        # Its owner. A cycle would leave the call to the garbage collector, and pjsua2's destructor hangs up whatever
        # call has the slot by then.
        self._call = weakref.proxy(call)
        self._index = 0  # of the stream among the call's media
        self.own_port = 0  # that RTP comes to, once it is known
        self._signalling = ""
        self._payload_type = 0
        self._named: Source | None = None
        self._pinned: Source | None = None
        self._seen: Source | None = None
        self._looks = 0
        self._received = 0
        self._silenced: int | None = None  # a descriptor
        self._sent = self._sent_before = 0  # while nothing came: by this stream, and by those before it

    def negotiated(self, index: int) -> None:
        """The call has a stream, perhaps with another peer than before. Raises pj.Error."""
        self.close()
        self._index = index
        stream = self._call.getStreamInfo(index)
        self._payload_type = int(stream.rxPt)
        self._named = _source(stream.remoteRtpAddress)
        local = str(self._call.getMedTransportInfo(index).localRtpName)
        self.own_port = int(local.rpartition(":")[2])
        self._pinned = self._seen = None
        self._looks = 0
        self._received = self._count()
        self._sent, self._sent_before = 0, self._sent_before + self._sent
        self._let_in()

    def signals_from(self, address: str) -> None:
        self._signalling = address
        self.close()
        if self._named is not None and self._pinned is None:
            self._let_in()

    def look(self) -> None:
        """Believes the first source from which sound has come; sends no more to where none comes from.

        Raises pj.Error.
        """
        if self._named is None or self._pinned is not None:
            return
        if (received := self._count()) != self._received:
            self._received = received
            self.close()  # who speaks is spoken to
            self._hear(_source(self._call.getMedTransportInfo(self._index).srcRtpName))
        elif not received and self._silenced is None and self._named[0] != self._signalling:
            self._sent = int(self._call.getStreamStat(self._index).rtcp.txStat.pkt)
            if self._sent_before + self._sent >= _UNHEARD_PACKETS:
                self._silence()

    def close(self) -> None:
        """Leaves the sockets to pjmedia."""
        if self._silenced is not None:
            silenced_socket.give_back(self._silenced)
            self._silenced = None

    def _hear(self, source: Source | None) -> None:
        self._sent = self._sent_before = 0
        self._looks = self._looks + 1 if source == self._seen else 1
        self._seen = source
        # The peer of before may still be speaking after a re-INVITE: only the named one is believed at once.
        if source is not None and (source == self._named or self._looks >= _LOOKS_UNTIL_SURE):
            self._pinned = source
            self._filter([source[0]], source[1])

    def _silence(self) -> None:
        for descriptor in socket_filter.udp_sockets(range(self.own_port, self.own_port + 1)).values():
            silenced_socket.silence(descriptor)
            self._silenced = descriptor

    def _count(self) -> int:
        return int(self._call.getStreamStat(self._index).rtcp.rxStat.pkt)

    def _let_in(self) -> None:
        addresses = [self._named[0]] if self._named is not None else []
        self._filter([address for address in dict.fromkeys([*addresses, self._signalling]) if _is_ipv4(address)])

    def _filter(self, addresses: list[str], port: int | None = None) -> None:
        """RTCP, on the next port, comes from any port of those addresses."""
        for own, descriptor in socket_filter.udp_sockets(range(self.own_port, self.own_port + 2)).items():
            if own == self.own_port:
                program = socket_filter.only_from(addresses, port, self._payload_type)
            else:
                program = socket_filter.only_from(addresses)
            with socket_filter.borrowed(descriptor) as end:
                socket_filter.attach(end, program)


def shut_out_everybody(ports: range, peers: Iterable[RtpPeer], sip_port: int) -> None:
    """Of all sockets of sound that none of those peers has: nobody has been negotiated with yet. SIP's may be on one of
    those ports: the kernel gives it any that is free."""
    taken = {sip_port, *(port for peer in peers for port in (peer.own_port, peer.own_port + 1))}
    for port, descriptor in socket_filter.udp_sockets(ports).items():
        if port not in taken:
            with socket_filter.borrowed(descriptor) as end:
                socket_filter.attach(end, socket_filter.only_from([]))
                socket_filter.drain(end)


def _source(text: str) -> Source | None:
    """Of pjlib's text; None of no address."""
    host, _, port = str(text).rpartition(":")
    return (host, int(port)) if _is_ipv4(host) and port.isdigit() and int(port) else None


def _is_ipv4(text: str) -> bool:
    try:
        return not ipaddress.IPv4Address(text).is_unspecified
    except ValueError:
        return False
