"""Peers that need to be met half-way, known by their User-Agent."""

from __future__ import annotations

import re

_BARESIP = re.compile(r"^baresip v(\d+)\.(\d+)")
_BARESIP_KNOWS_SHA256 = (3, 11)


def only_md5(user_agent: str) -> bool:
    """Whether the peer gives up at a challenge whose algorithm it does not know, though MD5 is offered beside it.

    RFC 8760 2.4 asks clients to skip what they do not know; baresip before 3.11 fails the request instead. Nothing
    is lost by offering MD5 alone: a client that wants it gets it anyway.
    """
    found = _BARESIP.match(user_agent)
    return found is not None and (int(found[1]), int(found[2])) < _BARESIP_KNOWS_SHA256
