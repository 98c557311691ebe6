"""A phone made of Perl's Net::SIP, with the commands and events of the sandbox's phones."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from teletrunk_sandbox import sound
from teletrunk_sandbox.actors import Actor, Message

from tests.interop.conftest import missing
from tests.servers import free_port

_SCRIPT = Path(__file__).parent / "phone.pl"
_RATE = 8000


def _table() -> NDArray[np.float64]:
    """G.711's mu-law: the value of each byte."""
    bits = ~np.arange(256) & 0xFF
    size = (((bits & 0x0F) << 3) + 0x84 << ((bits & 0x70) >> 4)) - 0x84
    return np.where(bits & 0x80, -size, size).astype(np.float64)


_VALUES = _table()


def _encoded(pcm: bytes) -> bytes:
    samples = np.frombuffer(pcm, "<i2").astype(np.float64)
    return bytes(np.abs(samples[:, None] - _VALUES[None, :]).argmin(axis=1).astype(np.uint8).tobytes())


class NetSipPhone(Actor):
    """Judges what the script has written down."""

    async def tell(self, command: str, deadline: float = 30.0, **fields: Any) -> Message:
        if command != "heard":
            return await super().tell(command, deadline, **fields)
        told = await super().tell("recording", deadline, call=fields["call"])
        recording = sound.Recording(_RATE)
        heard = np.frombuffer(Path(told["file"]).read_bytes(), np.uint8)
        recording.add(_VALUES[heard].astype("<i2").tobytes(), 0.0)
        return dict(recording.report(fields.get("skip_s", 0.5)))


@contextlib.asynccontextmanager
async def phone(hz: float) -> AsyncIterator[NetSipPhone]:
    """It plays this tone in every call."""
    if subprocess.run(["perl", "-MNet::SIP", "-e1"], capture_output=True, check=False).returncode:
        missing("libnet-sip-perl is not installed")
    with tempfile.TemporaryDirectory(prefix="teletrunk-net-sip-") as name:
        tone = Path(name) / "tone.ul"
        tone.write_bytes(_encoded(sound.tone(hz, 0, _RATE, _RATE)))
        program = ("perl", str(_SCRIPT), str(tone), name, str(free_port()))
        async with NetSipPhone(program=program, log=Path(name) / "log") as actor:
            yield actor
