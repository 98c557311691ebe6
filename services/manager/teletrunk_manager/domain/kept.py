"""What was made of texts is kept, by how much they are and not by how many. Pure."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

Made = TypeVar("Made")


def kept(most: int) -> Callable[[Callable[[str], Made]], Callable[[str], Made]]:
    """Decorates what makes something of a text: it is kept until others, of `most` characters, were asked for since."""

    def decorate(make: Callable[[str], Made]) -> Callable[[str], Made]:
        known: OrderedDict[str, Made] = OrderedDict()
        using = threading.Lock()
        size = 0

        def made(text: str) -> Made:
            nonlocal size
            with using:
                if text in known:
                    known.move_to_end(text)
                    return known[text]
            new = make(text)
            with using:
                if text not in known:
                    known[text] = new
                    size += len(text)
                while size > most:
                    size -= len(known.popitem(last=False)[0])
            return new

        return made

    return decorate
