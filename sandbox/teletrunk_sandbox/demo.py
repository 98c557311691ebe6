"""The demo: a SIP phone and a Telegram user call each other through the gateway, and what was heard is shown."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

import typer
from teletrunk.cli.ladder import ladder
from teletrunk.v1 import call_pb2

from teletrunk_sandbox import baresip_phone, sound, spectrogram
from teletrunk_sandbox.actors import Actor
from teletrunk_sandbox.world import World

GATEWAY, FRIEND = "+79990000001", "+79990000002"
SIP_HZ, TELEGRAM_HZ = 440.0, 620.0
_TALK_S = 5.0


def run(output: Path, report: Path | None) -> None:
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="teletrunk-demo-") as directory:
        figures = asyncio.run(_demo(Path(directory), output))
    if report is not None:
        report.write_text(json.dumps(figures, indent=2) + "\n")


def _say(text: str) -> None:
    typer.echo(text)


async def _demo(directory: Path, output: Path) -> dict[str, Any]:
    _say("Starting the Manager, the Session Storage, the Worker and a local Telegram...")
    async with World(directory) as world:
        kind = "baresip-phone" if baresip_phone.installed() else "sip-phone"
        name = "baresip" if baresip_phone.installed() else "pjsua2, as baresip-core is not installed"
        _say(f"Signing the account {GATEWAY} in, making a trunk, registering a SIP phone ({name}) with it...")
        account = await world.add_account(GATEWAY, "gateway")
        trunk = await world.add_trunk(GATEWAY)
        await world.active(account.account_id)
        await world.subscribers.tell("user", phone=FRIEND, first_name="Friend", username="friend")
        phone = await world.phone(trunk, kind=kind)
        _say(f"The phone calls @friend; it plays {SIP_HZ:.0f} Hz, the friend {TELEGRAM_HZ:.0f} Hz...")
        first, one = await to_telegram(world, phone, output)
        _show(first, one)
        _say("\nThe friend calls the gateway's account; the phone rings and answers...")
        second, two = await to_sip(world, phone, output, besides=[first.call_id])
        _show(second, two)
    recordings = sorted(output.glob("*.wav"))
    spectrogram.draw(output / "spectrogram.png", [sound.load(path) for path in recordings])
    names = ", ".join(path.stem for path in recordings)
    _say(f"\nRecordings and spectrogram.png (0 to 4,000 Hz; from the top: {names}) are in {output.resolve()}")
    return {"sip_to_telegram": one, "telegram_to_sip": two}


async def to_telegram(world: World, phone: Actor, output: Path) -> tuple[call_pb2.CallRecord, dict[str, Any]]:
    await world.subscribers.tell("behave", phone=FRIEND, on_call="answer", delay_s=0.5, play={"hz": TELEGRAM_HZ})
    call = (await phone.tell("call", to="@friend", play={"hz": SIP_HZ}))["call"]
    await phone.wait("established", call=call)
    await asyncio.sleep(_TALK_S)
    figures = await _heard(world, phone, call, output, "sip-to-telegram")
    await phone.tell("hangup", call=call)
    await phone.wait("ended", call=call)
    record = await world.record()
    return record, _figures(record, figures)


async def to_sip(
    world: World, phone: Actor, output: Path, besides: list[str]
) -> tuple[call_pb2.CallRecord, dict[str, Any]]:
    await phone.tell("behave", on_call="answer", delay_s=0.5, play={"hz": SIP_HZ})
    await world.subscribers.tell("call", phone=FRIEND, to=GATEWAY, play={"hz": TELEGRAM_HZ})
    incoming = await phone.wait("incoming")
    await world.subscribers.wait("connected", phone=FRIEND)
    await asyncio.sleep(_TALK_S)
    figures = await _heard(world, phone, incoming["call"], output, "telegram-to-sip")
    await world.subscribers.tell("hangup", phone=FRIEND)
    await phone.wait("ended", call=incoming["call"])
    record = await world.record(besides=besides)
    return record, _figures(record, figures)


async def _heard(world: World, phone: Actor, call: int, output: Path, name: str) -> dict[str, Any]:
    here = await phone.tell("heard", call=call, save=str((output / f"{name}.phone.wav").resolve()))
    there = await world.subscribers.tell("heard", phone=FRIEND, save=str((output / f"{name}.telegram.wav").resolve()))
    return {"sip": here, "telegram": there}


def _figures(record: call_pb2.CallRecord, heard: dict[str, Any]) -> dict[str, Any]:
    sip, telegram = heard["sip"], heard["telegram"]
    to_telegram_ms = _delay(sip["play_started_at"], telegram["onset_at"])
    to_sip_ms = _delay(telegram["play_started_at"], sip["onset_at"])
    return {
        "setup_ms": round((record.answered_at - record.invited_at) * 1000, 1),
        "own_setup_ms": own_setup_ms(record),
        "heard_hz": {"sip": sip["hz"], "telegram": telegram["hz"]},
        "level_dbfs": {"sip": sip["level_dbfs"], "telegram": telegram["level_dbfs"]},
        "snr_db": min(sip["snr_db"], telegram["snr_db"]),
        "disturbed": max(sip["disturbed"], telegram["disturbed"]),
        "one_way_ms": max(filter(None, (to_telegram_ms, to_sip_ms)), default=None),
        "one_way_each_ms": {"to_telegram": to_telegram_ms, "to_sip": to_sip_ms},
        "rtp_lost": record.media.rtp_lost,
        "sip_status": record.sip_status,
    }


def _delay(played_at: float | None, heard_at: float | None) -> float | None:
    return None if played_at is None or heard_at is None else round((heard_at - played_at) * 1000, 1)


def own_setup_ms(record: call_pb2.CallRecord) -> float:
    """From the first sign of the call to our request to the other side: what is the gateway's own doing."""
    asked = next((s.at for s in record.steps if s.text in ("phone.requestCall", "INVITE") and s.source != "pbx"), None)
    return round((asked - record.invited_at) * 1000, 1) if asked else 0.0


def _show(record: call_pb2.CallRecord, figures: dict[str, Any]) -> None:
    _say("\n".join(ladder(record)))
    heard, delay = figures["heard_hz"], figures["one_way_each_ms"]
    _say(
        f"heard: Telegram {heard['telegram']} Hz, phone {heard['sip']} Hz, SNR at least {figures['snr_db']} dB, "
        f"RTP lost {figures['rtp_lost']}; one way: to Telegram {delay['to_telegram']} ms, "
        f"to the phone {delay['to_sip']} ms"
    )
