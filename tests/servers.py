"""Servers that tests start for themselves, PostgreSQL and Redis, each on a free port of loopback."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import asyncpg
import pytest
from teletrunk_sandbox import ports

PATIENCE_S = 30
_USERS = ("postgres", "nobody")  # PostgreSQL refuses to run as root


def _binary(name: str) -> str | None:
    return shutil.which(name) or max(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), default=None)


def free_port() -> int:
    """A port of loopback for TCP and UDP that is this process's until its end."""
    return ports.hold()


class Postgres:
    """One cluster; every test asks for a fresh database."""

    def __init__(self) -> None:
        initdb, server = _binary("initdb"), _binary("postgres")
        if initdb is None or server is None:
            reason = "PostgreSQL is not installed"
            if "TELETRUNK_CI" in os.environ:
                pytest.fail(reason)
            pytest.skip(reason)
        self._server = server
        self._directory = Path(tempfile.mkdtemp(prefix="teletrunk-pg-"))
        self._user = next((name for name in _USERS if _exists(name)), None) if os.getuid() == 0 else None
        if self._user:
            shutil.chown(self._directory, self._user)
        data = self._directory / "data"
        subprocess.run([os.path.realpath(initdb), "-D", data, "-U", "teletrunk", "-A", "trust", "--no-sync"],
                       check=True, capture_output=True, user=self._user)  # fmt: skip
        self.port = free_port()
        self._count = 0
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [os.path.realpath(self._server), "-D", self._directory / "data", "-p", str(self.port),
             "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self._directory}", "-c", "fsync=off"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=self._user, start_new_session=True,
        )  # fmt: skip

    def stop(self) -> None:
        """As a crash: connections break at once."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(PATIENCE_S)

    def freeze(self) -> None:
        """Up, but silent: every process of it is stopped."""
        os.killpg(self._process.pid, signal.SIGSTOP)
        for child in self._children():
            os.kill(child, signal.SIGSTOP)

    def thaw(self) -> None:
        for child in self._children():
            os.kill(child, signal.SIGCONT)
        os.killpg(self._process.pid, signal.SIGCONT)

    def _children(self) -> list[int]:
        # Backends make process groups of their own.
        path = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    async def database(self) -> str:
        """The SQLAlchemy URL of a new, empty database."""
        self._count += 1
        name = f"test{self._count}"
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    connection = await asyncpg.connect(
                        host="127.0.0.1", port=self.port, user="teletrunk", database="postgres"
                    )
                    break
                except (OSError, asyncpg.PostgresError):
                    await asyncio.sleep(0.1)
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()
        return f"postgresql+asyncpg://teletrunk@127.0.0.1:{self.port}/{name}"

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.thaw()
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)


class Redis:
    """One server; every test gets it empty."""

    def __init__(self) -> None:
        server = shutil.which("redis-server")
        if server is None:
            reason = "redis-server is not installed"
            pytest.fail(reason) if "TELETRUNK_CI" in os.environ else pytest.skip(reason)
        self._server = server or ""
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [self._server, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.02)
        raise AssertionError("redis-server does not start")

    def stop(self) -> None:
        """As a crash; it keeps nothing."""
        self._process.kill()
        self._process.wait(PATIENCE_S)

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def empty(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port), 1) as link:
            link.sendall(b"FLUSHALL\r\n")
            assert link.recv(16) == b"+OK\r\n"

    def bytes_so_far(self) -> int:
        """In and out."""
        with socket.create_connection(("127.0.0.1", self.port), 1) as link:
            link.sendall(b"INFO stats\r\n")
            stats = link.recv(1 << 16).decode()
        return sum(int(line.split(":")[1]) for line in stats.splitlines() if line.startswith("total_net_"))


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True
