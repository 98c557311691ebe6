"""One dialog of a SIP host: what pjsua2 tells of it, its figures, and what is said in it."""

from __future__ import annotations

import contextlib
import re
import time
from typing import TYPE_CHECKING

import pjsua2 as pj

from teletrunk_worker.legs.digits import Digits, Press
from teletrunk_worker.legs.keys import Keys
from teletrunk_worker.legs.refresh import Refresh
from teletrunk_worker.legs.rtp_peer import RtpPeer
from teletrunk_worker.legs.silence import Silence
from teletrunk_worker.legs.wire import Message

if TYPE_CHECKING:
    from teletrunk_worker.legs.sip_host import SipHost

_MOST_COUNTED = 2**31 - 1  # pjmedia counts further, a record does not
_DTMF_IS_END = 2  # PJMEDIA_STREAM_DTMF_IS_END, which pjsua2 does not name
_SRTP_SUITE = re.compile(r"SRTP status: Active Crypto-suite: (\w{1,60})")


class HostCall(pj.Call):  # type: ignore[misc]
    """One dialog. Kept in the host's table until DISCONNECTED: a collected Call hangs up by itself."""

    def __init__(self, host: SipHost, account: pj.Account, call_id: str, pjsua_id: int = pj.PJSUA_INVALID_ID) -> None:
        super().__init__(account, pjsua_id)
        self.host = host
        self.call_id = call_id
        self.port = host.free_port()
        self.stats: Message = {}
        self.answered = False
        self._rung: set[int] = set()  # provisional answers that have been told
        self.hung_up_by_us = False
        self.sends = False  # whether the phone has promised sound
        self.digits = self.port.digits = Digits()
        self.keys = Keys(self)
        self.refresh = Refresh(self, owns=pjsua_id == pj.PJSUA_INVALID_ID)
        self.peer = RtpPeer(self)
        self._stream = 0  # which of the call's media is its sound
        self._srtp_suite = ""
        self._silence = Silence(time.monotonic())

    def onDtmfEvent(self, prm: pj.OnDtmfEventParam) -> None:
        """By pjmedia's thread that receives for RFC 4733, which tells every packet of an event."""
        if prm.method == pj.PJSUA_DTMF_METHOD_RFC2833:
            over = bool(prm.flags & _DTMF_IS_END)
            self.digits.heard_packet(Press(prm.digit, prm.timestamp, prm.duration, over))
        elif prm.method == pj.PJSUA_DTMF_METHOD_SIP_INFO:
            self.digits.heard("info", prm.digit)

    def onCallTransferRequest(self, prm: pj.OnCallTransferRequestParam) -> None:
        prm.statusCode = pj.PJSIP_SC_DECLINE  # pjsua would call whoever is named

    def onCallReplaceRequest(self, prm: pj.OnCallReplaceRequestParam) -> None:
        prm.statusCode = pj.PJSIP_SC_DECLINE

    def onCallState(self, prm: pj.OnCallStateParam) -> None:
        info = self.getInfo()
        if info.state == pj.PJSIP_INV_STATE_CALLING:
            self.host.tell(event="dialled", call=self.call_id, sip_call_id=str(info.callIdString))
        elif info.state == pj.PJSIP_INV_STATE_EARLY and info.role == pj.PJSIP_ROLE_UAC:
            self._progress(int(info.lastStatusCode))
        elif info.state == pj.PJSIP_INV_STATE_CONFIRMED and not self.answered:
            self.answered = True
            self._silence = Silence(time.monotonic())  # ringing is not silence
            self.measure()
            self.host.tell(event="answered", call=self.call_id, codec=self.stats.get("codec", ""))
        elif info.state == pj.PJSIP_INV_STATE_DISCONNECTED:
            self.host.ended(self, int(info.lastStatusCode), str(info.lastReason))

    def onCallTsxState(self, prm: pj.OnCallTsxStateParam) -> None:
        transaction = prm.e.body.tsxState.tsx
        ours = transaction.role == pj.PJSIP_ROLE_UAC and transaction.method in ("INVITE", "UPDATE")
        if ours and self.answered and transaction.state == pj.PJSIP_TSX_STATE_COMPLETED:
            self.refresh.answered(int(transaction.statusCode))

    def _progress(self, status: int) -> None:
        """Each once: who rings says so as often as it likes, and the wire is that of other calls, too."""
        if status not in self._rung:
            self._rung.add(status)
            self.host.tell(event="progress", call=self.call_id, status=status)

    def onCallMediaState(self, prm: pj.OnCallMediaStateParam) -> None:
        info = self.getInfo()  # kept: its members are freed with it
        self.sends = False
        both = pj.PJMEDIA_DIR_ENCODING_DECODING
        self.port.held = not any(media.dir == both for media in info.media if media.type == pj.PJMEDIA_TYPE_AUDIO)
        for index, media in enumerate(info.media):
            if media.type == pj.PJMEDIA_TYPE_AUDIO and media.status in (
                pj.PJSUA_CALL_MEDIA_ACTIVE,
                pj.PJSUA_CALL_MEDIA_REMOTE_HOLD,
            ):
                active = media.status == pj.PJSUA_CALL_MEDIA_ACTIVE
                self.sends = active and bool(media.dir & pj.PJMEDIA_DIR_DECODING)
                try:
                    self.peer.negotiated(index)
                    sound = self.getAudioMedia(index)
                except pj.Error:  # it is gone again
                    return
                self.port.startTransmit(sound)
                sound.startTransmit(self.port)
                self._stream = index
                return

    def watch_peer(self) -> None:
        with contextlib.suppress(pj.Error):  # the stream is gone
            self.peer.look()

    @property
    def silent(self) -> bool:
        """Whether the phone, which should speak, has not been heard for long."""
        received = int(self.stats.get("rtp_received", 0))
        return self._silence.too_long(received, time.monotonic(), promised=self.sends)

    def measure(self) -> None:
        """Notes the stream's figures while it lives: they are gone once the call is."""
        try:
            stream, statistics = self.getStreamInfo(self._stream), self.getStreamStat(self._stream)
        except pj.Error:
            return
        received = statistics.rtcp.rxStat
        if not self.stats:  # pjsua2 tells it in no other way
            found = _SRTP_SUITE.search(self.dump(True, ""))
            self._srtp_suite = found[1] if found else ""
        self.stats = {
            "codec": f"{stream.codecName}/{stream.codecClockRate}",
            "srtp_suite": self._srtp_suite,
            "rtp_received": min(int(received.pkt), _MOST_COUNTED),
            "rtp_lost": min(int(received.loss), _MOST_COUNTED),
            "rtp_jitter_ms": round(received.jitterUsec.mean / 1000, 2),
            "rtp_sent": min(int(statistics.rtcp.txStat.pkt), _MOST_COUNTED),
            "rtp_peer": str(stream.remoteRtpAddress),
            "rtp_silent_s": round(self._silence.seconds(time.monotonic()), 1),
            "late_to_sip": self.port.playout.late if self.port.playout else 0,
        }

    @property
    def last_stats(self) -> Message:
        """With the digits that came after the last measurement."""
        return {**self.stats, "dtmf_digits": self.digits.count, "dtmf_method": self.digits.method}


def hang_up(call: HostCall, status: int, phrase: str, headers: list[list[str]]) -> None:
    parameter = pj.CallOpParam()
    parameter.statusCode = status
    parameter.reason = phrase
    add_headers(parameter, headers)
    with contextlib.suppress(pj.Error):  # it ended in the same moment
        call.hangup(parameter)


def notify(call: HostCall, event: str, status: int, phrase: str) -> None:
    """RFC 3515 2.4.5: how far a transfer is, as the status line of who is called."""
    parameter = pj.CallSendRequestParam()
    parameter.method = "NOTIFY"
    state = "active;expires=60" if status < 200 else "terminated;reason=noresource"
    parameter.txOption.contentType = "message/sipfrag;version=2.0"
    parameter.txOption.msgBody = f"SIP/2.0 {status} {phrase}\r\n"
    add_headers(parameter, [["Event", event], ["Subscription-State", state]])
    with contextlib.suppress(pj.Error):  # it ended in the same moment
        call.sendRequest(parameter)


def add_headers(parameter: pj.CallOpParam | pj.CallSendRequestParam, headers: list[list[str]]) -> None:
    for name, value in headers:
        header = pj.SipHeader()
        header.hName, header.hValue = name, value
        parameter.txOption.headers.append(header)
