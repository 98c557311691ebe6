"""Machines of our own: each a network namespace on one switch, with a name, an /etc/hosts and a home directory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.walk.terminal import Terminal

_NETWORK = "10.99.0"
_ROUTER = f"{_NETWORK}.254"  # the way to other networks, which lead nowhere
_SILENT = "192.0.2.53"  # RFC 5737: a name server that nobody is
_HELD = "ip link set lo up && echo up && exec sleep infinity"


@contextmanager
def _namespace(*kinds: str, script: str = "") -> Iterator[int]:
    """The process that holds it."""
    command = ["unshare", *kinds, "sh", "-ec", f"{script}\n{_HELD}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None and holder.stdout.readline() == b"up\n", command
            yield holder.pid
        finally:
            holder.kill()


def _ip(holder: int, *arguments: str) -> None:
    subprocess.run(["nsenter", f"--target={holder}", "--net", "ip", *arguments], check=True)


class Machine:
    """Where commands are typed, in terminals of their own."""

    def __init__(self, holder: int, address: str, home: Path) -> None:
        self.address = address
        self._home = home
        self._inside = ("nsenter", f"--target={holder}", "--net", "--mount", "--uts", f"--wd={home}")

    def type(self, command: str, settings: Mapping[str, str] | None = None) -> Terminal:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TELETRUNK_", "XDG_"))}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = kept | {"HOME": str(self._home), "PATH": path, **(settings or {})}
        return Terminal(command, self._home, environment, self._inside)

    def program(self, module: str) -> tuple[str, ...]:
        """What runs a module of this environment there."""
        return (*self._inside, sys.executable, "-m", module)

    async def run(self, command: str) -> str:
        terminal = self.type(command)
        assert await terminal.ended() == 0, terminal.text
        return terminal.text


@contextmanager
def machines(place: Path, *names: str) -> Iterator[list[Machine]]:
    """They know each other as NAME.example, which /etc/hosts alone says."""
    addresses = {name: f"{_NETWORK}.{number}" for number, name in enumerate(names, 1)}
    hosts = place / "hosts"
    lines = [f"{address} {name}.example {name}\n" for name, address in addresses.items()]
    hosts.write_text("".join(["127.0.0.1 localhost\n", *lines]))
    (resolver := place / "resolv.conf").write_text(f"nameserver {_SILENT}\n")
    mounts = f"mount --bind '{hosts}' /etc/hosts\nmount --bind '{resolver}' /etc/resolv.conf"
    with ExitStack() as stack:
        switch = stack.enter_context(_namespace("--net"))
        _ip(switch, "link", "add", "switch", "up", "type", "bridge")
        _ip(switch, "address", "add", f"{_ROUTER}/24", "dev", "switch")
        found = []
        for name, address in addresses.items():
            named = f"{mounts}\nhostname {name}"
            holder = stack.enter_context(_namespace("--net", "--mount", "--uts", script=named))
            _ip(switch, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(holder))
            _ip(switch, "link", "set", name, "up", "master", "switch")
            _ip(holder, "address", "add", f"{address}/24", "dev", "eth0")
            _ip(holder, "link", "set", "eth0", "up")
            _ip(holder, "route", "add", "default", "via", _ROUTER)
            (home := place / name).mkdir()
            found.append(Machine(holder, address, home))
        yield found
