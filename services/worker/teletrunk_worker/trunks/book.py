"""What this Worker knows of the trunks that may be used at it, as the Manager has said last."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

from teletrunk import causes
from teletrunk.codecs import CODECS, USUAL
from teletrunk.errors import Refusal
from teletrunk.v1 import manager_pb2 as pb
from teletrunk.v1 import trunk_pb2
from teletrunk.v1.trunk_pb2 import TRUNK_KIND_OUTBOUND, TRUNK_KIND_UNSPECIFIED, TrunkOptions

from teletrunk_worker.sip.registrar import Binding
from teletrunk_worker.sip.sound import SoundTerms

_DTMF: Final = {
    trunk_pb2.DTMF_METHOD_RFC4733: "rfc4733",
    trunk_pb2.DTMF_METHOD_INFO: "info",
    trunk_pb2.DTMF_METHOD_INBAND: "inband",
}
_SRTP: Final = {
    trunk_pb2.SRTP_POLICY_OPTIONAL: "optional",
    trunk_pb2.SRTP_POLICY_REQUIRED: "required",
    trunk_pb2.SRTP_POLICY_REQUIRED_INSECURE: "required-insecure",
}
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Trunk:
    """One trunk's settings. `codecs` are in the order in which they are preferred; no `networks` are all."""

    trunk_id: str
    codecs: tuple[str, ...] = USUAL
    password_revision: int = 0
    networks: tuple[Network, ...] = ()
    since: float = 0.0  # when this password's revision was heard of (monotonic)
    past_revisions: frozenset[int] = frozenset()
    options: TrunkOptions = field(default_factory=TrunkOptions)
    login: str = ""
    registers: bool = False  # an outbound trunk, and this Worker is the one that registers it
    pbx_password: str = field(default="", repr=False)
    administrator: str = ""  # whose it is

    @staticmethod
    def codecs_of(names: Iterable[str]) -> tuple[str, ...]:
        return tuple(name for name in names if name in CODECS) or USUAL

    @property
    def sound(self) -> SoundTerms:
        options = self.options
        srtp = _SRTP.get(options.srtp, "off")
        hold = "music" if options.hold == trunk_pb2.HOLD_SOUND_MUSIC else "silence"
        return SoundTerms(
            self.codecs, _DTMF.get(options.dtmf, ""), options.ptime_ms, srtp, hold, record_digits=options.record_digits
        )

    @classmethod
    def of(cls, settings: pb.TrunkSettings, before: Trunk | None) -> Trunk:
        """`before` is what was known of it until now."""
        since, past = time.monotonic(), frozenset[int]()
        if before is not None:
            since, past = before.since, before.past_revisions
            if before.password_revision != settings.password_revision:
                since, past = time.monotonic(), past | {before.password_revision} - {settings.password_revision}
        networks = tuple(ipaddress.ip_network(network) for network in settings.networks)
        codecs = cls.codecs_of(settings.codecs)
        return cls(
            settings.trunk_id,
            codecs,
            settings.password_revision,
            networks,
            since,
            past,
            settings.options,
            settings.login,
            settings.registers,
            settings.pbx_password,
            settings.administrator,
        )

    def allows(self, binding: Binding) -> bool:
        """Whether a binding would be made today.

        The Manager's answer to a REGISTER and its word on the trunk come by two ways: a password that we have not
        heard of yet is a newer one, unless the binding was there before the one that we know.
        """
        if self.options.off or binding.of_ours != (self.options.kind != TRUNK_KIND_UNSPECIFIED):
            return False
        if binding.of_ours:
            return True
        if not self.takes(binding.flow.transport):
            return False
        if 0 in (self.password_revision, binding.password_revision):  # an older Manager has not said
            return self.trusts(binding.flow.peer[0])
        is_old = binding.password_revision in self.past_revisions or binding.made_at < self.since
        same = binding.password_revision == self.password_revision
        return (same or not is_old) and self.trusts(binding.flow.peer[0])

    @property
    def account(self) -> str | None:
        """Our address of record at its PBX, when we register there."""
        pbx = self.options.pbx
        if self.options.kind != TRUNK_KIND_OUTBOUND:
            return None
        return f"sip:{pbx.username}@{pbx.address}"

    def asks_otherwise(self, other: Trunk) -> bool:
        """Whether the PBX of a trunk that does not register is to be asked anew, for what has changed."""
        ours, theirs = self.options, other.options
        return (ours.kind, ours.pbx, self.pbx_password) != (theirs.kind, theirs.pbx, other.pbx_password)

    def takes(self, transport: str) -> bool:
        """Whether its PBX may come by udp, tcp or tls."""
        return not self.options.transports or transport.lower() in self.options.transports

    def objection_to(self, transport: str) -> Refusal | None:
        if self.takes(transport):
            return None
        return causes.TRANSPORT_NOT_ALLOWED.refusal(transport, ", ".join(self.options.transports).upper())

    def trusts(self, address: str) -> bool:
        """Whether the trunk may be used from there."""
        if not self.networks:
            return True
        source = ipaddress.ip_address(address.partition("%")[0])
        return any(source in network for network in self.networks)


class TrunkBook:
    """All of them, by id. One that is not known has the settings that a new trunk has."""

    def __init__(self) -> None:
        self._trunks: dict[str, Trunk] = {}
        self._said: dict[str, bytes] = {}  # what each was made of

    def put(self, trunks: Iterable[pb.TrunkSettings]) -> list[str]:
        """Returns the ids of those that are new or others: who goes by the book looks at these alone."""
        return [settings.trunk_id for settings in trunks if self._put(settings)]

    def keep_only(self, trunk_ids: Collection[str]) -> list[str]:
        """Returns the ids of those that are gone."""
        gone = sorted(self._said.keys() - trunk_ids)
        for trunk_id in gone:
            del self._trunks[trunk_id], self._said[trunk_id]
        return gone

    def _put(self, settings: pb.TrunkSettings) -> bool:
        """Whether it is new, or another."""
        trunk_id, text = settings.trunk_id, settings.SerializeToString(deterministic=True)
        if self._said.get(trunk_id) == text:
            return False
        self._said[trunk_id] = text
        self._trunks[trunk_id] = Trunk.of(settings, self._trunks.get(trunk_id))
        return True

    def is_in_use(self, trunk_id: str) -> bool:
        """Whether the Manager has told of it, and it is not switched off."""
        return (trunk := self._trunks.get(trunk_id)) is not None and not trunk.options.off

    def find(self, trunk_id: str) -> Trunk:
        return self._trunks.get(trunk_id) or Trunk(trunk_id)
