"""Telegram's schema a type at a time: the same types as all at once, and few of them when nobody has asked."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

_PROGRAM = """
import json, sys
from io import BytesIO
from teletrunk import lazy_schema
if sys.argv[1] == "lazy":
    lazy_schema.install()
import teletrunk_session_store.service
from pyrogram import raw
from pyrogram.raw.all import objects
from pyrogram.raw.core import TLObject
loaded = sum(name.startswith("pyrogram.raw.") for name in sys.modules)
sent = raw.types.messages.AffectedHistory(pts=1, pts_count=2, offset=3)
assert TLObject.read(BytesIO(sent.write())) == sent
assert not hasattr(raw.types, "NoSuchType")
names = {number: objects[number].__module__ + "." + objects[number].__qualname__ for number in objects}
from pyrogram import enums, types
listed = sys.argv[2].split(",") if sys.argv[2:] else [*types.__all__, *enums.__all__]
own = {name: getattr(types if hasattr(types, name) else enums, name).__module__ for name in listed}
print(json.dumps({"loaded": loaded, "names": names, "base": raw.base.messages.Chats.__module__, "own": own}))
"""


def _loaded(*how: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-c", _PROGRAM, *how], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def test_every_type_is_found_and_only_what_is_named_is_loaded() -> None:
    whole = _loaded("whole")
    lazy = _loaded("lazy", ",".join(whole["own"]))
    assert lazy["loaded"] < whole["loaded"] / 5
    assert (lazy["names"], lazy["base"], lazy["own"]) == (whole["names"], whole["base"], whole["own"])
