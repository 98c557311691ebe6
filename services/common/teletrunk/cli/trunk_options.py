r"""A trunk's options on the command line: one option of `trunk add` and `trunk change` each, and their words."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from teletrunk import codecs as known_codecs
from teletrunk.cli import trunk_sound
from teletrunk.cli.client import fail
from teletrunk.cli.completion import one_of, several_of
from teletrunk.v1 import trunk_pb2 as pb

_TRANSPORTS: Final = ("udp", "tcp", "tls")
Kind = Literal["registers", "outbound", "peer"]
_KINDS: Final[Mapping[Kind, pb.TrunkKind.ValueType]] = {
    "registers": pb.TRUNK_KIND_UNSPECIFIED,
    "outbound": pb.TRUNK_KIND_OUTBOUND,
    "peer": pb.TRUNK_KIND_PEER,
}

# What is chosen of a list, by field: the protocol's name of each choice, and ours; the first is what it is at first.
WORDS: Final[Mapping[str, Mapping[str, str]]] = {
    "kind": {pb.TrunkKind.Name(code): word for word, code in _KINDS.items()},
    "dtmf": {pb.DtmfMethod.Name(code): word for word, code in trunk_sound.DTMF.items()},
    "srtp": {pb.SrtpPolicy.Name(code): word for word, code in trunk_sound.SRTP.items()},
    "hold": {pb.HoldSound.Name(code): word for word, code in trunk_sound.HOLD.items()},
}


def options(
    priority: Annotated[
        int | None, typer.Option(min=0, help="Lower is tried first; equal ones ring together. At first 0.")
    ] = None,
    comment: Annotated[str | None, typer.Option(help="For your own memory.")] = None,
    codecs: Annotated[
        str | None,
        typer.Option(
            help=f"In order of preference, of {', '.join(known_codecs.CODECS)}. "
            f"At first, and for '', {','.join(known_codecs.USUAL)}.",
            autocompletion=several_of(known_codecs.CODECS),
        ),
    ] = None,
    sha256_only: Annotated[bool | None, typer.Option("--sha256-only/--md5", help="Let no PBX in with MD5.")] = None,
    off: Annotated[
        bool | None, typer.Option("--off/--on", help="Switched off: nothing is let in, and nothing rung.")
    ] = None,
    transports: Annotated[
        str | None,
        typer.Option(
            help="udp, tcp, tls: what the PBX may come by; all if not given.", autocompletion=several_of(_TRANSPORTS)
        ),
    ] = None,
    number_on_pbx: Annotated[
        str | None, typer.Option(help="What the PBX is rung at, such as 200; '' for its contact's own user.")
    ] = None,
    allowed_callers: Annotated[
        str | None, typer.Option(help="Only these may call: +PHONE, @USERNAME, user id, by commas; '' for all.")
    ] = None,
    blocked_callers: Annotated[
        str | None, typer.Option(help="These may not, whoever is allowed: '@spammer,+15550100'.")
    ] = None,
    dial_rules: Annotated[
        list[str] | None,
        typer.Option(
            "--dial-rule",
            help="In order, once for each; all of them: PATTERN=REPLACEMENT rewrites ('^00=+', '^8(\\d{10})$=+7\\1'), "
            "PATTERN alone must match ('^\\+'). '' for none.",
        ),
    ] = None,
    caller_ids: Annotated[
        list[str] | None,
        typer.Option(
            "--caller-id",
            help="The caller's number for the PBX, once for each template, all of them: '+{phone}', '0{userid}', "
            "'{username}'. The first whose tags are known is taken; 'anonymous' hides who has none. '' for the usual.",
        ),
    ] = None,
    caller_names: Annotated[
        list[str] | None,
        typer.Option(
            "--caller-name",
            help="The caller's name for the PBX, likewise: '+{phone} ({name_ascii})', '{name}'. Tags: name, "
            "name_ascii, phone, username, userid. '' for the usual.",
        ),
    ] = None,
    kind: Annotated[
        Kind | None,
        typer.Option(help="registers: the PBX registers here; outbound: we register at it; peer: nobody does."),
    ] = None,
    pbx: Annotated[str | None, typer.Option(help="Where the PBX of such a trunk is: pbx.example.com:5060.")] = None,
    pbx_transport: Annotated[
        str | None,
        typer.Option(help="udp, tcp or tls; '' for what DNS says, else udp.", autocompletion=one_of(_TRANSPORTS)),
    ] = None,
    pbx_proxy: Annotated[str | None, typer.Option(help="Where registrations are sent, if not to --pbx.")] = None,
    pbx_user: Annotated[str | None, typer.Option(help="Whom we register as.")] = None,
    pbx_auth_user: Annotated[str | None, typer.Option(help="The name in our answers, if another one.")] = None,
    pbx_expires: Annotated[int | None, typer.Option(help="Seconds that our registration shall last.")] = None,
    pbx_header: Annotated[
        str | None, typer.Option(help='"Name: value" that the calls of this trunk bear, and no others.')
    ] = None,
    dtmf: Annotated[
        trunk_sound.Dtmf | None, typer.Option(help="How digits come; any: by RFC 4733 or INFO, whichever comes first.")
    ] = None,
    ptime_ms: Annotated[
        int | None, typer.Option(min=0, max=60, help="Sound in a packet: 10 to 60; 0: as the PBX asks.")
    ] = None,
    srtp: Annotated[
        trunk_sound.Srtp | None, typer.Option(help="required: over TLS only; required-insecure: over anything.")
    ] = None,
    hold: Annotated[
        trunk_sound.Hold | None, typer.Option(help="What Telegram hears of a PBX that holds and sends nothing.")
    ] = None,
    no_transfers: Annotated[
        bool | None,
        typer.Option(
            "--no-transfers/--transfers", help="Whether the PBX may pass a call on to another of its numbers."
        ),
    ] = None,
    record_digits: Annotated[
        bool | None,
        typer.Option(
            "--record-digits/--hide-digits", help="Whether records and logs have which keys were pressed. At first not."
        ),
    ] = None,
    any_certificate: Annotated[
        bool | None,
        typer.Option("--any-certificate/--checked-certificate", help="Take one that the PBX has made itself."),
    ] = None,
    pbx_password_file: Annotated[
        str | None, typer.Option(help="A file with our password at the PBX; - asks for it.")
    ] = None,
) -> None:
    """Of `trunk add` and `trunk change`; what is not given stays as it is."""


# The parameters by what they are of: the trunk itself, the PBX's address, and `TrunkOptions` by its fields' names.
_OF_TRUNK: Final = ("priority", "comment", "sha256_only")
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
_FIELDS: Final = (
    "off", "transports", "kind", "number_on_pbx", "allowed_callers", "blocked_callers", "dial_rules", "caller_ids",
    "caller_names", "no_transfers", "dtmf", "ptime_ms", "srtp", "hold", "record_digits",
)  # fmt: skip
_WORDS: Final[Mapping[str, Mapping[Any, int]]] = {
    "kind": _KINDS,
    "dtmf": trunk_sound.DTMF,
    "srtp": trunk_sound.SRTP,
    "hold": trunk_sound.HOLD,
}


def word_for(kind: pb.TrunkKind.ValueType) -> str:
    return next(word for word, value in _KINDS.items() if value == kind)


def of_trunk(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that the requests of both commands have, but for `TrunkOptions`."""
    codecs: str | None = parameters["codecs"]
    return {
        "codecs": [] if codecs is None else codecs.split(",") if codecs else list(known_codecs.USUAL),
        "pbx_password": _pbx_password(parameters["pbx_password_file"]),
        **{name: parameters[name] for name in _OF_TRUNK},
    }


