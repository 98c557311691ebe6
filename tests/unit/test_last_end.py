"""A process ends, whatever its tasks wait for."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

PROGRAM = """
import asyncio, sys
from pathlib import Path
from teletrunk import running
from teletrunk.config import ServiceSettings

running.LAST_S = 1.0
left = set()

async def stubborn():
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass

async def serve(settings):
    left.add(asyncio.create_task(stubborn()))
    await asyncio.sleep(0)
    return 3

running.run("test", lambda: ServiceSettings(data=Path(sys.argv[1])), serve)
"""


def test_a_task_that_does_not_end_holds_no_process_up(tmp_path: Path) -> None:
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], timeout=60, capture_output=True, check=False)
    assert done.returncode == 3, done.stderr.decode()
    assert time.monotonic() - began < 50
