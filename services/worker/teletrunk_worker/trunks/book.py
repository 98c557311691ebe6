"""What this Worker knows of the trunks that may be used at it, as the Manager has said last."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from teletrunk.v1 import manager_pb2 as pb

from teletrunk_worker.sip.registrar import Binding

CODECS: Final = ("PCMA", "PCMU", "G722")  # those that a SIP host has switched on, as they are offered by default
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Trunk:
    """One trunk's settings. `codecs` are in the order in which they are preferred; no `networks` are all."""

    trunk_id: str
    codecs: tuple[str, ...] = CODECS
    password_revision: int = 0
    networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, settings: pb.TrunkSettings) -> Trunk:
        known = tuple(codec for codec in settings.codecs if codec in CODECS)
        networks = tuple(ipaddress.ip_network(network) for network in settings.networks)
        return cls(settings.trunk_id, known or CODECS, settings.password_revision, networks)

    def allows(self, binding: Binding) -> bool:
        """Whether a binding that was made earlier would be made today."""
        revisions = {self.password_revision, binding.password_revision} - {0}  # 0: an older Manager has not said
        return len(revisions) < 2 and self._trusts(binding.flow.peer[0])

    def _trusts(self, address: str) -> bool:
        if not self.networks:
            return True
        source = ipaddress.ip_address(address.partition("%")[0])
        return any(source in network for network in self.networks)


class TrunkBook:
    """All of them, by id. One that is not known has the settings that a new trunk has."""

    def __init__(self) -> None:
        self._trunks: dict[str, Trunk] = {}

    def replace(self, trunks: Iterable[pb.TrunkSettings]) -> None:
        self._trunks = {settings.trunk_id: Trunk.of(settings) for settings in trunks}

    def find(self, trunk_id: str) -> Trunk:
        return self._trunks.get(trunk_id) or Trunk(trunk_id)
