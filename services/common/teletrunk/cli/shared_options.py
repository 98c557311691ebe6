"""Options that several commands take: each is written once, as a parameter of one function."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

Command = Callable[..., None]


def with_options(shared: Command) -> Callable[[Command], Command]:
    """Gives a command the parameters of `shared`, before its own last one. It reads them from its context."""

    def extended(command: Command) -> Command:
        own = inspect.signature(command, eval_str=True)
        added = inspect.signature(shared, eval_str=True)
        *first, last = own.parameters.values()
        parameters = [*first, *added.parameters.values(), last]

        @functools.wraps(command)
        def called(**given: Any) -> None:
            command(**{name: given[name] for name in own.parameters})

        called.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {each.name: each.annotation for each in parameters}
        return called

    return extended