def some_given(parameters: Mapping[str, Any]) -> bool:
    """Whether a command has any of the options of this page."""
    names = inspect.signature(options).parameters
    return any(parameters[name] not in (None, (), []) for name in names)


def _pbx_password(file: str | None) -> str:
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
    found, names = pb.TrunkOptions(), []
    if (address := _pbx_address(parameters, before)) is not None:
        found.pbx.CopyFrom(address)
        names.append("pbx")
    for name in _FIELDS:
        value = parameters[name]
        if value in (None, (), []):  # a list is what was given once for each of its entries
            continue
        names.append(name)
        if pb.TrunkOptions.DESCRIPTOR.fields_by_name[name].is_repeated:
            entries = value.split(",") if isinstance(value, str) else value
            getattr(found, name).extend(entry.strip() for entry in entries if entry.strip())
        else:
            setattr(found, name, _WORDS[name][value] if name in _WORDS else value)
    return found, names


def told(options: pb.TrunkOptions) -> list[str]:
    """A line each, of those that are not as they are by default."""
    lines = _told_of_pbx(options)
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


def _told_of_pbx(options: pb.TrunkOptions) -> list[str]:
    """Also what has no effect on a trunk of this kind: it waits for another."""
    kind, pbx = options.kind, options.pbx
    where = f"{pbx.address} {pbx.transport}".strip()
    lines = [f"kind: {word_for(kind)}, PBX at {where}"] if kind != pb.TRUNK_KIND_UNSPECIFIED else []
    lines += [f"PBX at {where}"] if where and not lines else []
    lines += [f"we register there as {pbx.username}"] if pbx.username or kind == pb.TRUNK_KIND_OUTBOUND else []
    lines += [f"its digest knows us as {pbx.auth_username}"] if pbx.auth_username else []
    lines += [f"for {pbx.expires} s each time"] if pbx.expires else []
    lines += [f"by way of {pbx.proxy}"] if pbx.proxy else []
    lines += [f"known by {pbx.header}"] if pbx.header else []
    return lines + (["any certificate of it is taken"] if pbx.any_certificate else [])
