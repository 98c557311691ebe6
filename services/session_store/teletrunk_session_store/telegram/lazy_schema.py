"""Telegram's schema, loaded a type at a time.

kurigram has a module for each of the schema's 4,000 types and imports them all, 30 MB of which a Storage uses a
twentieth. Here its packages import a type when somebody first names it, or when the first one comes over the wire.
"""

from __future__ import annotations

import dis
import importlib
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import CodeType, ModuleType
from typing import Any, cast

_RAW = "pyrogram.raw"
_LISTS = tuple(f"{_RAW}.{part}" for part in ("base", "functions", "types"))


def install() -> None:
    """To be called before kurigram is imported."""
    if "pyrogram" in sys.modules:
        raise RuntimeError("kurigram is imported already")
    sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds the packages whose `__init__` would import everything."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(_RAW):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.submodule_search_locations is None:
            return spec
        if fullname == _RAW:
            spec.loader = _WholeSchema()
        elif fullname.startswith(_LISTS):
            spec.loader = _List(cast(Any, spec.loader).get_code(fullname))
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


class _List(Loader):
    """A package that only lists what its modules have: read, and not run."""

    def __init__(self, code: CodeType) -> None:
        self._modules = dict(_imports(code))

    def exec_module(self, module: ModuleType) -> None:
        def find(name: str) -> Any:
            if name not in self._modules:
                raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
            if not (inner := self._modules[name]):
                return importlib.import_module(f"{module.__name__}.{name}")
            found = getattr(importlib.import_module(f"{module.__name__}.{inner}"), name)
            setattr(module, name, found)
            return found

        module.__getattr__ = find  # type: ignore[method-assign]


def _imports(code: CodeType) -> Iterator[tuple[str, str]]:
    """Each name of `from .module import name`, and its module; packages, of `from . import name`, have none."""
    module = ""
    for step in dis.get_instructions(code):
        if step.opname == "IMPORT_NAME":
            module = step.argval
        elif step.opname == "IMPORT_FROM":
            yield step.argval, module
