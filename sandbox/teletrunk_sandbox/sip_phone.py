"""A SIP phone on pjsua2, in a process of its own: registers, calls, answers, plays tones, records."""

from __future__ import annotations

import ctypes
import json
import os
import re
import select
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pjsua2 as pj
from teletrunk.native_thread import keep_thread_state

from teletrunk_sandbox import ports
from teletrunk_sandbox.actors import Message, emit
from teletrunk_sandbox.sound import Recording, tone

_FRAME_MS = 20
_RTP_PORTS = 32  # four calls need eight; the rest lets used ports rest
_PLACES = 4  # what the stock wheel carries at once
_PLACE_S = 25.0  # so long a call waits for one
_KEPT = 16  # of so many ended calls the sound is still known
_pointer = ctypes.c_void_p
_pjsua = ctypes.CDLL(str(next(Path(pj.__file__).parent.glob("_pjsua2*.so"))))  # the library that is loaded already
_pjsua.pjsua_call_get_count.restype = ctypes.c_uint
_SHOWN_HEADERS = re.compile(r"^(Reason|Warning|Retry-After):\s*(.+?)\s*$", re.MULTILINE | re.IGNORECASE)


def _vector(vector: Any) -> tuple[int, int]:
    fields = ctypes.cast(int(vector.this), ctypes.POINTER(_pointer))
    begin, end = fields[0] or 0, fields[1] or 0
    return begin, end - begin


class Talk:
    """What one call's phone says and hears."""

    def __init__(self, play: Message | None, rate: int) -> None:
        self._play = play
        self._rate, self._frame = rate, rate * _FRAME_MS // 1000
        self._played = 0
        self._started_at = time.time()
        self.play_started_at: float | None = None
        self.recording = Recording(rate)

    def next_frame(self) -> bytes:
        """The tone, once its time has come, and silence before."""
        if self._play is None or time.time() - self._started_at < self._play.get("after_s", 0.5):
            return bytes(self._frame * 2)
        self.play_started_at = self.play_started_at or time.time()
        pcm = tone(self._play["hz"], self._played, self._frame, self._rate, self._play.get("level", 0.25))
        self._played += self._frame
        return pcm


