"""How speech sounds at the other end, as PESQ (ITU-T P.862) hears it, beside what the codecs alone leave of it.

Needs espeak-ng, sox and opus-tools (apt), and a Python that has `pesq` (pip install pesq numpy), named by --pesq. The
phone is a bare RTP socket, so that no jitter buffer but the gateway's is in the way; Telegram's is part of its library.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from rich.console import Console
from rich.table import Table
from teletrunk_sandbox.world import World

from tests import rtp_wire, sip_wire

_GATEWAY, _FRIEND, _THIRD, _FOURTH = (f"+7999000000{number}" for number in range(1, 5))
_SPEECH = "The birch canoe slid on the smooth planks. Glue the sheet to the dark blue background. " \
    "It is easy to tell the depth of a well. These days a chicken leg is a rare dish."  # fmt: skip
_SECONDS = 14.0
_OPUS_KBIT = 32  # what ntgcalls asks of its encoder, at 60 ms a packet
_SILENCE = b"\xd5" * 160


def run(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], check=True, capture_output=True)


def resampled(source: Path, rate: int, target: Path, *effects: str) -> Path:
    run("sox", source, "-r", str(rate), "-b", "16", "-c", "1", target, *effects)
    return target


def through_alaw(source: Path, target: Path) -> Path:
    run("sox", source, "-r", "8000", "-e", "a-law", f"{target}.al.wav")
    run("sox", f"{target}.al.wav", "-e", "signed", "-b", "16", target)
    return target


def through_opus(source: Path, target: Path) -> Path:
    run("opusenc", "--quiet", "--hard-cbr", "--bitrate", str(_OPUS_KBIT), "--framesize", "60", source, f"{target}.opus")
    run("opusdec", "--quiet", "--rate", "48000", f"{target}.opus", target)
    return target


def score(pesq: str, reference: Path, heard: Path, band: str = "nb") -> float:
    """Of what begins when the reference begins, more or less: PESQ finds the delay itself."""
    code = (
        "import sys, wave, numpy, pesq\n"
        "def read(path):\n"
        "    with wave.open(path) as file: return file.getframerate(), numpy.frombuffer(file.readframes(-1), '<i2')\n"
        "(rate, reference), (_, heard) = read(sys.argv[1]), read(sys.argv[2])\n"
        "print(pesq.pesq(rate, reference, heard, sys.argv[3]))\n"
    )
    done = subprocess.run([pesq, "-c", code, reference, heard, band], check=True, capture_output=True, text=True)
    return float(done.stdout)


@contextlib.asynccontextmanager
async def call(world: World, speech48: Path) -> AsyncIterator[rtp_wire.RtpWire]:
    """From a PBX of bare sockets to a friend who speaks."""
    account = await world.add_account(_GATEWAY, "gateway")
    trunk = await world.add_trunk(_GATEWAY)
    await world.active(account.account_id)
    await world.subscribers.tell("user", phone=_FRIEND, first_name="Friend", username="friend")
    play = {"file": str(speech48), "after_s": 1.0}
    await world.subscribers.tell("behave", phone=_FRIEND, on_call="answer", delay_s=0, play=play)
    login, password = trunk.trunk.login, trunk.password
    async with sip_wire.udp(("127.0.0.1", world.sip_port)) as wire, rtp_wire.rtp() as rtp:
        assert (await wire.register(login, password)).final.code == 200
        first = wire.request("INVITE", "%40friend", login)
        first.body = rtp.offer()
        first.headers.set("Content-Type", "application/sdp")
        first.headers.set("Content-Length", str(len(first.body)))
        invite = wire.answer_challenge(first, (await wire.ask(first)).final, login, password)
        answer = (await wire.ask(invite, 20)).final
        assert answer.code == 200, answer.phrase
        rtp.towards(answer)
        wire.acknowledge(invite, answer)
        yield rtp
        await wire.ask(wire.in_dialog("BYE", invite, answer))


async def among_friends(world: World, play: Path, target: Path) -> Path:
    """What one Telegram user hears of another, 8,000 samples a second: all that Telegram's own library costs."""
    await world.subscribers.tell("behave", phone=_FOURTH, on_call="answer", delay_s=0)
    await world.subscribers.tell("call", phone=_THIRD, to=_FOURTH, play={"file": str(play), "after_s": 1.0})
    await world.subscribers.wait("connected", phone=_FOURTH)
    await asyncio.sleep(_SECONDS + 3.0)
    saved = target.with_suffix(".48.wav")
    await world.subscribers.tell("heard", phone=_FOURTH, save=str(saved))
    await world.subscribers.tell("hangup", phone=_THIRD)
    return resampled(saved, 8_000, target)


