"""A data directory whose path is too long for a UNIX socket is refused in one line that says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from teletrunk.sources import ConfigurationError, free_socket

_TOO_LONG = 108  # bytes; Linux takes 107


def test_the_longest_path_that_a_socket_can_have(tmp_path: Path) -> None:
    room = _TOO_LONG - len(os.fsencode(tmp_path)) - 1
    assert free_socket(tmp_path / ("x" * (room - 1)))
    with pytest.raises(ConfigurationError, match="choose a shorter directory"):
        free_socket(tmp_path / ("x" * room))


def test_the_local_telegram_says_so(tmp_path: Path) -> None:
    data = tmp_path / ("x" * _TOO_LONG)
    ended = subprocess.run(
        [Path(sys.executable).parent / "teletrunk", "sandbox", "--listen", "127.0.0.1:18443", "--code", "12345"],
        env={**os.environ, "TELETRUNK_DATA": str(data)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 2 and "Traceback" not in ended.stderr
    assert "choose a shorter directory" in ended.stderr.splitlines()[-1]
