"""A trunk's options: what is given is brought into the form in which it is kept, or refused. Pure.

Each option has one rule here, by its field's name in trunk.proto; whoever adds an option adds its rule.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from google.protobuf import json_format
from teletrunk.remedies import Advised, Term
from teletrunk.v1 import trunk_pb2 as pb

from teletrunk_manager.domain import callers, dial_rules, templates
from teletrunk_manager.domain.kept import kept

TRANSPORTS: Final = ("udp", "tcp", "tls")
PTIMES_MS: Final = (10, 20, 30, 40, 50, 60)
_HOST_AND_PORT: Final = re.compile(
    r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9]([A-Za-z0-9_.\-]{0,251}[A-Za-z0-9])?)(:[0-9]{1,5})?"
)
_USER: Final = re.compile(r"[A-Za-z0-9._+~!*'()&=$,;?/\-]{0,64}")
_AUTH_USER: Final = re.compile(r"([\x21-\x7e]([\x20-\x7e]{0,62}[\x21-\x7e])?)?")  # in quotes it may be any text
_LIKE_ADDRESS: Final = re.compile(r"(.*\.)?([0-9]+|0[xX][0-9A-Fa-f]*)")
_LONGEST_LABEL: Final = 63
_EVERYBODY: Final = ipaddress.IPv4Address("255.255.255.255")
_HEADER: Final = re.compile(r"[A-Za-z0-9\-]{1,40}: ?[\x21-\x7e][\x20-\x7e]{0,100}")
_SHORTEST_S, _LONGEST_S = 60, 86_400
# What the Manager decides by itself when a call is routed: Workers need not be told.
_OURS: Final = ("allowed_callers", "blocked_callers", "dial_rules", "caller_ids", "caller_names")
_KEPT_BYTES: Final = 8 << 20  # ten thousand trunks of the usual kind, and not one tenant's largest for ever
_PBX_ADDRESS: Final = Term("--pbx pbx.example.com", "options.pbx.address")
_PBX_USER: Final = Term("--pbx-user and --pbx-password-file", "options.pbx.username and pbx_password")
_INSECURE: Final = Term("--srtp required-insecure", "options.srtp required-insecure")
_NUMBER: Final = re.compile(r"[A-Za-z0-9+\-_.*#~!]{0,64}")


def written(options: pb.TrunkOptions) -> str:
    """As it is kept: readable in the database and in the list of changes."""
    return json_format.MessageToJson(options, preserving_proto_field_name=True, indent=None)


@kept(_KEPT_BYTES)
def read(text: str) -> pb.TrunkOptions:
    """Not to be changed: it is kept. What a newer Manager has written and this one does not know is left out."""
    return json_format.Parse(text, pb.TrunkOptions(), ignore_unknown_fields=True)


@kept(_KEPT_BYTES)
def read_for_workers(text: str) -> pb.TrunkOptions:
    """Not to be changed: it is kept."""
    options = pb.TrunkOptions()
    options.CopyFrom(read(text))
    for name in _OURS:
        options.ClearField(name)
    return options


_OF_PBX: Final = frozenset(field.name for field in pb.PbxAddress.DESCRIPTOR.fields)


def changed(before: pb.TrunkOptions, given: pb.TrunkOptions, names: Iterable[str]) -> pb.TrunkOptions:
    """`before` with those of `given` that are named: `pbx` as a whole, or `pbx.address` alone.

    Raises `ValueError` with what to do.
    """
    after = pb.TrunkOptions()
    after.CopyFrom(before)
    for path in names:
        name, _, within = path.partition(".")
        if name not in _RULES or (within and (name != "pbx" or within not in _OF_PBX)):
            raise ValueError(f"there is no trunk option {path}: there are {', '.join(sorted(_RULES))}")
        if within:
            setattr(after.pbx, within, getattr(given.pbx, within))
        else:
            after.ClearField(name)  # type: ignore[arg-type]  # a name out of the message's own
            after.MergeFrom(_only(given, name))
        _RULES[name](after)
    return after


def checked(given: pb.TrunkOptions) -> pb.TrunkOptions:
    """Those of a new trunk. Raises `ValueError`."""
    return changed(pb.TrunkOptions(), given, [field.name for field, _ in given.ListFields()])


def _only(given: pb.TrunkOptions, name: str) -> pb.TrunkOptions:
    one = pb.TrunkOptions()
    for field, value in given.ListFields():
        if field.name == name:
            one.MergeFrom(pb.TrunkOptions(**{name: value}))
    return one


def _as_it_is(options: pb.TrunkOptions) -> None:
    pass


def _transports(options: pb.TrunkOptions) -> None:
    wanted = list(dict.fromkeys(transport.strip().lower() for transport in options.transports))
    if unknown := sorted(set(wanted) - set(TRANSPORTS)):
        raise ValueError(f"unknown transport {', '.join(unknown)}: there are {', '.join(TRANSPORTS)}")
    options.transports[:] = wanted


def _ptime(options: pb.TrunkOptions) -> None:
    if options.ptime_ms and options.ptime_ms not in PTIMES_MS:
        raise ValueError(f"{options.ptime_ms} ms is no length for a packet: use {', '.join(map(str, PTIMES_MS))}, or 0")


def _pbx(options: pb.TrunkOptions) -> None:
    pbx = options.pbx
    pbx.transport = pbx.transport.strip().lower()
    if pbx.transport and pbx.transport not in TRANSPORTS:
        raise ValueError(f"unknown transport {pbx.transport}: there are {', '.join(TRANSPORTS)}")
    for name in ("address", "proxy"):
        if where := getattr(pbx, name).strip():
            _require_address(where)
        setattr(pbx, name, where)
    if not _USER.fullmatch(pbx.username):
        raise ValueError(f"{pbx.username!r} is not what a PBX knows anybody by: up to 64 letters, digits, . _ + -")
    if not _AUTH_USER.fullmatch(pbx.auth_username):
        raise ValueError(
            f"{pbx.auth_username!r} is no name for a digest: up to 64 characters of ASCII, such as 100@pbx"
        )
    if pbx.expires and not _SHORTEST_S <= pbx.expires <= _LONGEST_S:
        raise ValueError(f"a registration lasts {_SHORTEST_S} to {_LONGEST_S} seconds")
    if pbx.header and not _HEADER.fullmatch(pbx.header):
        raise ValueError(f'{pbx.header!r} is no header: write "X-Trunk: office"')


def _require_address(where: str) -> None:
    """Raises `ValueError`."""
    found = _HOST_AND_PORT.fullmatch(where)
    if found is None:
        raise ValueError(f"{where} is no address of a PBX: write pbx.example.com, 192.0.2.10:5060 or [2001:db8::1]")
    if not _is_host(found[1]) or not (found[3] is None or 0 < int(found[3][1:]) < 65_536):
        raise ValueError(f"{where} is no address of a PBX: its name or its port is none")


def _is_host(text: str) -> bool:
    """A name, or an address that somebody may have. What ends like an address is one, or a slip: machines read
    127.1 and 192.0.2.010 each in its own way."""
    if not (text.startswith("[") or _LIKE_ADDRESS.fullmatch(text)):
        return all(0 < len(label) <= _LONGEST_LABEL for label in text.split("."))
    try:
        at = ipaddress.IPv6Address(text[1:-1]) if text.startswith("[") else ipaddress.IPv4Address(text)
    except ValueError:
        return False
    if at.version == 6 and at.ipv4_mapped is not None:  # to be written as what it is: others' are compared with it
        return False
    return not (at.is_unspecified or at.is_multicast or at == _EVERYBODY)


def require_whole(options: pb.TrunkOptions, pbx_password: bool) -> None:
    """What belongs together is there. Raises `ValueError`."""
    if options.kind != pb.TRUNK_KIND_UNSPECIFIED and not options.pbx.address:
        raise Advised("a trunk that does not register at us needs its PBX's address: ", _PBX_ADDRESS)
    if options.kind == pb.TRUNK_KIND_OUTBOUND and not (options.pbx.username and pbx_password):
        raise Advised("to register at a PBX we need a user and a password of it: ", _PBX_USER)


def require_possible(options: pb.TrunkOptions) -> None:
    """No two of them shut out every call. Raises `Advised`."""
    if options.srtp != pb.SRTP_POLICY_REQUIRED:
        return
    both = "which goes over TLS only (its keys stand in the signalling): allow tls, or "
    if options.transports and "tls" not in options.transports:
        raise Advised(f"the trunk allows {', '.join(options.transports).upper()} and requires SRTP, {both}", _INSECURE)
    if options.kind != pb.TRUNK_KIND_UNSPECIFIED and options.pbx.transport in ("udp", "tcp"):
        raise Advised(f"its PBX is reached by {options.pbx.transport.upper()} and SRTP is required, {both}", _INSECURE)


def _number_on_pbx(options: pb.TrunkOptions) -> None:
    number = options.number_on_pbx.strip()
    if not _NUMBER.fullmatch(number):
        raise ValueError(f"the number on the PBX {number}: use up to 64 letters, digits and + - _ . * # ~ !")
    options.number_on_pbx = number


def _allowed_callers(options: pb.TrunkOptions) -> None:
    options.allowed_callers[:] = _callers(options.allowed_callers)


def _blocked_callers(options: pb.TrunkOptions) -> None:
    options.blocked_callers[:] = _callers(options.blocked_callers)


def _callers(given: Iterable[str]) -> list[str]:
    given = list(given)
    _require_no_more(given, callers.MOST_CALLERS, "callers")
    return list(dict.fromkeys(callers.listed(text) for text in given))


def _dial_rules(options: pb.TrunkOptions) -> None:
    """One that stands in back-quotes is meant without them: chats turn what does not into pictures."""
    _require_no_more(options.dial_rules, dial_rules.MOST_RULES, "dial rules")
    wanted = [text[1:-1] if len(text) > 2 and text[0] == text[-1] == "`" else text for text in options.dial_rules]
    for text in wanted:
        dial_rules.parse(text)
    options.dial_rules[:] = wanted


def _caller_ids(options: pb.TrunkOptions) -> None:
    _require_no_more(options.caller_ids, templates.MOST_TEMPLATES, "caller IDs")
    wanted = [text.strip() for text in options.caller_ids]
    for text in wanted:
        templates.parse_id(text)
    options.caller_ids[:] = wanted


def _caller_names(options: pb.TrunkOptions) -> None:
    _require_no_more(options.caller_names, templates.MOST_TEMPLATES, "caller names")
    wanted = [text.strip() for text in options.caller_names]
    for text in wanted:
        templates.parse(text)
    options.caller_names[:] = wanted


def _require_no_more(given: Sequence[str], most: int, what: str) -> None:
    """Before any is looked at: to read one may cost a thousand times what it takes to write it."""
    if len(given) > most:
        raise ValueError(f"too many {what}: use up to {most}")


_RULES: Final[dict[str, Callable[[pb.TrunkOptions], None]]] = {
    "kind": _as_it_is,
    "off": _as_it_is,
    "transports": _transports,
    "dtmf": _as_it_is,
    "ptime_ms": _ptime,
    "srtp": _as_it_is,
    "hold": _as_it_is,
    "no_transfers": _as_it_is,
    "record_digits": _as_it_is,
    "pbx": _pbx,
    "number_on_pbx": _number_on_pbx,
    "allowed_callers": _allowed_callers,
    "blocked_callers": _blocked_callers,
    "dial_rules": _dial_rules,
    "caller_ids": _caller_ids,
    "caller_names": _caller_names,
}
