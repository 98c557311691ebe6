"""How a Telegram caller looks to a PBX. Pure."""

from __future__ import annotations

from teletrunk.v1 import call_pb2


def caller_id(peer: call_pb2.Peer) -> str:
    """+phone if it is known, else the username, else the user id behind a 0 that marks it as one."""
    if peer.phone:
        return f"+{peer.phone.lstrip('+')}"
    return peer.username or f"0{peer.user_id}"


def caller_name(peer: call_pb2.Peer) -> str:
    """The full name; a user without one is shown by the caller id."""
    return f"{peer.first_name} {peer.last_name}".strip() or caller_id(peer)
