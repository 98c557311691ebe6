"""Log lines and the end of what they are written to: full disks, stopped readers, files that grow."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from teletrunk.log_output import RotatingFile

PATIENCE_S = 30
_LONGER_THAN_ITS_PIPE = 30_000
_PROGRAM = """
import sys, structlog
from teletrunk import log_output
from teletrunk.log_output import LogOutput
from teletrunk.telemetry import configure_logging
log_output._LAST_LINES_S = {last_lines_s}
LogOutput.take_over()
configure_logging("manager")
log = structlog.get_logger()
for number in range({count}):
    log.info("line", number=number, text="x" * 60)
print("and what libraries print")
open({done!r}, "w").close()
sys.stdin.readline()
log.info("last line")
"""


def program(directory: Path, count: int, stderr: int, last_lines_s: float = 1.0) -> subprocess.Popen[bytes]:
    code = _PROGRAM.format(count=count, done=str(directory / "done"), last_lines_s=last_lines_s)
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=stderr, stderr=stderr)


def wait_for(file: Path, process: subprocess.Popen[bytes]) -> None:
    """It is there before the process ends: nothing held it up."""
    while not file.exists():
        assert process.poll() is None, "it ended before"
        time.sleep(0.01)


def test_a_reader_that_stops_holds_up_nothing_and_is_told_what_it_missed(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    # A megabyte waits for the reader, who is slow on a busy machine.
    process = program(tmp_path, _LONGER_THAN_ITS_PIPE, writing, last_lines_s=PATIENCE_S)
    os.close(writing)
    wait_for(tmp_path / "done", process)
    with os.fdopen(reading) as reader:
        lines: list[str] = []
        for line in reader:
            if lines and "lines were lost" in lines[-1]:  # what is shown after it has left room for the last line
                assert process.stdin is not None
                process.stdin.write(b"\n")
                process.stdin.flush()
            lines.append(line)
    assert process.wait(PATIENCE_S) == 0
    missed = sum(int(count) for count in re.findall(r'"event": "(\d+) log lines were lost"', "".join(lines)))
    shown = sum('"line"' in line or "libraries" in line for line in lines)
    assert missed and missed + shown == _LONGER_THAN_ITS_PIPE + 1, "each line was shown or counted"
    assert '"last line"' in lines[-1]


def test_a_line_whose_end_is_written_apart_is_shown_or_lost_as_a_whole() -> None:
    """`print` writes its text and then the end of the line: only one of the two found room."""
    code = (
        "import os, sys; from teletrunk.log_output import NeverWaiting\n"
        "reading, writing = os.pipe(); os.set_blocking(writing, False); original = os.dup(2); os.dup2(writing, 2)\n"
        "lost = []; out = NeverWaiting(lost.append, is_terminal=False)\n"
        "room = os.write(writing, bytes(1 << 20)); os.read(reading, 4096)\n"
        "os.write(writing, bytes(4096 - 5)); print('print', file=out); print('out', file=out)\n"
        "assert lost == [1, 1] or lost == [1], lost\n"
        "os.set_blocking(reading, False); said = b''\n"
        "while len(said) < room - 5: said += os.read(reading, 1 << 20)\n"
        "shown = said.count(b'\\n'); assert shown + sum(lost) == 2 and b'print' not in said, (shown, lost)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE_S)


def test_a_reader_that_never_comes_back_holds_up_no_end(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    process = program(tmp_path, _LONGER_THAN_ITS_PIPE, writing)
    os.close(writing)
    process.communicate(b"\n", timeout=PATIENCE_S)
    assert process.returncode == 0
    os.close(reading)


def test_a_full_disk_and_a_reader_that_is_gone_lose_lines_only(tmp_path: Path) -> None:
    reading, gone = os.pipe()
    os.close(reading)
    with Path("/dev/full").open("w") as full:
        for place in (full.fileno(), gone):
            process = program(tmp_path, 100, place)
            process.communicate(b"\n", timeout=PATIENCE_S)
            assert process.returncode == 0
    os.close(gone)


def test_what_was_said_before_a_refused_start_is_read(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "teletrunk_manager"],
        env={**os.environ, "TELETRUNK_DATA": str(tmp_path), "TELETRUNK_LOG_LEVEL": "LOUD"},
        stderr=subprocess.PIPE, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stderr.startswith(b"teletrunk manager: TELETRUNK_LOG_LEVEL: ")


def test_children_that_print_are_held_up_as_little(tmp_path: Path) -> None:
    """As the hosts: native code that prints to descriptors that it inherits."""
    reading, writing = os.pipe()
    code = (
        "import subprocess; from teletrunk.log_output import LogOutput; LogOutput.take_over()\n"
        "assert subprocess.run(['head', '-c', '5000000', '/dev/zero']).returncode in (0, 1)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=writing)
    os.close(writing)
    assert process.wait(PATIENCE_S) == 0
    os.close(reading)


def test_a_file_rotates_between_lines_and_only_so_many_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "worker.log"
    file = RotatingFile(path, file_bytes=1_000, files=3)
    lines = [f"line {number}\n" for number in range(1_000)]
    for begin in range(0, len(lines), 7):
        file.write("".join(lines[begin : begin + 7]).encode())
    found = sorted(tmp_path.iterdir(), reverse=True)
    assert [each.name for each in found] == ["worker.log.2", "worker.log.1", "worker.log"]
    assert all(each.stat().st_size <= 1_000 for each in found)
    kept = "".join(each.read_text() for each in found)
    assert kept == "".join(lines[-kept.count("\n") :]), "the newest, each whole"


def test_a_rotated_file_takes_over_what_lies_there(tmp_path: Path) -> None:
    path = tmp_path / "worker.log"
    path.write_text("x" * 999 + "\n")
    RotatingFile(path, file_bytes=1_000, files=2).write(b"one\n")
    assert (tmp_path / "worker.log.1").stat().st_size == 1_000
    assert path.read_text() == "one\n"
    RotatingFile(path, file_bytes=1_000, files=2).write(b"two\n")
    assert path.read_text() == "one\ntwo\n"


def test_an_end_by_a_signal_keeps_what_was_said(tmp_path: Path) -> None:
    process = program(tmp_path, 5_000, subprocess.PIPE)
    wait_for(tmp_path / "done", process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert said.count(b'"line"') == 5_000
    assert b"KeyboardInterrupt" in said
