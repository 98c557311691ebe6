"""Sound that has gone one way only, as a call's record tells of it."""

from __future__ import annotations

from typing import Final

from teletrunk.v1 import call_pb2

_TALKED_S: Final = 3.0


def one_way(record: call_pb2.CallRecord) -> str:
    """Which direction had no sound, since when, in which codec and between which addresses; empty when both had,
    or nothing was measured."""
    media = record.media
    talked_s = record.ended_at - record.answered_at if record.answered_at else 0.0
    if talked_s <= _TALKED_S or not media.rtp_peer:
        return ""
    srtp = f", SRTP {media.srtp_suite}" if media.srtp_suite else ""
    where = f"({media.codec or 'no codec'}{srtp}, the PBX's side is {media.rtp_peer})"
    if not media.rtp_received:
        return (
            f"not one RTP packet came from the PBX {where}. See that the PBX sends to the Worker's address "
            "(TELETRUNK_PUBLIC_ADDRESS; in TELETRUNK_LOCAL_NETWORKS this machine's own) and that TELETRUNK_RTP_PORTS "
            "are open for UDP"
        )
    if media.rtp_silent_s > _TALKED_S:
        return (
            f"nothing came from the PBX in the last {media.rtp_silent_s:.0f} s of the call, after "
            f"{media.rtp_received} packets {where}. See for a firewall that forgets idle ways, and for a hold"
        )
    if not media.rtp_sent:
        return f"not one RTP packet went to the PBX {where}. See that its SDP names an address that can be reached"
    return ""
