"""`python -m teletrunk_sandbox COMMAND`: the sandbox's own programs."""

from __future__ import annotations

import teletrunk.lean_libraries  # noqa: F401

# isort: split
import argparse
import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

from teletrunk import lazy_schema
from teletrunk.log_output import LogOutput


def main(arguments: list[str] | None = None) -> int:
    """Run one of the sandbox's programs and return its exit status."""
    parser = argparse.ArgumentParser(prog="teletrunk_sandbox", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_dc(commands.add_parser("dc", help="run the local Telegram data centre"))
    subscriber = commands.add_parser("subscriber", help="play Telegram users, steered by JSON lines")
    subscriber.add_argument("--rate", type=int, default=48_000, help="of their sound, in samples a second")
    _add_people(subscriber, _run_subscriber)
    _add_people(commands.add_parser("people", help="play a friend who answers every call with a tone"), _run_people)
    phone = commands.add_parser("sip-phone", help="play a SIP phone, steered by JSON lines")
    phone.add_argument("--address", default="127.0.0.1", help="its own IP, for SIP and for sound")
    phone.add_argument("--rate", type=int, default=8000, help="of its sound, in samples a second")
    phone.add_argument("--adaptive", action="store_true", help="holds as little sound back as it can, not 40 ms always")
    phone.set_defaults(run=_run_phone)
    baresip = commands.add_parser("baresip-phone", help="play a SIP phone that is baresip, steered by JSON lines")
    baresip.add_argument("--hz", type=float, default=440.0, help="the tone that it plays in every call")
    baresip.set_defaults(run=_run_baresip)
    _add_trial(commands.add_parser("trial", help="call the friend through an installation that runs elsewhere"))
    options = parser.parse_args(arguments)
    return int(options.run(options))


def _add_dc(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="MTProto TCP port, 0 = any free one")
    parser.add_argument("--control-port", type=int, default=0, help="control TCP port, always on loopback")
    parser.add_argument("--reflector-port", type=int, default=0, help="UDP port of the media reflector")
    parser.add_argument(
        "--public-address", default="127.0.0.1", help="IP that clients are told for it and the reflector"
    )
    parser.add_argument("--state", type=Path, required=True, help="directory of the keys and the accounts")
    parser.set_defaults(run=_run_dc)


def _log_as_told(*, stdout: bool) -> None:
    """`teletrunk up` wants a file that rotates."""
    if file := os.environ.get("TELETRUNK_LOG_FILE"):
        LogOutput.take_over(stdout=stdout).write_to(Path(file))


def _run_dc(options: argparse.Namespace) -> int:
    lazy_schema.install()
    from teletrunk_sandbox import server  # kurigram and ntgcalls are heavy: only where they are used

    _log_as_told(stdout=False)  # there it says where it listens
    settings = server.Settings(
        host=options.host,
        port=options.port,
        control_port=options.control_port,
        reflector_port=options.reflector_port,
        public_address=options.public_address,
        directory=options.state,
    )
    asyncio.run(server.run(settings))
    return 0


def _add_people(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> None:
    parser.add_argument("--dc", required=True, help="host:port of the local Telegram")
    parser.add_argument("--rsa-key", required=True, help="its public RSA key")
    parser.add_argument("--control-port", type=int, required=True)
    parser.set_defaults(run=run)


def _load_client() -> None:
    """The client's library is as it is; of its 4,000 types those are loaded that are used."""
    lazy_schema.install()
    lazy_schema.load_calls()  # else a phone rings later the first time


def _run_subscriber(options: argparse.Namespace) -> int:
    _load_client()
    from teletrunk_sandbox import subscriber

    asyncio.run(subscriber.run(options.dc, options.rsa_key, options.control_port, options.rate))
    return 0


def _run_people(options: argparse.Namespace) -> int:
    _load_client()
    from teletrunk_sandbox import people

    _log_as_told(stdout=True)
    asyncio.run(people.run(options.dc, options.rsa_key, options.control_port))
    return 0


def _run_phone(options: argparse.Namespace) -> int:
    from teletrunk_sandbox import sip_phone

    sip_phone.run(options.address, options.rate, adaptive=options.adaptive)
    return 0


def _add_trial(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sip", required=True, help="host:port of the Worker")
    parser.add_argument("--code", required=True, help="what the local Telegram sends at every sign-in")
    parser.set_defaults(run=_run_trial)


def _run_trial(options: argparse.Namespace) -> int:
    from teletrunk_sandbox import trial

    return asyncio.run(trial.run(options.sip, options.code))


def _run_baresip(options: argparse.Namespace) -> int:
    from teletrunk_sandbox import baresip_phone

    baresip_phone.run(options.hz)
    return 0


if __name__ == "__main__":
    sys.exit(main())
