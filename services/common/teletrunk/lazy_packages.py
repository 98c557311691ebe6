"""Packages of libraries that only list what their modules have, loaded a name at a time.

`from package import Name` then loads the module that has this name, and no other. The package's own code is read for
what it lists, and not run: so it is for packages that do nothing else.
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

# Of Python's byte code (3.6 and later: two bytes a step). `dis.get_instructions` tells the same, ten times as slowly.
_IMPORT, _FROM, _EXTENDED = (dis.opmap[name] for name in ("IMPORT_NAME", "IMPORT_FROM", "EXTENDED_ARG"))


def install(*packages: str) -> None:
    """For these packages and all that are in them. Those that are imported already stay as they are."""
    sys.meta_path.insert(0, _Finder(packages))


class _Finder(MetaPathFinder):
    def __init__(self, packages: Sequence[str]) -> None:
        self._packages = packages

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not any(fullname == name or fullname.startswith(f"{name}.") for name in self._packages):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.submodule_search_locations is not None:
            spec.loader = _List(cast(Any, spec.loader).get_code(fullname))
        return spec


class _List(Loader):
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
    module, above = "", 0
    for operation, argument in zip(code.co_code[::2], code.co_code[1::2], strict=True):
        number = above << 8 | argument
        above = number if operation == _EXTENDED else 0
        if operation == _IMPORT:
            module = code.co_names[number]
        elif operation == _FROM:
            yield code.co_names[number], module
