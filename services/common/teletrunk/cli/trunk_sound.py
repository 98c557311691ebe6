"""A trunk's options of sound on the command line, beside those of `trunk_options`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, TypeVar

import typer

from teletrunk.cli.client import fail
from teletrunk.v1 import trunk_pb2 as pb

Value = TypeVar("Value")
_DTMF: Final = {
    "any": pb.DTMF_METHOD_UNSPECIFIED,
    "rfc4733": pb.DTMF_METHOD_RFC4733,
    "info": pb.DTMF_METHOD_INFO,
    "inband": pb.DTMF_METHOD_INBAND,
}
_SRTP: Final = {
    "off": pb.SRTP_POLICY_UNSPECIFIED,
    "optional": pb.SRTP_POLICY_OPTIONAL,
    "required": pb.SRTP_POLICY_REQUIRED,
    "required-insecure": pb.SRTP_POLICY_REQUIRED_INSECURE,
}
_HOLD: Final = {"silence": pb.HOLD_SOUND_UNSPECIFIED, "music": pb.HOLD_SOUND_MUSIC}

Dtmf = Annotated[
    str | None, typer.Option("--dtmf", help="How digits come: rfc4733, info, inband; any: by either of the first two.")
]

Ptime = Annotated[
    int | None, typer.Option("--ptime-ms", min=0, max=60, help="Sound in a packet: 10 to 60; 0: as the PBX asks.")
]

Srtp = Annotated[
    str | None,
    typer.Option("--srtp", help="off, optional, required (over TLS only), or required-insecure (over anything)."),
]

Hold = Annotated[
    str | None, typer.Option("--hold", help="Of a PBX that holds and sends nothing, Telegram hears silence or music.")
]


def give(
    options: pb.TrunkOptions,
    names: list[str],
    dtmf: str | None,
    ptime_ms: int | None,
    srtp: str | None,
    hold: str | None,
) -> None:
    """Adds what was given, and the names of it."""
    if dtmf is not None:
        options.dtmf = _one_of(_DTMF, "dtmf", dtmf)
        names.append("dtmf")
    if ptime_ms is not None:
        options.ptime_ms = ptime_ms
        names.append("ptime_ms")
    if srtp is not None:
        options.srtp = _one_of(_SRTP, "srtp", srtp)
        names.append("srtp")
    if hold is not None:
        options.hold = _one_of(_HOLD, "hold", hold)
        names.append("hold")


def _one_of(words: Mapping[str, Value], option: str, word: str) -> Value:
    if word not in words:
        fail(f"{word!r} is not for --{option}: there are {', '.join(words)}")
    return words[word]


def told(options: pb.TrunkOptions) -> list[str]:
    """A line each, of those that are not as they are by default."""
    lines = [f"DTMF: {word}" for word, value in _DTMF.items() if value and value == options.dtmf]
    if options.ptime_ms:
        lines.append(f"packets: {options.ptime_ms} ms of sound")
    lines += [f"SRTP: {word}" for word, value in _SRTP.items() if value and value == options.srtp]
    return lines + [f"on hold: {word}" for word, value in _HOLD.items() if value and value == options.hold]
