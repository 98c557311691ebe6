"""A trunk's options of sound, in the command's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from teletrunk.v1 import trunk_pb2 as pb

Dtmf = Literal["any", "rfc4733", "info", "inband"]
Srtp = Literal["off", "optional", "required", "required-insecure"]
Hold = Literal["silence", "music"]
DTMF: Final[Mapping[Dtmf, pb.DtmfMethod.ValueType]] = {
    "any": pb.DTMF_METHOD_UNSPECIFIED,
    "rfc4733": pb.DTMF_METHOD_RFC4733,
    "info": pb.DTMF_METHOD_INFO,
    "inband": pb.DTMF_METHOD_INBAND,
}
SRTP: Final[Mapping[Srtp, pb.SrtpPolicy.ValueType]] = {
    "off": pb.SRTP_POLICY_UNSPECIFIED,
    "optional": pb.SRTP_POLICY_OPTIONAL,
    "required": pb.SRTP_POLICY_REQUIRED,
    "required-insecure": pb.SRTP_POLICY_REQUIRED_INSECURE,
}
HOLD: Final[Mapping[Hold, pb.HoldSound.ValueType]] = {
    "silence": pb.HOLD_SOUND_UNSPECIFIED,
    "music": pb.HOLD_SOUND_MUSIC,
}


def told(options: pb.TrunkOptions) -> list[str]:
    """A line each, of those that are not as they are by default."""
    lines = [f"DTMF: {word}" for word, value in DTMF.items() if value and value == options.dtmf]
    lines += ["digits: recorded, whoever presses them"] if options.record_digits else []
    if options.ptime_ms:
        lines.append(f"packets: {options.ptime_ms} ms of sound")
    lines += [f"SRTP: {word}" for word, value in SRTP.items() if value and value == options.srtp]
    return lines + [f"on hold: {word}" for word, value in HOLD.items() if value and value == options.hold]
