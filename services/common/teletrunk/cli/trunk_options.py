"""A trunk's options on the command line: one option of `trunk add` and `trunk change` each, and their words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from teletrunk.cli.client import fail
from teletrunk.v1 import trunk_pb2 as pb

Off = Annotated[bool | None, typer.Option("--off/--on", help="Switched off: nothing is let in, and nothing rung.")]
Transports = Annotated[
    str | None, typer.Option("--transports", help="udp, tcp, tls: what the PBX may come by; all if not given.")
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


def pbx_address(before: pb.PbxAddress, **parts: object) -> pb.PbxAddress | None:
    """`before` with what is given; None when nothing is."""
    if all(value is None for value in parts.values()):
        return None
    after = pb.PbxAddress()
    after.CopyFrom(before)
    for name, value in parts.items():
        if value is not None:
            setattr(after, name, value)
    return after


def given(
    off: bool | None, transports: str | None, kind: str | None = None, pbx: pb.PbxAddress | None = None
) -> tuple[pb.TrunkOptions, list[str]]:
    """What was given, and the names of it; an empty list empties what is set."""
    options, names = pb.TrunkOptions(), []
    if kind is not None:
        options.kind = kind_of(kind)
        names.append("kind")
    if pbx is not None:
        options.pbx.CopyFrom(pbx)
        names.append("pbx")
    if off is not None:
        options.off = off
        names.append("off")
    if transports is not None:
        options.transports.extend(_list(transports))
        names.append("transports")
    return options, names


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


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
    if options.transports:
        lines.append(f"transports: {', '.join(options.transports)}")
    return lines
