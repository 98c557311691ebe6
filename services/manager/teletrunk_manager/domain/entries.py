"""What a PBX enters to use a trunk, out of what the trunk allows and the Workers announce. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from teletrunk.v1 import trunk_pb2 as pb

from teletrunk_manager.domain.trunk_options import TRANSPORTS

_SWITCH_ON = "set TELETRUNK_SIP_TLS_ADDRESS and TELETRUNK_SIP_TLS_CERTIFICATE at one"


@dataclass(frozen=True)
class Entrance:
    """Where a Worker takes SIP; `tls` is empty when it takes none over TLS, or, an older one, has not said."""

    address: str
    tls: str = ""
    has_said: bool = True


@dataclass(frozen=True)
class Entries:
    """host:port for UDP and TCP, and for TLS; each empty where the PBX cannot come by it."""

    address: str
    tls: str
    warnings: list[str]


def entries(options: pb.TrunkOptions, workers: Iterable[Entrance]) -> Entries:
    """Of the first Worker that has it, in the order that is given."""
    there = list(workers)
    allowed = _allowed(options)
    registers = options.kind == pb.TRUNK_KIND_UNSPECIFIED
    plain = bool(allowed & {"udp", "tcp"}) or not registers  # else it is only where we come from
    address = next((one.address for one in there), "") if plain else ""
    tls = next((one.tls for one in there if one.tls), "") if "tls" in allowed else ""
    have_said = bool(there) and all(one.has_said for one in there)
    return Entries(address, tls, _warnings(options, lacks_tls=have_said and "tls" in allowed and not tls))


def _allowed(options: pb.TrunkOptions) -> set[str]:
    """With SRTP required the others are of no use: no call would be taken."""
    allowed = set(options.transports or TRANSPORTS)
    return allowed & {"tls"} if options.srtp == pb.SRTP_POLICY_REQUIRED else allowed


def _warnings(options: pb.TrunkOptions, *, lacks_tls: bool) -> list[str]:
    found: list[str] = []
    if options.kind != pb.TRUNK_KIND_UNSPECIFIED:
        return found
    if lacks_tls and options.srtp == pb.SRTP_POLICY_REQUIRED:
        found.append(
            f"it requires SRTP, which goes over TLS only, and no Worker takes TLS: {_SWITCH_ON}, or allow keys that "
            "can be read (--srtp required-insecure)"
        )
    elif lacks_tls and list(options.transports) == ["tls"]:
        found.append(f"it allows TLS only, and no Worker takes TLS: {_SWITCH_ON}")
    if options.pbx.address:
        found.append(
            f"nothing goes to {options.pbx.address}: its PBX registers here (--kind outbound or peer reaches out to it)"
        )
    return found
