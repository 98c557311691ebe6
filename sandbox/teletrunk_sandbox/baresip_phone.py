"""A baresip behind the same commands as the pjsua2 phone: a SIP stack that shares no line with the gateway's.

baresip plays a tone from a file (`aufile`), writes what it sends and hears into files (`sndfile`), and is steered
over its control port (`ctrl_tcp`: JSON in netstrings).
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from teletrunk_sandbox import ports, sound
from teletrunk_sandbox.actors import Message, emit

_MODULES = Path("/usr/lib/baresip/modules")
_NEEDED = ("account", "aubridge", "aufile", "ctrl_tcp", "g711", "g722", "menu", "sndfile", "srtp")
_CONNECT_S = 10.0
_RATE = 8000
_TONE_S = 300
_CONFIG = """\
sip_listen 127.0.0.1:0
call_max_calls 4
audio_player aubridge,nil
audio_alert aubridge,nil
audio_source aufile,{tone}
auplay_srate 8000
ausrc_srate 8000
jitter_buffer_delay 2-5
net_interface 127.0.0.1
module_path {modules}
snd_path {sounds}
ctrl_tcp_listen 127.0.0.1:{control}
{loaded}
"""


def installed() -> bool:
    """Whether this machine has a baresip with the modules that the phone needs (Debian: baresip-core)."""
    return shutil.which("baresip") is not None and all((_MODULES / f"{name}.so").exists() for name in _NEEDED)


class BaresipPhone:
    """One baresip with one account and one call at a time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._sounds = directory / "sounds"
        self._sounds.mkdir()
        self._behaviour: Message = {"on_call": "answer"}
        self._calls = 0
        self._server = ""
        self._began = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(
        self, login: str, password: str, server: str, transport: str, hz: float, codecs: str, srtp: bool = False
    ) -> None:
        """With `srtp` there is no sound without."""
        self._server = f"{server};transport={transport}"
        control = ports.hold()
        loaded = "\n".join(f"module {name}.so" for name in _NEEDED if name not in ("account", "ctrl_tcp", "menu"))
        loaded += "\nmodule_app account.so\nmodule_app menu.so\nmodule_app ctrl_tcp.so"
        config = _CONFIG.format(
            tone=self._tone(hz), modules=_MODULES, sounds=self._sounds, control=control, loaded=loaded
        )
        (self._directory / "config").write_text(config)
        (self._directory / "accounts").write_text("# made once we listen, so that no event is missed\n")
        self._process = await asyncio.create_subprocess_exec(
            "baresip", "-4", "-f", str(self._directory), stdin=asyncio.subprocess.DEVNULL, stdout=sys.stderr
        )
        async with asyncio.timeout(_CONNECT_S):
            while True:
                try:
                    reader, self._writer = await asyncio.open_connection("127.0.0.1", control)
                    break
                except ConnectionError:
                    if self._process.returncode is not None:
                        raise RuntimeError("baresip did not start") from None
                    await asyncio.sleep(0.05)
        self._spawn(self._listen(reader))
        self._command(
            "uanew",
            f"<sip:{login}@{self._server}>;auth_user={login};auth_pass={password};regint=300;audio_codecs={codecs}"
            + (";mediaenc=srtp-mand" if srtp else ""),
        )

    def _tone(self, hz: float) -> Path:
        """Half a second of silence, whose end shows when the tone began, then the tone."""
        path = self._directory / "tone.wav"
        recording = sound.Recording(_RATE)
        recording.add(bytes(_RATE), 0.0)
        for second in range(_TONE_S):
            recording.add(sound.tone(hz, second * _RATE, _RATE, _RATE), 0.0)
        recording.save(path)
        return path

    async def stop(self) -> None:
        self._process.terminate()
        await self._process.wait()

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _command(self, command: str, parameters: str = "") -> None:
        text = json.dumps({"command": command, "params": parameters})
        self._writer.write(f"{len(text)}:{text},".encode())

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while True:
            try:
                length = await reader.readuntil(b":")
            except asyncio.IncompleteReadError:
                return
            message = json.loads((await reader.readexactly(int(length[:-1]) + 1))[:-1])
            if message.get("event"):
                self._on_event(message)

    def _on_event(self, event: Message) -> None:
        kind, text = event["type"], str(event.get("param", ""))
        if kind in ("REGISTER_OK", "REGISTER_FAIL"):
            code = text.split()[0] if text else "0"
            status = int(code) if code.isdigit() else 0
            emit("registration", status=status or (200 if kind == "REGISTER_OK" else 408), phrase=text)
        elif kind == "CALL_INCOMING":
            self._begin()
            emit("incoming", call=self._calls, caller=str(event.get("peeruri", "")))
            self._spawn(self._react())
        elif kind in ("CALL_RINGING", "CALL_PROGRESS") and event.get("direction") == "outgoing":
            emit("progress", call=self._calls, status=180, phrase=text)
        elif kind == "CALL_ESTABLISHED":
            emit("established", call=self._calls, codec="")
        elif kind == "CALL_CLOSED":
            code = text.split()[0] if text else ""
            emit("ended", call=self._calls, status=int(code) if code.isdigit() else 0, phrase=text)

    def _begin(self) -> None:
        self._calls += 1
        self._began = time.time()

    async def _react(self) -> None:
        await asyncio.sleep(self._behaviour.get("delay_s", 0.0))
        self._command("accept" if self._behaviour["on_call"] == "answer" else "hangup")

    # Commands.

    async def behave(self, **behaviour: Any) -> Message:
        self._behaviour = behaviour
        return {}

    async def call(self, to: str, **_: Any) -> Message:
        self._begin()
        self._command("dial", f"sip:{quote(to, safe='+')}@{self._server.partition(';')[0]}")
        return {"call": self._calls}

    async def hangup(self, **_: Any) -> Message:
        self._command("hangup")
        return {}

    async def hold(self, **_: Any) -> Message:
        self._command("hold")
        return {}

    async def resume(self, **_: Any) -> Message:
        self._command("resume")
        return {}

    async def heard(self, call: int, skip_s: float = 0.5, save: str | None = None) -> Message:
        """What the current call has heard; the files' first times stand for the first samples'."""
        recording = self._recording("dec")
        if save:
            recording.save(Path(save))
        return {**recording.report(skip_s), "play_started_at": self._recording("enc").onset_at()}

    def _recording(self, side: str) -> sound.Recording:
        """The newest file of a direction: `enc` is what was sent, `dec` what was heard."""
        files = [path for path in self._sounds.glob(f"*-{side}.wav") if path.stat().st_ctime >= self._began]
        if not files:
            raise ValueError("the call had no sound")
        return _growing(max(files, key=lambda path: path.stat().st_mtime))


