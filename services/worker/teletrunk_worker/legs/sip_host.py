"""A SIP host: a process that runs pjsua2 for a handful of calls.

It listens on loopback only; the edge stands between it and the world. One thread (the main one) makes every
pjsua2 call: in turn it pumps SIP, reads commands, and moves sound between the conference bridge and the calls' rings.
None of that ever waits for anything. A thread of pjsua2's receives RTP.

Commands (control to host)             Events (host to control)
  configure                              ready {port, capacity, rate}
  attach {call} + rings descriptor       incoming {call}
  ring, answer, hangup {call, ...}       progress {call, status}
  detach {call}                          detached {call}
  notify {call, event, status, phrase}
  press {call, digits, by}
  dial {call, uri, caller, ...}          answered {call, codec}
  ping                                   pong
                                         ended {call, status, phrase, by_us, stats, ending}
                                         refused {call, why}: there is no place to dial it from
                                         undialled {call, why}: pjsua cannot dial that at all
                                         digit {call, digit, by}: a key was pressed
                                         silent {call}: no RTP for long
                                         ending {places}: those that dialogs keep which have ended for us
"""

from __future__ import annotations

import ctypes
import gc
import math
import os
import re
import select
import socket
import sys
import threading
import time
from collections import deque

import pjsua2 as pj

from teletrunk_worker.legs import jail
from teletrunk_worker.legs.bridge_clock import BridgeClock
from teletrunk_worker.legs.host_call import HostCall, add_headers, hang_up, notify
from teletrunk_worker.legs.pjsua_library import pjsua
from teletrunk_worker.legs.priority import before_others
from teletrunk_worker.legs.ring import SIP_FRAME_MS, RingPair
from teletrunk_worker.legs.rtp_peer import shut_out_everybody
from teletrunk_worker.legs.sound_port import SoundPort
from teletrunk_worker.legs.wire import Message, PeerGone, Wire

CALL_HEADER = "X-Teletrunk-Call"
_PUMP_MS = 200  # commands do not wait for its end: `Waker`
_SHORT_PUMP_MS = 10
_TIDY_EVERY_S = 0.1
_LOOK_EVERY_S = 0.2
_STATS_EVERY_S = 1.0
_TOO_MANY = 70010  # PJ_ETOOMANY
# pjsip's ioqueue has 64 places for sockets of sound, keeps that of a closed one for half a second, and aborts when it
# has none: of calls that begin and end at once a host takes only so many. Each has two sockets; a peer may have moved
# its sound once (`Dialog.may_have_sound_at`), which is two more.
_SOCKETS_REST_S = 0.7
_MOST_RESTING = 8
_LATER = frozenset({"dialled", "dtmf_method", "srtp_suite"})  # events and figures that Workers had to learn
_KEEP_ALIVE = b"\r\n\r\n"  # RFC 5626 3.5.1: pjsip swallows it
_CALL_HEADER_PATTERN = re.compile(rf"^{CALL_HEADER}:\s*(\S+)\s*$", re.MULTILINE | re.IGNORECASE)
# What the edge leaves of an offer decides in the end; of Speex, wide-band comes first.
_SWITCHED_ON = (
    "PCMA/8000/1", "PCMU/8000/1", "G722/16000/1", "GSM/8000/1", "iLBC/8000/1", "speex/16000/1", "speex/8000/1",
    "speex/32000/1",
)  # fmt: skip
_PRIORITIES = {codec: 254 - place for place, codec in enumerate(_SWITCHED_ON)}
_call_get_count = pjsua.pjsua_call_get_count
_call_get_count.restype = ctypes.c_uint


def _occupied_places() -> int:
    """Calls that pjsua counts, those too whose hang-up nobody has answered yet: up to 32 s. pjsua2 does not show it."""
    return int(_call_get_count())


class HostAccount(pj.Account):  # type: ignore[misc]
    """The one account of a host; who may call was decided at the edge."""

    def __init__(self, host: SipHost) -> None:
        super().__init__()
        self.host = host

    def onIncomingCall(self, prm: pj.OnIncomingCallParam) -> None:
        found = _CALL_HEADER_PATTERN.search(prm.rdata.wholeMsg)
        call = HostCall(self.host, self, found.group(1) if found else "", prm.callId)
        if not found:
            self.host.uninvited.append(call)
            return
        self.host.calls[call.call_id] = call
        self.host.shut_out_strangers()
        self.host.tell(event="incoming", call=call.call_id)


