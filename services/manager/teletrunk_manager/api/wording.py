"""What to do is told in the words of who asks: a program that speaks REST has no command line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

from teletrunk.remedies import Operation, Part, Shows, Term
from teletrunk.rest import ROUTES

_ROUTES: Final = {route.rpc: route for route in ROUTES}


def for_programs(parts: Iterable[Part]) -> str:
    """Operations as methods and paths, options as fields."""
    return "".join(map(_told, parts))


def _told(part: Part) -> str:
    match part:
        case Operation():
            told = f"{_ROUTES[part.rpc].verb} {_path(part)}"
            return f"{told} with {part.given.rest}" if part.given else told
        case Shows():
            return f"{_told(part.operation)} shows {part.what}"
        case Term():
            return part.rest
    return part


def _path(operation: Operation) -> str:
    """What is not filled in stays as it is in the API's description."""
    fields = {name: quote(value, safe="") for name, value in operation.fields}
    return re.sub(r"{(\w+)}", lambda name: fields.get(name[1], name[0]), _ROUTES[operation.rpc].path)


def is_command(user_agent: str) -> bool:
    """Whether the `teletrunk` command asks, which has a person before it."""
    return user_agent.startswith("teletrunk/")