class PhonePort(pj.AudioMediaPort):  # type: ignore[misc]
    """A place in the bridge, for one call after the other: pjsua has 254, and this build gives none back."""

    def __init__(self, rate: int) -> None:
        super().__init__()
        self.talk: Talk | None = None
        self._silence = bytes(rate * _FRAME_MS // 1000 * 2)
        layout = pj.MediaFormatAudio()
        layout.init(pj.PJMEDIA_FORMAT_PCM, rate, 1, _FRAME_MS * 1000, 16)
        self.createPort("phone", layout)

    def onFrameReceived(self, frame: Any) -> None:
        keep_thread_state()
        address, count = _vector(frame.buf)
        if count and (talk := self.talk):
            talk.recording.add(ctypes.string_at(address, count), time.time())

    def onFrameRequested(self, frame: Any) -> None:
        keep_thread_state()
        talk = self.talk
        pcm = talk.next_frame() if talk else self._silence
        if frame.buf.size() != len(pcm):
            frame.buf.resize(len(pcm))
        ctypes.memmove(_vector(frame.buf)[0], pcm, len(pcm))
        frame.type = pj.PJMEDIA_FRAME_TYPE_AUDIO
        frame.size = len(pcm)


class PhoneCall(pj.Call):  # type: ignore[misc]
    def __init__(self, phone: Phone, number: int, play: Message | None, pjsua_id: int = pj.PJSUA_INVALID_ID) -> None:
        super().__init__(phone.account, pjsua_id)
        self.phone = phone
        self.number = number
        self.play = play
        self.port: PhonePort | None = None
        self.talk: Talk | None = None
        self.headers: dict[str, list[str]] = {}
        self.codec = ""
        self.farewell = ""  # how it ended

    def onCallTsxState(self, prm: Any) -> None:
        event = prm.e  # kept: its members are freed with it
        state = event.body.tsxState
        if event.type == pj.PJSIP_EVENT_TSX_STATE and state.type == pj.PJSIP_EVENT_RX_MSG:
            for name, value in _SHOWN_HEADERS.findall(state.src.rdata.wholeMsg):
                values = self.headers.setdefault(name, [])
                if value not in values:
                    values.append(value)

    def onCallState(self, prm: Any) -> None:
        info = self.getInfo()
        status, phrase = int(info.lastStatusCode), str(info.lastReason)
        if info.state == pj.PJSIP_INV_STATE_EARLY:
            emit("progress", call=self.number, status=status, phrase=phrase)
        elif info.state == pj.PJSIP_INV_STATE_CONFIRMED:
            emit("established", call=self.number, codec=self.codec)
        elif info.state == pj.PJSIP_INV_STATE_DISCONNECTED:
            self.phone.live.pop(self.number, None)
            self.farewell = f"{status} {phrase}"
            # Told from the pump: the transaction's callback, which brings the headers, may come after this one.
            self.phone.ended.append((self, status, phrase))

    def onCallMediaState(self, prm: Any) -> None:
        info = self.getInfo()
        if not len(info.media) or info.media[0].status != pj.PJSUA_CALL_MEDIA_ACTIVE:
            return
        if self.port is None:
            self.codec = str(self.getStreamInfo(0).codecName)
            self.talk = Talk(self.play, self.phone.rate)
            self.port = self.phone.ports.pop() if self.phone.ports else PhonePort(self.phone.rate)
            self.port.talk = self.talk
        sound = self.getAudioMedia(0)  # another one after each re-INVITE
        self.port.startTransmit(sound)
        sound.startTransmit(self.port)


class PhoneAccount(pj.Account):  # type: ignore[misc]
    def __init__(self, phone: Phone) -> None:
        super().__init__()
        self.phone = phone

    def onRegState(self, prm: Any) -> None:
        emit("registration", status=int(prm.code), phrase=str(prm.reason), expires=int(prm.expiration))

    def onIncomingCall(self, prm: Any) -> None:
        self.phone.incoming(prm)


class Phone:
    """Commands and calls. One thread does everything but the sound."""

    def __init__(self, address: str, rate: int, *, adaptive: bool = False) -> None:
        """`address` is its own, for SIP and for sound; `rate` is that of its sound. `adaptive`: its jitter buffer holds
        as little back as it can, as pjsua's own default is, and not 40 ms at least, which bears a busy machine.
        """
        self.address, self.rate = address, rate
        self.endpoint = pj.Endpoint()
        self.account: Any = None
        self.calls: dict[int, PhoneCall] = {}
        self.live: dict[int, PhoneCall] = {}
        self.server = ""
        self.behaviour: Message = {"on_call": "answer"}
        self.ports: list[PhonePort] = []
        self._due: list[tuple[float, int, int]] = []
        self.ended: list[tuple[PhoneCall, int, str]] = []
        self._start(adaptive)

    def _start(self, adaptive: bool) -> None:
        settings = pj.EpConfig()
        settings.logConfig.consoleLevel = settings.logConfig.level = 0
        settings.uaConfig.threadCnt = 0
        settings.uaConfig.userAgent = "sandbox-phone"
        settings.medConfig.clockRate = settings.medConfig.sndClockRate = self.rate
        settings.medConfig.noVad = True
        settings.medConfig.ecTailLen = 0
        if not adaptive:
            settings.medConfig.jbInit, settings.medConfig.jbMinPre, settings.medConfig.jbMaxPre = 40, 40, 80
        self.endpoint.libCreate()
        self.endpoint.libInit(settings)
        transport = pj.TransportConfig()
        transport.boundAddress = self.address
        self.endpoint.transportCreate(pj.PJSIP_TRANSPORT_UDP, transport)
        self.endpoint.transportCreate(pj.PJSIP_TRANSPORT_TCP, transport)
        self.endpoint.libStart()
        self.endpoint.audDevManager().setNullDev()

    def codecs(self, names: list[str]) -> Message:
        for codec in self.endpoint.codecEnum2():
            name = codec.codecId.split("/")[0]
            self.endpoint.codecSetPriority(codec.codecId, 250 - names.index(name) if name in names else 0)
        return {}

    def register(self, server: str, login: str, password: str, transport: str = "udp") -> Message:
        self.codecs(["PCMA", "PCMU"])
        self.server = f"{server};transport={transport}"
        config = pj.AccountConfig()
        config.idUri = f"sip:{login}@{server}"
        config.regConfig.registrarUri = f"sip:{self.server}"
        config.regConfig.retryIntervalSec = 0
        config.sipConfig.authCreds.append(pj.AuthCredInfo("digest", "*", login, 0, password))
        media = config.mediaConfig.transportConfig
        media.boundAddress = media.publicAddress = self.address
        media.port, media.portRange = ports.hold(_RTP_PORTS), _RTP_PORTS - 1
        self.account, self.config = PhoneAccount(self), config
        self.account.create(config)
        return {}

    def srtp(self, use: str) -> Message:
        """`off`, `optional` or `required`, over whatever signalling; from the next call on."""
        self.config.mediaConfig.srtpUse = ("off", "optional", "required").index(use)
        self.config.mediaConfig.srtpSecureSignaling = 0
        self.account.modify(self.config)
        return {}

    def register_again(self) -> Message:
        self.account.setRegistration(True)
        return {}

    def behave(self, **behaviour: Any) -> Message:
        self.behaviour = behaviour
        return {}

    def must_wait(self, command: str) -> bool:
        """Whether a call has no place only because of one that is ending: pjsua tells the end when it sends the BYE,
        and gives the place back when that is answered, or after 32 s."""
        return command == "call" and len(self.live) < _PLACES <= int(_pjsua.pjsua_call_get_count())

    def call(self, to: str, play: Message | None = None) -> Message:
        number = len(self.calls) + 1
        call = self.calls[number] = self.live[number] = PhoneCall(self, number, play)
        call.makeCall(f"sip:{quote(to, safe='+')}@{self.server}", pj.CallOpParam(True))
        return {"call": number}

    def incoming(self, prm: Any) -> None:
        number = len(self.calls) + 1
        call = self.calls[number] = self.live[number] = PhoneCall(self, number, self.behaviour.get("play"), prm.callId)
        emit("incoming", call=number, caller=str(call.getInfo().remoteUri))
        status = {"answer": 200, "busy": 486, "decline": 603}.get(self.behaviour["on_call"])
        self._answer(number, 180)
        if status is not None:
            self._due.append((time.monotonic() + self.behaviour.get("delay_s", 0.0), number, status))

    def _answer(self, number: int, status: int) -> None:
        if call := self.live.get(number):
            parameter = pj.CallOpParam()
            parameter.statusCode = status
            call.answer(parameter)

    def hangup(self, call: int) -> Message:
        told = self.calls[call]
        if told.farewell:
            raise ValueError(f"call {call} has ended before: {told.farewell}, {told.headers}")
        told.hangup(pj.CallOpParam())
        return {}

    def hold(self, call: int) -> Message:
        self.calls[call].setHold(pj.CallOpParam(True))
        return {}

    def resume(self, call: int) -> Message:
        parameter = pj.CallOpParam(True)
        parameter.opt.flag = pj.PJSUA_CALL_UNHOLD
        self.calls[call].reinvite(parameter)
        return {}

    def heard(self, call: int, skip_s: float = 0.5, last_s: float | None = None, save: str | None = None) -> Message:
        talk = self.calls[call].talk
        if talk is None:
            raise ValueError("the call had no sound, or ended long ago")
        if save:
            talk.recording.save(Path(save))
        return {**talk.recording.report(skip_s, last_s), "play_started_at": talk.play_started_at}

    def held_back(self, call: int) -> Message:
        """How long what it hears waits in its own jitter buffer, of a call that is up."""
        return {"ms": int(self.calls[call].getStreamStat(0).jbuf.avgDelayMsec)}

    def dialogs(self) -> Message:
        """The calls that have not ended here."""
        return {"calls": sorted(self.live)}

    def _clear(self, call: PhoneCall) -> None:
        if call.port:
            call.port.talk = None
            self.ports.append(call.port)
            call.port = None
        if old := self.calls.get(call.number - _KEPT):
            old.talk = old.talk if old.number in self.live else None

    def pump(self) -> None:
        self.endpoint.libHandleEvents(10)
        ended, self.ended = self.ended, []
        for call, status, phrase in ended:
            self._clear(call)
            emit("ended", call=call.number, status=status, phrase=phrase, headers=call.headers)
        now = time.monotonic()
        ready = [item for item in self._due if item[0] <= now]
        self._due = [item for item in self._due if item[0] > now]
        for _, number, status in ready:
            self._answer(number, status)


def run(address: str, rate: int, *, adaptive: bool) -> None:
    """Takes commands from standard input until `quit` or its end."""
    sys.setswitchinterval(0.0005)
    # pjsip prints to descriptor 1 before its log settings apply: events get a descriptor of their own.
    sys.stdout = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    phone = Phone(address, rate, adaptive=adaptive)
    pending = b""
    waiting: list[tuple[float, Message]] = []
    while True:
        phone.pump()
        waiting = [(until, message) for until, message in waiting if not _carried_out(phone, until, message)]
        if not select.select([0], [], [], 0)[0]:
            continue
        chunk = os.read(0, 65_536)
        *lines, pending = (pending + chunk).split(b"\n")
        waiting += [(time.monotonic() + _PLACE_S, json.loads(line)) for line in lines]
        if not chunk:
            os._exit(0)


def _carried_out(phone: Phone, until: float, message: Message) -> bool:
    """Does what was told and answers, unless it has to wait."""
    if time.monotonic() < until and phone.must_wait(message["command"]):
        return False
    number, command = message.pop("id"), message.pop("command")
    if command == "quit":
        emit("done", id=number)
        os._exit(0)
    try:
        emit("done", id=number, **getattr(phone, command)(**message))
    except Exception as error:
        reason = error.info() if isinstance(error, pj.Error) else error  # pj.Error has no text of its own
        emit("failed", id=number, error=f"{type(error).__name__}: {reason}")
    return True
