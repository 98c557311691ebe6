"""What a process gives up that reads strangers' bytes with native code."""

from __future__ import annotations

import ctypes
import os

_PR_SET_NO_NEW_PRIVS = 38


def forbid_privileges() -> None:
    """From now on nothing that this process starts gains rights by its file (prctl(2)). Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
