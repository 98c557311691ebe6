"""Whose call it is that comes without a digest: by where it comes from and what it names.

What the answer costs grows neither with the trunks nor with the registrations at one PBX.
"""

from __future__ import annotations

import heapq
import ipaddress
from dataclasses import dataclass

from teletrunk_worker.sip.message import Request
from teletrunk_worker.sip.transport.flow import Flow, without_zone
from teletrunk_worker.trunks.book import Trunk
from teletrunk_worker.trunks.disputes import Disputes
from teletrunk_worker.trunks.pbx import OutboundPbx, Pbx, PeerPbx
from teletrunk_worker.trunks.sources import Sources

_USER = "user"  # in place of a header's name: whom a call has to name


@dataclass(frozen=True)
class Known:
    """The trunk, and whom its call wants."""

    trunk: Trunk
    called: str


class Origins:
    """The PBXs that do not register at us, by all that their calls are known by."""

    def __init__(self) -> None:
        self._pbxs: dict[str, Pbx] = {}  # by trunk id
        self._by_token: dict[str, OutboundPbx] = {}
        self._all = Sources()
        self._peers = Sources()
        self._up = Sources()  # registrations of ours that are
        self._up_by_user = Sources()
        self._disputes = Disputes()

    def note(self, pbx: Pbx) -> None:
        """It is new, or its addresses, its state or its trunk's settings are others.

        It comes from where it is, or from where the trunk's list of addresses says that it may come.
        """
        trunk, options = pbx.trunk, pbx.options
        networks = [*(ipaddress.ip_network(without_zone(address)) for address in pbx.addresses), *trunk.networks]
        self._pbxs[trunk.trunk_id] = pbx
        if isinstance(pbx, OutboundPbx):
            self._by_token[pbx.token] = pbx
            self._all.put(trunk.trunk_id, networks, owner=trunk.administrator)
            up = networks if pbx.state.up else ()
            self._up.put(trunk.trunk_id, up)
            self._up_by_user.put(trunk.trunk_id, up, f"{_USER}: {options.username}")
        else:
            self._all.put(trunk.trunk_id, networks, options.header, trunk.administrator)
            self._peers.put(trunk.trunk_id, networks, options.header)

    def forget(self, pbx: Pbx) -> None:
        del self._pbxs[pbx.trunk.trunk_id]
        for sources in (self._all, self._peers, self._up, self._up_by_user):
            sources.put(pbx.trunk.trunk_id, ())
        if isinstance(pbx, OutboundPbx):
            del self._by_token[pbx.token]

    def has(self, trunk_id: str, address: str) -> bool:
        """Whether the trunk's PBX may be at this address."""
        return self._all.has(trunk_id, address)

    def whose(self, invite: Request, flow: Flow) -> Known | None:
        """The trunk that an INVITE is of; None: it needs a digest."""
        found: Pbx | None = self._by_token.get(invite.uri.user)
        if found is None or not self.has(found.trunk.trunk_id, flow.peer[0]):
            found = self._likeliest(invite, flow.peer[0])
        if found is None or not found.trunk.takes(flow.transport):
            return None
        called = found.called(invite) if isinstance(found, OutboundPbx) else invite.uri.number
        return Known(found.trunk, called)

    def _likeliest(self, invite: Request, address: str) -> Pbx | None:
        """Of those that may come from there: one whose header the call bears, one without a header, one it names."""
        header = invite.headers.getlist
        peers = (self._pbxs[trunk_id] for trunk_id in self._peers.at(address, header))
        likeliest = heapq.nsmallest(2, peers, key=_rank)
        if not likeliest or not isinstance(peer := likeliest[0], PeerPbx):
            return self._named(invite, address)
        if rival := self._all.of_another(peer.trunk.administrator, address, header):
            self._disputes.of_two_administrators(peer, self._pbxs[rival])
            return None
        for other in likeliest[1:]:
            if bool(other.options.header) == bool(peer.options.header):
                self._disputes.of_one_administrator(peer, other)
        return peer

    def _named(self, invite: Request, address: str) -> Pbx | None:
        """Of several registrations at one PBX, the one whose user the call names. One alone needs no name."""
        if alone := self._up.only(address):
            return self._pbxs[alone]
        for user in (invite.to.uri.user, invite.uri.user, invite.from_.uri.user):
            if found := self._up_by_user.at(address, lambda _, user=user: [user]):  # type: ignore[misc]
                return min((self._pbxs[trunk_id] for trunk_id in found), key=lambda pbx: pbx.trunk.login)
        return None


def _rank(pbx: Pbx) -> tuple[bool, str]:
    """Of those that a call may be of the least is whose it is."""
    return not pbx.options.header, pbx.trunk.login
