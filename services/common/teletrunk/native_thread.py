"""Python beside native media threads: callbacks from them, and where the kernel shows them."""

from __future__ import annotations

import ctypes
import threading
from typing import Final

OWN_THREADS: Final = "/proc/self/task"

_thread = threading.local()  # a native thread may have the number of one that has ended


def keep_thread_state() -> None:
    """Call first in every callback that a native thread makes: its Python thread state then stays for good.

    Without it each callback makes one and throws it away, with 16 KiB of fresh stack mapped and unmapped by the
    kernel, which costs more than the callback itself. The extra count on the state is never given back; the
    threads live as long as the process does.
    """
    if not hasattr(_thread, "kept"):
        _thread.kept = True
        ctypes.pythonapi.PyGILState_Ensure()