class Waker(threading.Thread):
    """Ends the pump's wait for SIP when a command comes in: only a packet can do that, so it sends one."""

    def __init__(self, wire: Wire) -> None:
        super().__init__(name="waker", daemon=True)
        self.port = 0
        self._wire = wire
        self._called = threading.Event()
        self._rested = threading.Event()

    @property
    def called(self) -> bool:
        return self._called.is_set()

    def rest(self) -> None:
        """The pump is about to read the wire dry."""
        self._called.clear()
        self._rested.set()

    def run(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as knocker:
            while True:
                select.select([self._wire.socket], [], [])
                self._rested.clear()
                self._called.set()
                knocker.sendto(_KEEP_ALIVE, ("127.0.0.1", self.port))
                self._rested.wait()


class SipHost:
    """pjsua2's endpoint, its calls, and the wire to control."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._endpoint = pj.Endpoint()
        self._account: HostAccount | None = None
        self._clock: BridgeClock
        self._waker = Waker(wire)
        self._tidied_at = self._looked_at = self._measured_at = 0.0
        self._ending = 0
        self._resting: deque[float] = deque()  # when calls ended whose sockets pjsip may still count
        self.calls: dict[str, HostCall] = {}
        self.ended_calls: list[HostCall] = []
        self.uninvited: list[HostCall] = []  # hung up by the pump: inside pjsua2's callback it can abort
        self.orphans: list[HostCall] = []
        self._free_ports: list[SoundPort] = []
        self.rate = 8000
        self._capacity = 0
        self._rtp_ports = range(0)
        self._sip_port = 0
        self._unheard: frozenset[str] = frozenset()

    def tell(self, **event: object) -> None:
        if event["event"] not in self._unheard:
            self._wire.send(event)

    def configure(self, message: Message) -> None:
        if not message.get("hears_all"):  # a Worker of a version before, upgraded under its feet: it kills us for them
            self._unheard = _LATER
        self.rate = message["rate"]
        settings = pj.EpConfig()
        settings.logConfig.consoleLevel = 0
        settings.logConfig.level = 0
        settings.uaConfig.threadCnt = 0
        settings.uaConfig.userAgent = "Teletrunk"
        settings.medConfig.clockRate = settings.medConfig.sndClockRate = self.rate
        settings.medConfig.audioFramePtime = SIP_FRAME_MS
        settings.medConfig.noVad = True
        settings.medConfig.ecTailLen = 0
        capacity = min(message["max_calls"], settings.uaConfig.maxCalls)
        settings.uaConfig.maxCalls = self._capacity = capacity
        self._endpoint.libCreate()
        self._endpoint.libInit(settings)
        transport = pj.TransportConfig()
        transport.boundAddress, transport.port = "127.0.0.1", 0
        identifier = self._endpoint.transportCreate(pj.PJSIP_TRANSPORT_UDP, transport)
        self._endpoint.libStart()
        self._clock = BridgeClock(self._endpoint, self.rate)
        for codec in self._endpoint.codecEnum2():
            self._endpoint.codecSetPriority(codec.codecId, _PRIORITIES.get(codec.codecId, 0))
        self._sip_port = int(self._endpoint.transportGetInfo(identifier).localName.rsplit(":", 1)[1])
        self._open_account(message)
        self._waker.port = self._sip_port
        self._waker.start()
        self.tell(event="ready", port=self._sip_port, capacity=capacity, rate=self.rate)

    def _open_account(self, message: Message) -> None:
        account = pj.AccountConfig()
        account.idUri = "sip:teletrunk@127.0.0.1"
        account.sipConfig.proxies.append(f"sip:127.0.0.1:{message['edge_port']};lr")
        # A PBX's challenge is answered at the edge; with these the stack repeats its request (relay/challenges.py).
        account.sipConfig.authCreds.append(pj.AuthCredInfo("digest", "*", "teletrunk", 0, "-"))
        address = message["public_address"]
        if ":" in address:
            address = f"[{address}]"
        account.sipConfig.contactForced = f"<sip:{address}:{message['public_port']}>"
        media = account.mediaConfig.transportConfig
        media.port, media.portRange = message["rtp_port"], message["rtp_ports"] - 1
        media.randomizePort = True
        self._rtp_ports = range(message["rtp_port"], message["rtp_port"] + message["rtp_ports"])
        media.boundAddress = message["rtp_address"]
        # A Worker of the version before, upgraded under its feet, starts this host and does not say where sound goes.
        media.publicAddress = message.get("media_address", message["public_address"])
        account.mediaConfig.streamKaEnabled = False
        # Either way: what a trunk allows is what the edge lets each side see. DTLS would be a handshake in the call.
        account.mediaConfig.srtpUse = pj.PJMEDIA_SRTP_OPTIONAL
        account.mediaConfig.srtpSecureSignaling = 0
        account.mediaConfig.srtpOpt.keyings = pj.IntVector([pj.PJMEDIA_SRTP_KEYING_SDES])
        # No re-INVITE of ours when an answer names two codecs: one that is under way when the call ends comes back to
        # whatever call has its slot then, and pjsua aborts.
        account.mediaConfig.lockCodecEnabled = False
        # Session timers stay passive: a PBX that asks for them gets them.
        account.callConfig.timerUse = pj.PJSUA_SIP_TIMER_OPTIONAL
        self._account = HostAccount(self)
        self._account.create(account)

    def handle(self, message: Message, descriptor: int | None) -> None:
        call_id = message.get("call", "")
        if message["command"] == "ping":
            self.tell(event="pong")
        elif message["command"] == "configure":
            self.configure(message)
        elif message["command"] == "attach" and descriptor is not None:
            self._attach(call_id, descriptor, message)
        elif message["command"] == "dial":
            self._dial(message)
        elif call := self.calls.get(call_id):
            self._act(call, message)

    def _attach(self, call_id: str, descriptor: int, message: Message) -> None:
        rings = RingPair(descriptor)
        rings.close()  # the mapping stays
        if call := self.calls.get(call_id):
            hears, plays = message.get("dtmf") == "inband", message.get("hold") == "music"
            call.port.attach(rings, hears_digits=hears, plays_music=plays)
            call.peer.signals_from(message.get("peer", ""))
            call.digits.only_by(message.get("dtmf", ""))  # a Worker of the version before does not say

    def _act(self, call: HostCall, message: Message) -> None:
        parameter = pj.CallOpParam()
        try:
            if message["command"] == "ring":
                parameter.statusCode = 180
                call.answer(parameter)
            elif message["command"] == "answer":
                parameter.statusCode = 200
                call.answer(parameter)
            elif message["command"] == "detach":
                call.port.detach()
                self.tell(event="detached", call=call.call_id)
            elif message["command"] == "press":
                call.keys.press(message["digits"], message["by"])
            elif message["command"] == "notify":
                notify(call, message["event"], message["status"], message["phrase"])
            elif message["command"] == "hangup":
                call.hung_up_by_us = True
                call.measure()
                hang_up(call, message.get("status", 0), message.get("phrase", ""), message.get("headers", []))
        except pj.Error as error:
            self.tell(event="trouble", call=call.call_id, text=str(error.reason))
        except (TypeError, ValueError) as error:  # SWIG takes no text that is not UTF-8
            self.tell(event="trouble", call=call.call_id, text=type(error).__name__)

    def _dial(self, message: Message) -> None:
        assert self._account is not None
        call = HostCall(self, self._account, message["call"])
        self.calls[call.call_id] = call
        parameter = pj.CallOpParam(True)
        parameter.opt.audioCount, parameter.opt.videoCount = 1, 0
        parameter.txOption.localUri = message["caller"]
        try:
            add_headers(parameter, [[CALL_HEADER, call.call_id], *message.get("headers", [])])
            call.makeCall(message["uri"], parameter)
            self.shut_out_strangers()
        except pj.Error as error:
            self._undialled(call, "refused" if error.status == _TOO_MANY else "undialled", str(error.reason))
        except (TypeError, ValueError) as error:  # SWIG takes no text that is not UTF-8
            self._undialled(call, "undialled", type(error).__name__)

    def _undialled(self, call: HostCall, event: str, why: str) -> None:
        if self.calls.pop(call.call_id, None) is not None:  # else pjsua has told its end already
            self.ended_calls.append(call)
            self.tell(event=event, call=call.call_id, why=why, ending=self._ending_with_one_more())

    def shut_out_strangers(self) -> None:
        """From the sockets of a call that has just got them."""
        shut_out_everybody(self._rtp_ports, [call.peer for call in self.calls.values()], self._sip_port)

    def ended(self, call: HostCall, status: int, phrase: str) -> None:
        """The dialog is over. The object lives on until the pump is out of pjsua2's callback."""
        call.peer.close()
        if self.calls.pop(call.call_id, None):
            self._tell_digits(call)
            self._tell_ended(call, status, phrase)
            self.ended_calls.append(call)

    def _tell_ended(self, call: HostCall, status: int, phrase: str) -> None:
        """Together with the places that are not free yet: between two messages a new call might be put there."""
        self.tell(
            event="ended",
            call=call.call_id,
            status=status,
            phrase=phrase,
            by_us=call.hung_up_by_us,
            stats={name: figure for name, figure in call.last_stats.items() if name not in self._unheard},
            ending=self._ending_with_one_more(),
        )

    def _ending_with_one_more(self) -> int:
        """The places that are not free, now that a call has ended or could not begin: its sockets rest."""
        self._resting.append(time.monotonic())
        self._ending = self._places_of_ended()
        return self._ending

    def _places_of_ended(self) -> int:
        """pjsua keeps a place until the peer has answered that it is over, or has not for half a minute."""
        rested = time.monotonic() - _SOCKETS_REST_S
        while self._resting and self._resting[0] < rested:
            self._resting.popleft()
        too_many = len(self._resting) + self._capacity - _MOST_RESTING
        return max(0, _occupied_places() - len(self.calls), too_many)

    def free_port(self) -> SoundPort:
        """Ports are used again and never destroyed: this pjsua2 leaks the place of each that is, and has 254."""
        return self._free_ports.pop() if self._free_ports else SoundPort(self.rate)

    def run(self) -> None:
        """Pumps SIP, commands and sound until the control process is gone."""
        try:
            while self._account is None:
                select.select([self._wire.socket], [], [])
                self._obey()
            while True:
                something = self._pump()
                if self._waker.called:
                    self._waker.rest()
                    self._obey()
                    something = True
                now = time.monotonic()
                self._clock.tick(now)
                if something or now - self._tidied_at > _TIDY_EVERY_S:
                    self._tidied_at = now
                    self._tidy()
        except PeerGone:
            self._hang_up_everything()

    def _obey(self) -> None:
        while received := self._wire.receive():
            self.handle(*received)

    def _pump(self) -> bool:
        """Waits for SIP, or for the next tick of sound. Whether there was SIP."""
        left = self._clock.left(time.monotonic())
        wait_ms = _PUMP_MS if left is None else math.ceil(left * 1000)
        return bool(self._endpoint.libHandleEvents(wait_ms))

    def _tidy(self) -> None:
        for call in self.uninvited:
            hang_up(call, 403, "Calls come through the edge", [])
            self.ended_calls.append(call)
        self.uninvited.clear()
        if self._ending != (ending := self._places_of_ended()):
            self._ending = ending
            self.tell(event="ending", places=ending)
        for call in self.ended_calls:
            call.port.clear()
            self._free_ports.append(call.port)
        self.orphans += self.ended_calls
        self.ended_calls.clear()
        # pjsua2's destructor hangs up whatever call has its slot, and a slot is used again at once: an ended
        # call may only be destroyed while its slot is free.
        self.orphans = [call for call in self.orphans if call.isActive()]
        if self.calls or self._resting:  # the bridge forgets a call's port with a tick
            self._clock.run(time.monotonic())
        else:
            self._clock.rest()
        self._look_at(list(self.calls.values()))

    def _look_at(self, calls: list[HostCall]) -> None:
        for call in calls:
            self._tell_digits(call)
            call.keys.go_on()
            call.refresh.go_on()
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_EVERY_S:
            self._looked_at = now
            for call in calls:
                call.watch_peer()
        if now - self._measured_at >= _STATS_EVERY_S:
            self._measured_at = now
            self._measure(calls)

    def _measure(self, calls: list[HostCall]) -> None:
        for call in calls:
            if call.answered and not call.hung_up_by_us:
                call.measure()
                if call.silent:
                    self.tell(event="silent", call=call.call_id)

    def _tell_digits(self, call: HostCall) -> None:
        for digit in call.digits.taken():
            self.tell(event="digit", call=call.call_id, digit=digit, by=call.digits.method)

    def _hang_up_everything(self) -> None:
        """Control died: no call can be steered any more. Say BYE and leave."""
        if self._account is None:
            return
        for call in list(self.calls.values()):
            hang_up(call, 503, "Worker is restarting", [])
        for _ in range(20):
            self._endpoint.libHandleEvents(_SHORT_PUMP_MS)


def main() -> None:
    before_others()
    jail.enter(jail.SIP)
    sys.setswitchinterval(0.0005)  # nor does pjsua's thread wait 5 ms for this one when a key comes by RTP
    host = SipHost(Wire.inherited(int(sys.argv[1])))
    gc.freeze()
    try:
        host.run()
    finally:
        sys.stdout.flush()
        os._exit(0)  # pjsua2's orderly end takes a second and may assert


if __name__ == "__main__":
    main()
