"""The library that pjsua2 has loaded, for what pjsua2 does not show of it."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Final

import pjsua2 as pj

pjsua: Final = ctypes.CDLL(str(next(Path(pj.__file__).parent.glob("_pjsua2*.so"))))
