"""Help on narrow terminals: the names of options, which people copy, stay whole, and nothing is cut.

Typer's table of options cuts what does not fit with an ellipsis, and offers no setting for it.
"""

from __future__ import annotations

from typing import Any

from rich.columns import Columns
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text
from typer import rich_utils

_OF_AN_OPTION = 6  # cells: its names, short ones, those of its opposite, its type, and the help


class OptionTable(Table):
    """An option's names stand below each other, and whatever else does not fit goes on in the next line."""

    def add_row(self, *cells: RenderableType | None, **settings: Any) -> None:
        if len(cells) < _OF_AN_OPTION:  # of commands
            super().add_row(*cells, **settings)
            return
        *required, long, short, opposite, short_opposite, kind, told = cells
        names = [name for name in (long, short, opposite, short_opposite) if isinstance(name, Text) and name.plain]
        if not self.columns:
            for no_wrap in (*(True for _ in required), True, False, False):
                self.add_column(no_wrap=no_wrap)
        if isinstance(told, Columns):
            texts = [text for text in told.renderables if isinstance(text, Text)]
            told = Text(" ", overflow="fold").join(texts) if len(texts) == len(told.renderables) else told
        super().add_row(*required, Text("\n").join(names), kind, told, **settings)


def use() -> None:
    """By whatever draws help from now on."""
    rich_utils.Table = OptionTable  # type: ignore[attr-defined]
