"""How a Telegram caller looks to a PBX, and how trunks are named. Pure."""

from __future__ import annotations

import re

from teletrunk.v1 import call_pb2


def caller_id(peer: call_pb2.Peer) -> str:
    """+phone if it is known, else the username, else the user id behind a 0 that marks it as one."""
    if peer.phone:
        return f"+{peer.phone.lstrip('+')}"
    return peer.username or f"0{peer.user_id}"


def caller_name(peer: call_pb2.Peer) -> str:
    return f"{peer.first_name} {peer.last_name}".strip() or caller_id(peer)


def login_for(username: str, phone: str, taken: set[str]) -> str:
    """A login that reminds of the account and is free."""
    base = re.sub(r"[^a-z0-9_]", "", username.lower()) or phone.lstrip("+") or "trunk"
    if base not in taken:
        return base
    number = next(n for n in range(2, len(taken) + 3) if f"{base}-{n}" not in taken)
    return f"{base}-{number}"
