"""What a host gives up before it reads a stranger's first byte: native code may be taken over by what it reads.

It keeps what it holds: the wire to control, the rings of its calls, UDP sockets, and reading its own libraries.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import teletrunk
from teletrunk.native_thread import OWN_THREADS
from teletrunk.privileges import forbid_privileges

import teletrunk_worker
from teletrunk_worker.legs import landlock, seccomp

_CAPABILITY_VERSION_3 = 0x20080522
# Interpreters read modules late, libraries their data: nothing that an installation keeps lies there.
_LIBRARIES: Final = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/etc/localtime", "/dev/urandom",
                     "/usr/share/zoneinfo", "/sys/devices/system/cpu", "/proc/cpuinfo")  # fmt: skip


class Jail(NamedTuple):
    """What a kind of host needs."""

    memory: int  # bytes that it may write to, the stacks of its threads among them
    descriptors: int
    datagrams: Sequence[int]  # address families of its sockets
    other_sockets: Sequence[int] = ()
    readable: Sequence[str] = ()


SIP: Final = Jail(512 << 20, 256, (socket.AF_INET,))
# WebRTC asks the kernel (netlink) which addresses the machine has; a call has a socket for each of them, and a thread
# or two with 8 MiB of stack. A call is only ended once these threads are seen to be idle.
TELEGRAM: Final = Jail(4 << 30, 4096, (socket.AF_INET, socket.AF_INET6), (socket.AF_NETLINK,), (OWN_THREADS,))


def enter(jail: Jail) -> None:
    """For good. Raises OSError. Of what the kernel does not have, the rest is taken."""
    forbid_privileges()
    _limit(resource.RLIMIT_DATA, jail.memory)
    _limit(resource.RLIMIT_NOFILE, jail.descriptors)
    _limit(resource.RLIMIT_CORE, 0)  # it would hold keys of calls
    _limit(resource.RLIMIT_NICE, 0)
    _drop_capabilities()
    landlock.confine([*_LIBRARIES, *_own_modules(), *jail.readable])
    if platform.machine() == "x86_64":
        seccomp.confine(jail.datagrams, jail.other_sockets)


def _limit(kind: int, most: int) -> None:
    _, allowed = resource.getrlimit(kind)
    least = most if allowed == resource.RLIM_INFINITY else min(most, allowed)
    resource.setrlimit(kind, (least, least))


def _drop_capabilities() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    # systemd may forbid the call, and has left none then.
    if libc.capset(header, (ctypes.c_uint32 * 6)()) and _has_capabilities():
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _has_capabilities() -> bool:
    lines = Path("/proc/self/status").read_text().splitlines()
    return any(int(line.split()[1], 16) for line in lines if line.startswith(("CapInh", "CapPrm", "CapEff", "CapAmb")))


def _own_modules() -> list[str]:
    """Where Python looks for modules, in an isolated interpreter; in a checkout, our own are elsewhere."""
    return [path for path in (*sys.path, *teletrunk.__path__, *teletrunk_worker.__path__) if Path(path).is_absolute()]
