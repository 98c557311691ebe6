"""A process ends, whatever its tasks wait for, and whatever its libraries do at the interpreter's end."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import asyncio, sys, time
from pathlib import Path
from teletrunk import running
from teletrunk.config import ServiceSettings

running.LAST_S = 1.0
kept = []

async def serve(settings):
    {leaves}
    await asyncio.sleep(0)
    return 3

class WaitsForEver:
    sleep = time.sleep

    def __del__(self):
        while True:
            self.sleep(1)

async def stubborn():
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass

running.run("test", lambda: ServiceSettings(data=Path(sys.argv[1])), serve)
"""


@pytest.mark.parametrize(
    ("leaves", "ends_with"),
    [
        ("kept.append(asyncio.create_task(stubborn()))", 3),
        ("kept.append(WaitsForEver())", -signal.SIGALRM),
    ],
)
def test_whatever_is_left_behind_holds_no_process_up(leaves: str, ends_with: int, tmp_path: Path) -> None:
    program = PROGRAM.format(leaves=leaves)
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], timeout=60, capture_output=True, check=False)
    assert done.returncode == ends_with, done.stderr.decode()
    assert time.monotonic() - began < 50
