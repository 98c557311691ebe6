"""Kamailio as a process of its own, with one of the configurations beside this file."""

from __future__ import annotations

import asyncio
import contextlib
import re
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from tests import sip_wire
from tests.interop.conftest import needs
from tests.servers import free_port

_HERE = Path(__file__).parent
_PAGE = Path(__file__).parents[3] / "docs/pbx/kamailio.md"
_PATIENCE_S = 20.0
_COLUMNS = (
    "id(int,auto) l_uuid(string) l_username(string) l_domain(string) r_username(string) r_domain(string) "
    "realm(string) auth_username(string) auth_password(string) auth_ha1(string,null) auth_proxy(string) expires(int) "
    "flags(int) reg_delay(int) contact_addr(string,null) socket(string,null)\n"
)


def documented(form: str, worker: int, transport: str, password: str) -> str:
    """A block of the page, as it is on this machine: other addresses and ports, and the transport that is tried."""
    found = re.search(rf"```\n# kamailio.cfg: {form}\n(.*?)```", _PAGE.read_text(), re.DOTALL)
    assert found is not None, f"docs/pbx/kamailio.md has no {form}"
    text = found[1].replace("teletrunk.example.com", f"127.0.0.1:{worker};transport={transport}")
    return text.replace('"TELETRUNK"', '"127.0.0.1"').replace("PASSWORD", password)


@contextlib.asynccontextmanager
async def running(configuration: str, *defined: str, **values: object) -> AsyncIterator[tuple[str, int]]:
    """Where it listens. `values` fill the places in the configuration; so do `port` and `directory`."""
    needs("kamailio", "kamailio")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="teletrunk-kamailio-") as name:
        directory = Path(name)
        text = (_HERE / f"{configuration}.cfg").read_text()
        for place, value in {"port": port, "directory": directory, **values}.items():
            text = text.replace("{{" + place + "}}", str(value))
        (directory / "kamailio.cfg").write_text(text)
        _registrations(directory, port, values)
        process = await asyncio.create_subprocess_exec(
            "kamailio", "-DD", "-E", "-m", "32", "-M", "8", "-Y", name, "-f", str(directory / "kamailio.cfg"),
            *(f"-A{word}" for word in defined),
            stderr=(directory / "log").open("wb"),
        )  # fmt: skip
        try:
            await _answers(process, port, directory / "log")
            yield "127.0.0.1", port
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


def _registrations(directory: Path, port: int, values: dict[str, object]) -> None:
    """The `uac` module's table, and the versions of the tables, as db_text has them: fields between colons."""
    row = (
        f"1:pbx:phone:127.0.0.1:{values.get('login')}:127.0.0.1\\:{values['worker']}:teletrunk:{values.get('login')}"
        f":{values.get('password')}::sip\\:127.0.0.1\\:{values['worker']}:300:0:0::\n"
    )
    (directory / "uacreg").write_text(_COLUMNS + row)
    (directory / "version").write_text("table_name(string) table_version(int)\nuacreg:5\n")


async def _answers(process: asyncio.subprocess.Process, port: int, log: Path) -> None:
    async with asyncio.timeout(_PATIENCE_S), sip_wire.udp(("127.0.0.1", port)) as wire:
        while True:
            if process.returncode is not None:
                raise RuntimeError(f"kamailio ended: {log.read_text()[-2000:]}")
            with contextlib.suppress(TimeoutError):
                await wire.ask(wire.request("OPTIONS", "", "x"), patience=0.5)
                return
