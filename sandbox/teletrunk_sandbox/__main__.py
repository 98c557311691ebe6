"""`python -m teletrunk_sandbox COMMAND`: the sandbox's own programs."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from teletrunk_sandbox import server


def main(arguments: list[str] | None = None) -> int:
    """Run one of the sandbox's programs and return its exit status."""
    parser = argparse.ArgumentParser(prog="teletrunk_sandbox", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_dc(commands.add_parser("dc", help="run the local Telegram data centre"))
    options = parser.parse_args(arguments)
    return int(options.run(options))


def _add_dc(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="MTProto TCP port, 0 = any free one")
    parser.add_argument("--control-port", type=int, default=0, help="control TCP port, always on loopback")
    parser.add_argument("--reflector-port", type=int, default=0, help="UDP port of the media reflector")
    parser.add_argument("--reflector-ip", default="127.0.0.1", help="address of the reflector for callers")
    parser.add_argument("--state", type=Path, required=True, help="directory of the keys and the accounts")
    parser.set_defaults(run=_run_dc)


def _run_dc(options: argparse.Namespace) -> int:
    settings = server.Settings(
        host=options.host,
        port=options.port,
        control_port=options.control_port,
        reflector_port=options.reflector_port,
        reflector_ip=options.reflector_ip,
        directory=options.state,
    )
    asyncio.run(server.run(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