async def speak(rtp: rtp_wire.RtpWire, alaw: bytes, loss: float, jitter_ms: float) -> None:
    """In real time; some packets are lost, all are late by up to so much, and none overtakes another."""
    loop, chance = asyncio.get_running_loop(), random.Random(1)
    due = loop.time()
    for start in range(0, len(alaw) - 159, 160):
        await asyncio.sleep(max(0.0, due + chance.random() * jitter_ms / 1000 - loop.time()))
        if chance.random() >= loss:
            rtp.send(8, alaw[start : start + 160])
        else:
            rtp._sequence = (rtp._sequence + 1) % 65_536
        rtp.timestamp += 160
        due += 0.02


def written(rtp: rtp_wire.RtpWire, target: Path) -> Path:
    """What the phone was sent, each packet in its place."""
    packets = [packet for packet in rtp.heard if packet.payload_type == 8]
    begin = packets[0].timestamp
    sound = bytearray(_SILENCE * (int(_SECONDS) * 60))
    for packet in packets:
        at = (packet.timestamp - begin) % (1 << 32)
        sound[at : at + len(packet.payload)] = packet.payload
    raw = target.with_suffix(".al")
    raw.write_bytes(bytes(sound))
    run("sox", "-t", "al", "-r", "8000", "-c", "1", raw, "-e", "signed", "-b", "16", target)
    return target


async def measure(directory: Path, pesq: str, loss: float, jitter_ms: float) -> dict[str, Any]:
    source = directory / "source.wav"
    run("espeak-ng", "-v", "en-us", "-s", "150", "-w", source, _SPEECH)
    speech48 = resampled(source, 48_000, directory / "speech48.wav", "norm", "-6")
    speech8 = resampled(speech48, 8_000, directory / "speech8.wav")
    alaw = directory / "speech.al"
    run("sox", speech8, "-t", "al", alaw)
    a48 = resampled(through_alaw(speech8, directory / "a8.wav"), 48_000, directory / "a48.wav")
    async with World(directory / "world") as world:
        async with call(world, speech48) as rtp:
            await speak(rtp, _SILENCE * 50 + alaw.read_bytes(), loss, jitter_ms)
            await asyncio.sleep(2.0)
            saved = directory / "telegram48.wav"
            await world.subscribers.tell("heard", phone=_FRIEND, save=str(saved))
            at_telegram = resampled(saved, 8_000, directory / "telegram8.wav")
            at_phone = written(rtp, directory / "phone8.wav")
        for phone in (_THIRD, _FOURTH):
            await world.subscribers.tell("user", phone=phone, first_name="Friend")
        friends = await among_friends(world, speech48, directory / "friends8.wav")
        friends_alaw = await among_friends(world, a48, directory / "friends_a8.wav")
    chain = resampled(through_opus(a48, directory / "ao48.wav"), 8_000, directory / "ao8.wav")
    opus = resampled(through_opus(speech48, directory / "o48.wav"), 8_000, directory / "o8.wav")
    return {
        "A-law alone": score(pesq, speech8, directory / "a8.wav"),
        "to Telegram: A-law, then Opus, without a network": score(pesq, speech8, chain),
        "to Telegram: A-law, then a call between two Telegram users": score(pesq, speech8, friends_alaw),
        "to Telegram: heard through the gateway": score(pesq, speech8, at_telegram),
        "to the phone: Opus, then A-law, without a network": score(
            pesq, speech8, through_alaw(opus, directory / "oa8.wav")
        ),
        "to the phone: a call between two Telegram users, then A-law": score(
            pesq, speech8, through_alaw(friends, directory / "friends_oa8.wav")
        ),
        "to the phone: heard through the gateway": score(pesq, speech8, at_phone),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pesq", default=sys.executable, help="a Python that has the module pesq")
    parser.add_argument("--loss", type=float, default=0.0, help="of the phone's packets, 0.05 for a twentieth")
    parser.add_argument("--jitter-ms", type=float, default=0.0)
    parser.add_argument("--keep", type=Path, help="a folder for the recordings")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="teletrunk-speech-") as temporary:
        directory = arguments.keep or Path(temporary)
        directory.mkdir(parents=True, exist_ok=True)
        scores = asyncio.run(measure(directory, arguments.pesq, arguments.loss, arguments.jitter_ms))
    table = Table(title=f"PESQ, narrow band; {arguments.loss:.0%} lost, {arguments.jitter_ms:.0f} ms of jitter")
    for column in ("what", "MOS-LQO"):
        table.add_column(column)
    for what, value in scores.items():
        table.add_row(what, f"{value:.2f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
