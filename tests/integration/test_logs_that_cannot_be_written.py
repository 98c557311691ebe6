"""Services whose standard error is a full disk, or a pipe that nobody reads: they start, answer and end as ever."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from teletrunk.log_output import FILE_BYTES

from tests import sip_wire
from tests.servers import free_port

PATIENCE_S = 30.0
_REGISTERS = 400  # each makes two lines of more than a hundred bytes, and the pipe holds 4,096


@asynccontextmanager
async def service(module: str, data: Path, stderr: int, **settings: str) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TELETRUNK_")}
    settings |= {"DATA": str(data), "TELEGRAM_API_ID": "1", "TELEGRAM_API_HASH": "0" * 32}
    environment |= {f"TELETRUNK_{name}": value for name, value in settings.items()}
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", module, env=environment, stderr=stderr)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), PATIENCE_S)
        except TimeoutError:
            process.kill()
            await process.wait()
    assert process.returncode == 0


async def serving(port: int) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        await stub.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S, wait_for_ready=True)


async def options(wire: sip_wire.SipWire) -> int:
    return (await wire.ask(wire.request("OPTIONS", "", "pbx"), patience=2.0)).final.code


async def up(wire: sip_wire.SipWire) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                assert await options(wire) == 200
                return
            except (TimeoutError, ConnectionError):
                continue


@pytest.mark.parametrize(
    ("module", "setting"),
    [("teletrunk_manager", "MANAGER_ADDRESS"), ("teletrunk_session_store", "STORAGE_ADDRESS")],
)
async def test_a_service_starts_and_ends_on_a_full_disk(tmp_path: Path, module: str, setting: str) -> None:
    port = free_port()
    with Path("/dev/full").open("w") as full:
        async with service(module, tmp_path, full.fileno(), **{setting: f"127.0.0.1:{port}"}):
            await serving(port)


async def test_a_worker_that_cannot_log_answers(tmp_path: Path) -> None:
    port = free_port()
    settings = {"SIP_ADDRESS": f"127.0.0.1:{port}", "MANAGER_ADDRESS": f"127.0.0.1:{free_port()}"}
    with Path("/dev/full").open("w") as full:
        running = service("teletrunk_worker", tmp_path, full.fileno(), **settings)
        async with running, sip_wire.udp(("127.0.0.1", port)) as wire:
            await up(wire)
            assert (await wire.register("pbx", "password")).status == (503, "Manager unreachable")


async def test_a_worker_whose_lines_nobody_reads_answers(tmp_path: Path) -> None:
    port = free_port()
    settings = {"SIP_ADDRESS": f"127.0.0.1:{port}", "MANAGER_ADDRESS": f"127.0.0.1:{free_port()}"}
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    try:
        async with service("teletrunk_worker", tmp_path, writing, **settings):
            os.close(writing)
            async with sip_wire.udp(("127.0.0.1", port)) as wire:
                await up(wire)
                for _ in range(_REGISTERS // 20):
                    answers = await asyncio.gather(*(wire.register("pbx", "password") for _ in range(20)))
                    assert {answer.final.code for answer in answers} == {503}
                    assert await options(wire) == 200
    finally:
        os.close(reading)


async def test_a_log_file_rotates_under_a_running_service(tmp_path: Path) -> None:
    port = free_port()
    file = tmp_path / "logs" / "manager.log"
    file.parent.mkdir()
    file.write_text("x" * (FILE_BYTES - 1) + "\n")
    settings = {"MANAGER_ADDRESS": f"127.0.0.1:{port}", "LOG_FILE": str(file)}
    async with service("teletrunk_manager", tmp_path / "data", asyncio.subprocess.DEVNULL, **settings):
        await serving(port)
    assert file.with_name("manager.log.1").stat().st_size == FILE_BYTES
    assert "manager listening" in file.read_text() and "service stopped" in file.read_text()
