"""Where a process that does not end stands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def stacks(pid: int) -> str:
    """Of all its threads, Python's and native code's; from outside, so that it need not be able to say anything."""
    py_spy = Path(sys.executable).with_name("py-spy")
    done = subprocess.run([py_spy, "dump", "--native", "--pid", str(pid)], capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr
