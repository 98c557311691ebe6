"""asyncio without TLS, of which a host has none: 1.5 MB. To be imported before anything else that imports it."""

from __future__ import annotations

from teletrunk.absent import absent

with absent("ssl"):
    import asyncio  # noqa: F401
