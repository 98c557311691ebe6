"""Asterisk in a container on the host's network, with the configuration beside this file (tools/asterisk-image)."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from teletrunk_sandbox import ports

from tests.deploy.podman import output, podman

IMAGE = "localhost/teletrunk/asterisk"
_HERE = Path(__file__).parent
_COMMON = ("modules.conf", "rtp.conf", "logger.conf")
REGISTERS = {"pjsip.conf": "pjsip.conf", "extensions.conf": "extensions.conf"}
# With the blocks of the page that people read.
DOCUMENTED = {"pjsip.conf": "pjsip-documented.conf", "extensions.conf": "extensions-documented.conf"}
_PAGE = Path(__file__).parents[3] / "docs/pbx/asterisk.md"
_RTP_PORTS = 32
_PATIENCE_S = 40.0


@dataclass(frozen=True)
class Asterisk:
    """One that runs."""

    name: str
    address: tuple[str, int]
    tls_port: int

    async def command(self, line: str) -> str:
        """Of its command line interface."""
        return (await asyncio.to_thread(podman, "exec", self.name, "asterisk", "-rx", line)).stdout

    async def booted(self) -> None:
        """Waits until all of it has been loaded."""
        async with asyncio.timeout(_PATIENCE_S):
            while "fully booted" not in await self.command("core waitfullybooted"):
                await asyncio.sleep(0.3)

    async def said(self) -> str:
        """All that it has logged, with `pjsip set logger on` also what it has sent and received."""
        return (await asyncio.to_thread(podman, "logs", self.name)).stdout

    async def registered(self) -> None:
        """Waits until it is, at the trunk."""
        async with asyncio.timeout(_PATIENCE_S):
            while "Registered" not in await self.command("pjsip show registrations"):
                await asyncio.sleep(0.3)


def documented(file: str, form: str) -> str:
    """A block of the page."""
    found = re.search(rf"```ini\n; {re.escape(file)}: {form}\n(.*?)```", _PAGE.read_text(), re.DOTALL)
    assert found is not None, f"docs/pbx/asterisk.md has no {file} for {form}"
    return found[1]


def with_srtp(block: str) -> str:
    """With what the page has the endpoint be given."""
    line = "media_encryption=sdes"
    assert f"`{line}`" in _PAGE.read_text()
    return block.replace("type=endpoint\n", f"type=endpoint\n{line}\n")


def with_codecs(block: str, codecs: str) -> str:
    """With these in the place of the page's."""
    return re.sub("allow=alaw.*", f"allow={codecs}", block)


def here(text: str, worker: int, transport: str, password: str, login: str, papers: str = "/etc/asterisk") -> str:
    """A block as it is on this machine: other addresses and ports, and the transport that is tried."""
    over = "" if transport == "udp" else f"\\;transport={transport}"
    text = text.replace("match=teletrunk.example.com", "match=127.0.0.1/32")
    text = text.replace("sip:teletrunk.example.com", f"sip:127.0.0.1:{worker}{over}")
    text = text.replace("@teletrunk.example.com", f"@127.0.0.1:{worker}")
    text = text.replace("type=endpoint\n", f"type=endpoint\ntransport={transport}\n")
    text = text.replace("type=registration\n", f"type=registration\ntransport={transport}\n")
    text = text.replace("/etc/asterisk/keys/asterisk.pem", f"{papers}/pbx.pem")
    text = text.replace("/etc/ssl/certs/ca-certificates.crt", f"{papers}/authority.pem")
    text = text.replace("bind=0.0.0.0:5061", "bind=127.0.0.1:{{tls_port}}")
    return text.replace("LOGIN", login).replace("PASSWORD", password)


@contextlib.asynccontextmanager
async def running(
    worker: int,
    login: str,
    password: str,
    files: Mapping[str, str] = REGISTERS,
    papers: Mapping[str, bytes] | None = None,
    blocks: Mapping[str, Mapping[str, str]] | None = None,
    **choices: str,
) -> AsyncIterator[Asterisk]:
    """`files` are the configuration, `papers` lie beside it; `blocks` and `choices` fill the places in the files."""
    if not await asyncio.to_thread(_there):  # in CI too: whether Debian's mirror has an asterisk is not ours to say
        pytest.skip(f"there is no {IMAGE}: tools/asterisk-image")
    port, tls_port, rtp, name = (
        ports.hold(),
        ports.hold(),
        ports.hold(_RTP_PORTS),
        f"teletrunk-asterisk-{secrets.token_hex(4)}",
    )
    places = {"port": port, "tls_port": tls_port, "rtp": rtp, "rtp_end": rtp + _RTP_PORTS - 1}
    values = {**places, "worker": worker, "login": login, "password": password, **choices}
    with tempfile.TemporaryDirectory(prefix="teletrunk-asterisk-") as directory:
        for file, template in {**dict(zip(_COMMON, _COMMON, strict=True)), **files}.items():
            text = (_HERE / template).read_text()
            for place, block in (blocks or {}).get(file, {}).items():
                text = text.replace("{{" + place + "}}", here(block, worker, choices["transport"], password, login))
            for place, value in values.items():
                text = text.replace("{{" + place + "}}", str(value))
            (Path(directory) / file).write_text(text)
        for file, content in (papers or {}).items():
            (Path(directory) / file).write_bytes(content)
        Path(directory).chmod(0o755)  # it drops root's rights
        command = (
            "run",
            "--detach",
            "--rm",
            "--network=host",
            f"--name={name}",
            f"--volume={directory}:/etc/asterisk:ro",
        )
        await asyncio.to_thread(output, *command, IMAGE, "asterisk", "-f", "-vvv")
        try:
            yield Asterisk(name, ("127.0.0.1", port), tls_port)
        finally:
            await asyncio.to_thread(podman, "kill", "--signal=KILL", name)


def _there() -> bool:
    return podman("image", "exists", IMAGE).returncode == 0
