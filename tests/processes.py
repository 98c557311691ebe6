"""The processes of a Worker that runs."""

from __future__ import annotations

import contextlib

import psutil
from teletrunk_sandbox.world import World


def hosts_of(world: World, kind: str) -> list[psutil.Process]:
    """Those of its hosts, `sip` or `telegram`, that live now: one may end while it is looked at."""
    process = world.stack.children["worker"].process
    assert process is not None
    found = []
    for child in psutil.Process(process.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):  # a zombie, too, has no command line
            if any(f"legs.{kind}_host" in part for part in child.cmdline()):
                found.append(child)
    return found
