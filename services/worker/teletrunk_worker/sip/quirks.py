"""Peers that need to be met half-way, known by what they say of themselves."""

from __future__ import annotations

import re

from teletrunk_worker.sip.message import Request

_BARESIP = re.compile(r"baresip v(\d{1,4})\.(\d{1,4})")
_BARESIP_KNOWS_SHA256 = (3, 11)
_KAMAILIO = re.compile(r"kamailio\b", re.IGNORECASE)  # its `uac` module reads the first challenge alone
_SIPP_BRANCH = re.compile(r"z9hG4bK-[0-9]{1,10}-[0-9]{1,10}-[0-9]{1,10}")  # what sipp writes for [branch]


def only_md5(request: Request) -> bool:
    """Whether the peer gives up at a challenge whose algorithm it does not know, though MD5 is offered beside it.

    RFC 8760 2.4 asks clients to skip what they do not know; baresip before 3.11, Kamailio's client and sipp fail the
    request instead. Nothing is lost by offering MD5 alone: a client that wants it gets it anyway.
    """
    user_agent = request.headers.get("User-Agent") or ""
    if found := _BARESIP.match(user_agent):
        return (int(found[1]), int(found[2])) < _BARESIP_KNOWS_SHA256
    return bool(_KAMAILIO.match(user_agent) or _SIPP_BRANCH.fullmatch(request.via.branch))
