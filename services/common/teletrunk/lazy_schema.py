"""Telegram's schema, loaded a type at a time.

kurigram has a module for each of the schema's 4,000 types and for each of its own, and imports them all: 35 MB, of
which a Storage, or the sandbox's data centre, uses a tenth. Here a type is imported when somebody first names it, or
when the first one comes over the wire.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from teletrunk import lazy_packages

_RAW = "pyrogram.raw"
_LISTS = (f"{_RAW}.base", f"{_RAW}.functions", f"{_RAW}.types", "pyrogram.enums", "pyrogram.types")
# Together a tenth of a megabyte.
_OF_CALLS = (
    "functions.contacts.ResolvePhone",
    "functions.contacts.ResolveUsername",
    "functions.messages.GetDhConfig",
    "functions.phone.AcceptCall",
    "functions.phone.ConfirmCall",
    "functions.phone.DiscardCall",
    "functions.phone.ReceivedCall",
    "functions.phone.RequestCall",
    "functions.phone.SendSignalingData",
    "types.DataJSON",
    "types.InputPhoneCall",
    "types.InputUser",
    "types.MessageActionPhoneCall",
    "types.MessageService",
    "types.PeerUser",
    "types.PhoneCall",
    "types.PhoneCallAccepted",
    "types.PhoneCallDiscarded",
    "types.PhoneCallProtocol",
    "types.PhoneCallRequested",
    "types.PhoneCallWaiting",
    "types.PhoneConnection",
    "types.PhoneConnectionWebrtc",
    "types.UpdatePhoneCall",
    "types.UpdatePhoneCallSignalingData",
    "types.UpdateShort",
    "types.contacts.ResolvedPeer",
    "types.messages.DhConfig",
    "types.phone.PhoneCall",
)


def install() -> None:
    """To be called before kurigram is imported."""
    if "pyrogram" in sys.modules:
        raise RuntimeError("kurigram is imported already")
    lazy_packages.install(*_LISTS)
    sys.meta_path.insert(0, _Finder())


def load_calls() -> None:
    """What nearly every call names, at the start: the first call would wait for it."""
    for name in _OF_CALLS:
        package, _, found = name.rpartition(".")
        getattr(importlib.import_module(f"{_RAW}.{package}"), found)


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _RAW:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None:
            spec.loader = _WholeSchema()
        return spec


class _WholeSchema(Loader):
    """In place of `pyrogram.raw`, which turns each constructor's id into its class at once."""

    def exec_module(self, module: ModuleType) -> None:
        known = importlib.import_module(f"{_RAW}.all")
        known.objects = _Constructors(known.objects)  # type: ignore[attr-defined]
        for name in ("types", "functions", "base", "core"):
            setattr(module, name, importlib.import_module(f"{_RAW}.{name}"))


class _Constructors(dict[int, Any]):
    """The classes by the ids that are on the wire; a value is a class's whole name until it is asked for."""

    def __getitem__(self, number: int) -> Any:
        found = super().__getitem__(number)
        if isinstance(found, str):
            package, _, name = found.rpartition(".")
            found = self[number] = getattr(importlib.import_module(package), name)
        return found
