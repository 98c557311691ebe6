r"""A trunk's options on the command line: one option of `trunk add` and `trunk change` each, and their words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from teletrunk.cli.client import fail
from teletrunk.v1 import trunk_pb2 as pb

Off = Annotated[bool | None, typer.Option("--off/--on", help="Switched off: nothing is let in, and nothing rung.")]
Transports = Annotated[
    str | None, typer.Option("--transports", help="udp, tcp, tls: what the PBX may come by; all if not given.")
]
NumberOnPbx = Annotated[
    str | None,
    typer.Option("--number-on-pbx", help="What the PBX is rung at, such as 200; '' for its contact's own user."),
]
AllowedCallers = Annotated[
    str | None,
    typer.Option("--allowed-callers", help="Only these may call: +PHONE, @USERNAME, user id, by commas; '' for all."),
]
BlockedCallers = Annotated[
    str | None, typer.Option("--blocked-callers", help="These may not, whoever is allowed: '@spammer,+15550100'.")
]
DialRules = Annotated[
    list[str] | None,
    typer.Option(
        "--dial-rule",
        help="In order, once for each; all of them: PATTERN=REPLACEMENT rewrites ('^00=+', '^8(\\d{10})$=+7\\1'), "
        "PATTERN alone must match ('^\\+'). '' for none.",
    ),
]
CallerIds = Annotated[
    list[str] | None,
    typer.Option(
        "--caller-id",
        help="The caller's number for the PBX, once for each template, all of them: '+{phone}', '0{userid}', "
        "'{username}'. The first whose tags are known is taken; 'anonymous' hides who has none. '' for the usual.",
    ),
]
CallerNames = Annotated[
    list[str] | None,
    typer.Option(
        "--caller-name",
        help="The caller's name for the PBX, likewise: '+{phone} ({name_ascii})', '{name}'. Tags: name, name_ascii, "
        "phone, username, userid. '' for the usual.",
    ),
]

NoTransfers = Annotated[
    bool | None,
    typer.Option("--no-transfers/--transfers", help="Whether the PBX may pass a call on to another of its numbers."),
]
Kind = Annotated[
    str | None,
    typer.Option("--kind", help="registers: the PBX registers here; outbound: we register at it; peer: nobody does."),
]
Pbx = Annotated[str | None, typer.Option("--pbx", help="Where the PBX of such a trunk is: pbx.example.com:5060.")]
PbxTransport = Annotated[str | None, typer.Option("--pbx-transport", help="udp, tcp or tls; else as DNS says.")]
PbxProxy = Annotated[str | None, typer.Option("--pbx-proxy", help="Where registrations are sent, if not to --pbx.")]
PbxUser = Annotated[str | None, typer.Option("--pbx-user", help="Whom we register as.")]
PbxAuthUser = Annotated[str | None, typer.Option("--pbx-auth-user", help="The name in our answers, if another one.")]
PbxExpires = Annotated[int | None, typer.Option("--pbx-expires", help="Seconds that our registration shall last.")]
PbxHeader = Annotated[
    str | None, typer.Option("--pbx-header", help='"Name: value" that the calls of this trunk bear, and no others.')
]
AnyCertificate = Annotated[
    bool | None,
    typer.Option("--any-certificate/--checked-certificate", help="Take one that the PBX has made itself."),
]
PbxPassword = Annotated[
    str | None, typer.Option("--pbx-password-file", help="A file with our password at the PBX; - asks for it.")
]
# The commands' parameters: those of the PBX's address, and those that are named as their fields.
_PBX_FIELDS: Final = {
    "pbx": "address",
    "pbx_transport": "transport",
    "pbx_proxy": "proxy",
    "pbx_user": "username",
    "pbx_auth_user": "auth_username",
    "pbx_expires": "expires",
    "pbx_header": "header",
    "any_certificate": "any_certificate",
}
_NAMED_AS_FIELDS: Final = (
    "off", "transports", "kind", "number_on_pbx", "allowed_callers", "blocked_callers", "dial_rules", "caller_ids",
    "caller_names", "no_transfers",
)  # fmt: skip
_KINDS: dict[str, pb.TrunkKind.ValueType] = {
    "registers": pb.TRUNK_KIND_UNSPECIFIED,
    "outbound": pb.TRUNK_KIND_OUTBOUND,
    "peer": pb.TRUNK_KIND_PEER,
}


def kind_of(text: str) -> pb.TrunkKind.ValueType:
    if text not in _KINDS:
        fail(f"there is no kind {text}: there are {', '.join(_KINDS)}")
    return _KINDS[text]


def word_for(kind: pb.TrunkKind.ValueType) -> str:
    return next(word for word, value in _KINDS.items() if value == kind)


def pbx_password(file: str | None) -> str:
    """Read from a file, or asked for: on a command line everybody would see it."""
    if file is None:
        return ""
    if file == "-":
        return str(typer.prompt("Our password at the PBX", hide_input=True))
    try:
        return Path(file).read_text().strip()
    except OSError as error:
        fail(f"{file}: {error.strerror}")


def _pbx_address(parameters: Mapping[str, Any], before: pb.PbxAddress) -> pb.PbxAddress | None:
    """`before` with what is given; None when nothing is."""
    parts = {field: parameters[name] for name, field in _PBX_FIELDS.items() if parameters[name] is not None}
    if not parts:
        return None
    after = pb.PbxAddress()
    after.CopyFrom(before)
    for field, value in parts.items():
        setattr(after, field, value)
    return after


def given(parameters: Mapping[str, Any], before: pb.PbxAddress) -> tuple[pb.TrunkOptions, list[str]]:
    """What the command's parameters say, and the names of the fields. An empty text empties what is set.

    `before` is the PBX's address until now, of which a part may be given.
    """
    options, names = pb.TrunkOptions(), []
    if (address := _pbx_address(parameters, before)) is not None:
        options.pbx.CopyFrom(address)
        names.append("pbx")
    for name in _NAMED_AS_FIELDS:
        value = parameters[name]
        if value in (None, (), []):  # a list is what was given once for each of its entries
            continue
        names.append(name)
        if isinstance(value, bool) or not pb.TrunkOptions.DESCRIPTOR.fields_by_name[name].is_repeated:
            setattr(options, name, kind_of(str(value)) if name == "kind" else value)
        else:
            entries = value.split(",") if isinstance(value, str) else value
            getattr(options, name).extend(entry.strip() for entry in entries if entry.strip())
    return options, names


def told(options: pb.TrunkOptions) -> list[str]:
    """A line each, of those that are not as they are by default."""
    lines = []
    if options.kind != pb.TRUNK_KIND_UNSPECIFIED:
        pbx = options.pbx
        lines.append(f"kind: {word_for(options.kind)}, PBX at {pbx.address} {pbx.transport}".rstrip())
        lines += [f"we register there as {pbx.username}"] if options.kind == pb.TRUNK_KIND_OUTBOUND else []
        lines += [f"by way of {pbx.proxy}"] if pbx.proxy else []
        lines += [f"known by {pbx.header}"] if pbx.header else []
        lines += ["any certificate of it is taken"] if pbx.any_certificate else []
    if options.off:
        lines.append("switched off: nothing is let in, and nothing rung")
    if options.no_transfers:
        lines.append("transfers: refused")
    if options.transports:
        lines.append(f"transports: {', '.join(options.transports)}")
    if options.number_on_pbx:
        lines.append(f"number on the PBX: {options.number_on_pbx}")
    if options.allowed_callers:
        lines.append(f"allowed callers: {', '.join(options.allowed_callers)}")
    if options.blocked_callers:
        lines.append(f"blocked callers: {', '.join(options.blocked_callers)}")
    lines.extend(f"dial rule {place}: {rule}" for place, rule in enumerate(options.dial_rules, 1))
    lines.extend(f"caller ID {place}: {template}" for place, template in enumerate(options.caller_ids, 1))
    lines.extend(f"caller name {place}: {template}" for place, template in enumerate(options.caller_names, 1))
    return lines
