"""A service as a process: what is checked and set before it starts, and the code that it ends with."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from importlib import metadata
from pathlib import Path
from typing import Any, Final, TypeVar

import uvloop

from teletrunk.config import ConfigurationError, ServiceSettings
from teletrunk.log_output import LogOutput
from teletrunk.telemetry import configure_logging
from teletrunk.tracing import configure_tracing

PROCESSOR = Path("/proc/cpuinfo")
# The exit code of a Worker that left because it was drained. Whatever starts services again leaves it alone:
# systemd by RestartPreventExitStatus=3, `teletrunk up` by itself. 0 is the end by SIGTERM, 2 a start that was refused.
DRAINED: Final = 3
LAST_S: Final = 5.0  # for the loop's own end, once the service has ended in order
_DESTRUCTORS_S: Final = 2  # and then for the interpreter's, with those of native libraries
UNFINISHED: Final = "restore.unfinished"  # a file that is there while a restore is at work
HALF_RESTORED: Final = "holds half of a restored installation: remove it, empty its databases, and restore again"
Settings = TypeVar("Settings", bound=ServiceSettings)


def run(
    service: str, load: Callable[[], Settings], serve: Callable[[Settings], Coroutine[Any, Any, int | None]]
) -> None:
    """Runs a service to its end, and exits with the code that `serve` returns, if it does.

    Exit code 2, with one line, when it cannot start as it is set up.
    """
    output = LogOutput.take_over()  # first: nor may the last words of a refused start hold anything up
    try:
        check_host()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold keys
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # connections, hosts and rings: 1,024 are soon gone
        os.umask(0o077)  # databases and records are nobody else's to read
        settings = load()
        if settings.log_file is not None:
            output.write_to(settings.log_file)
        configure_logging(service, settings.log_format, settings.log_level)
        configure_tracing(service)
        make_directory(settings.data)
        sys.exit(uvloop.run(_to_the_end(serve(settings))))
    except ConfigurationError as error:
        sys.exit(_line(service, str(error)))
    except PermissionError as error:
        sys.exit(_line(service, f"{error.filename}: permission denied"))
    except KeyboardInterrupt:
        sys.exit(130)


async def _to_the_end(serving: Coroutine[Any, Any, int | None]) -> int | None:
    """Cancelled tasks that wait for what will not come, a database's thread that has ended, a native library that waits
    for its own threads when the interpreter is gone: none of them holds a process up."""
    code: int | None = 1
    try:
        code = await serving
    except ConfigurationError:
        code = 2
        raise
    finally:
        last = threading.Timer(LAST_S, os._exit, [code or 0])
        last.daemon = True
        last.start()
        signal.alarm(math.ceil(LAST_S) + _DESTRUCTORS_S)  # the kernel's: it asks no thread of ours
    return code


def make_directory(data: Path) -> None:
    """Raises `ConfigurationError`, also for a directory that a restore has only half filled."""
    if (data / UNFINISHED).exists():
        raise ConfigurationError(f"{data} {HALF_RESTORED}")
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigurationError(f"TELETRUNK_DATA: {data} cannot be made: {error.strerror}") from None


_held: list[object] = []


def hold_alone(data: Path, name: str) -> None:
    """Makes this process the only service of its kind on the data directory, for as long as it lives.

    A successor that gets the lock knows that its predecessor is dead, not only stopped. Raises `ConfigurationError`.
    """
    file = (data / f"{name}.lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise ConfigurationError(
            f"{data} is used by another {name} that still runs: stop it, or set TELETRUNK_DATA"
        ) from None
    _held.append(file)


def _line(service: str, text: str) -> int:
    sys.stderr.write(f"teletrunk {service}: {text}\n")
    return 2


def check_host() -> None:
    """Raises `ConfigurationError` for a machine or an environment that the libraries cannot run on."""
    if not (3, 11) <= sys.version_info[:2] <= (3, 12):
        raise ConfigurationError("Python 3.11 or 3.12 is needed: pjsua2 has no wheels for others")
    for name in ("Pyrogram", "pyrogrammod", "pyrofork"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            metadata.version(name)
            raise ConfigurationError(
                f"{name} is installed beside kurigram and breaks it: pip uninstall {name} kurigram, "
                "then install kurigram again"
            )
    _check_processor()


def _check_processor() -> None:
    """ntgcalls' encoders use these instructions without asking."""
    try:
        with PROCESSOR.open() as file:
            flags = next((line.split() for line in file if line.startswith("flags")), None)
    except OSError:
        return
    missing = {"sse4_2", "avx", "avx2"} - set(flags) if flags else set()
    if missing:
        raise ConfigurationError(f"this processor lacks {', '.join(sorted(missing))}, which the media engine needs")
