"""A QR code on a terminal, where the next one takes its place."""

from __future__ import annotations

import io
import sys

import segno

_UP, _CLEAR = "\x1b[{}F", "\x1b[J"


class Shown:
    """On standard error: standard output is the command's answer."""

    def __init__(self) -> None:
        self._url = ""
        self._lines = 0

    def show(self, url: str) -> None:
        """What is there already stays."""
        if url == self._url:
            return
        drawn = io.StringIO()
        segno.make_qr(url).terminal(drawn, compact=True, border=2)
        text = f"{drawn.getvalue()}{url}\n"
        if self._url and sys.stderr.isatty():
            sys.stderr.write(_UP.format(self._lines) + _CLEAR)
        sys.stderr.write(text)
        sys.stderr.flush()
        self._url, self._lines = url, text.count("\n")