def _growing(path: Path) -> sound.Recording:
    """A WAV that is still written to: its header does not know its length yet."""
    raw = path.read_bytes()
    rate = int.from_bytes(raw[24:28], "little")
    data = raw[raw.index(b"data") + 8 :]
    recording = sound.Recording(rate)
    recording.add(data[: len(data) // 2 * 2], path.stat().st_mtime - len(data) / 2 / rate)
    return recording


async def _serve(hz: float) -> None:
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    with tempfile.TemporaryDirectory(prefix="teletrunk-baresip-") as directory:
        phone = BaresipPhone(Path(directory))
        while line := await reader.readline():
            message = json.loads(line)
            number, command = message.pop("id"), message.pop("command")
            try:
                if command == "register":
                    await phone.start(hz=hz, codecs="PCMA,PCMU", **message)
                    answer: Message = {}
                elif command == "quit":
                    await phone.stop()
                    emit("done", id=number)
                    return
                else:
                    answer = await getattr(phone, command)(**message)
                emit("done", id=number, **answer)
            except Exception as error:
                emit("failed", id=number, error=f"{type(error).__name__}: {error}")


def run(hz: float) -> None:
    """Takes commands from standard input until `quit` or its end. `hz` is the tone that it plays in every call."""
    asyncio.run(_serve(hz))
