"""What is said to everybody without a token: made once, compressed once, and not sent to who has it."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import Callable

from fastapi import Request
from fastapi.responses import Response


class Document:
    """One that never changes while we run. It is made when it is first asked for: most Managers are never asked."""

    def __init__(self, media_type: str, make: Callable[[], str]) -> None:
        self._media_type = media_type
        self._make = make
        self._making = asyncio.Lock()
        self._plain = self._packed = b""
        self._tag = ""

    async def __call__(self, request: Request) -> Response:
        async with self._making:
            if not self._plain:
                await asyncio.to_thread(self._prepare)
        headers = {"ETag": self._tag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
        if self._tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(self._packed, headers=headers | {"Content-Encoding": "gzip"}, media_type=self._media_type)
        return Response(self._plain, headers=headers, media_type=self._media_type)

    def _prepare(self) -> None:
        plain = self._make().encode()
        self._packed = gzip.compress(plain)
        self._tag = f'"{hashlib.sha256(plain).hexdigest()[:16]}"'
        self._plain = plain
