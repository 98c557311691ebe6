"""sipp, which goes by its scenario and by route sets as they stand, and sends back what it hears (-rtp_echo)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from teletrunk.v1 import admin_pb2
from teletrunk_sandbox import ports

from .conftest import FRIEND, GATEWAY, Site, needs
from .peer import NEAR_HZ, TELEGRAM_HZ, Ear, is_silent

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

_PATIENCE_S = 30.0
_MINE = "<sip:{login}@[local_ip]:[local_port]>"
_TAG = ";tag=[pid]x[call_number]"
_SDP = """v=0
o=sipp 1 {version} IN IP4 [local_ip]
s=-
c=IN IP4 [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 8
a=rtpmap:8 PCMA/8000
a={direction}
"""
_SILENT_S, _TALK_S = 6_000, 6_000  # in milliseconds: long enough to be noticed


def request(line: str, cseq: str, *more: str, to: str, sender: str = _MINE + _TAG, body: str = "") -> str:
    head = [
        f"{line} SIP/2.0",
        "Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]",
        f"From: {sender}",
        f"To: {to}",
        "Call-ID: [call_id]",
        f"CSeq: {cseq}",
        f"Contact: {_MINE}",
        "Max-Forwards: 70",
        *more,
        *(["Content-Type: application/sdp"] if body else []),
        "Content-Length: [len]",
    ]
    return _send("\n".join(head) + "\n\n" + body, again=not line.startswith("ACK"))


def answer(status: str, *more: str, body: str = "", tag: str = _TAG) -> str:
    kept = ["[last_Via:]", "[last_Record-Route:]", "[last_From:]", f"[last_To:]{tag}", "[last_Call-ID:]",
            "[last_CSeq:]"]  # fmt: skip
    head = [f"SIP/2.0 {status}", *kept, f"Contact: {_MINE}", *more, "Content-Length: [len]"]
    return _send("\n".join(head) + "\n\n" + body, again=bool(body))


def _send(text: str, *, again: bool) -> str:
    repeated = ' retrans="500"' if again else ""
    return f"<send{repeated}><![CDATA[\n\n{text}\n]]></send>"


def _recv(status: int, *, optional: bool = False, more: str = "") -> str:
    may_miss = ' optional="true"' if optional else ""
    return f'<recv response="{status}"{may_miss}{more}/>'


def scenario(*steps: str, login: str = "", password: str = "") -> str:
    text = '<?xml version="1.0"?>\n<scenario name="x">\n' + "\n".join(steps) + "\n</scenario>\n"
    return text.replace("{login}", login).replace("{password}", password)


_AUTHENTICATION = "[authentication username={login} password={password}]"
REGISTER = [
    request("REGISTER sip:[remote_ip]:[remote_port]", "1 REGISTER", "Expires: 300", to=_MINE),
    _recv(401, more=' auth="true"'),
    request("REGISTER sip:[remote_ip]:[remote_port]", "2 REGISTER", "Expires: 300", _AUTHENTICATION, to=_MINE),
    _recv(200),
]
_CALLED = f"sip:{FRIEND[1:]}@[remote_ip]:[remote_port]"
_OFFER = _SDP.format(version=1, direction="sendrecv")
_LATER = {"to": f"<{_CALLED}>[peer_tag_param]"}
_RING_AND_ANSWER = [
    _recv(100, optional=True),
    _recv(180, optional=True),
    _recv(183, optional=True),
    _recv(200, more=' rrs="true"'),
]
CALL = [
    request(f"INVITE {_CALLED}", "1 INVITE", to=f"<{_CALLED}>", body=_OFFER),
    _recv(100, optional=True),
    _recv(401, more=' auth="true"'),
    request(f"ACK {_CALLED}", "1 ACK", **_LATER),
    request(f"INVITE {_CALLED}", "2 INVITE", _AUTHENTICATION, to=f"<{_CALLED}>", body=_OFFER),
    *_RING_AND_ANSWER,
    request("ACK [next_url]", "2 ACK", "[routes]", **_LATER),
]
HANG_UP = [request("BYE [next_url]", "9 BYE", "[routes]", **_LATER), _recv(200)]
IS_HUNG_UP = ['<recv request="BYE"/>', answer("200 OK", tag="")]


def offer_again(cseq: int, direction: str) -> list[str]:
    body = _SDP.format(version=cseq, direction=direction)
    return [
        request("INVITE [next_url]", f"{cseq} INVITE", "[routes]", **_LATER, body=body),
        _recv(100, optional=True),
        _recv(200),
        request("ACK [next_url]", f"{cseq} ACK", "[routes]", **_LATER),
    ]


HOLD = [
    f'<pause milliseconds="{_TALK_S}"/>',
    *offer_again(3, "sendonly"),
    f'<pause milliseconds="{_SILENT_S}"/>',
    *offer_again(4, "sendrecv"),
    f'<pause milliseconds="{_TALK_S}"/>',
]
IS_CALLED = [
    '<recv request="INVITE" rrs="true"><action>'
    '<ereg regexp=".*" search_in="hdr" header="From:" assign_to="them"/></action></recv>',
    answer("180 Ringing"),
    answer("200 OK", "Content-Type: application/sdp", body=_OFFER),
    '<recv request="ACK"/>',
    '<Reference variables="them"/>',  # it bears none that is used once
]
HANG_UP_CALLED = [
    f'<pause milliseconds="{_TALK_S}"/>',
    request("BYE [next_url]", "1 BYE", "[routes]", to="[$them]"),
    _recv(200),
]


class Sipp:
    """One address that is registered at the trunk."""

    def __init__(self, site: Site, trunk: admin_pb2.AddTrunkResponse, directory: Path) -> None:
        self._site = site
        self._trunk = trunk
        self._directory = directory
        self._port, self._media = ports.hold(), ports.hold(4)

    async def start(self, *steps: str, called: str = "") -> asyncio.subprocess.Process:
        """Begins a scenario; `called` is the user whom its digest is for."""
        file = self._directory / "scenario.xml"
        file.write_text(scenario(*steps, login=self._trunk.trunk.login, password=self._trunk.password))
        host, port = self._site.sip
        process = await asyncio.create_subprocess_exec(
            "sipp", f"{host}:{port}", "-sf", str(file), "-m", "1", "-i", host, "-p", str(self._port), "-mi", host,
            "-mp", str(self._media), "-rtp_echo", "-nostdin",
            "-auth_uri", f"{called}{'@' if called else ''}{host}:{port}", "-timeout", "60", "-timeout_error",
            "-trace_err", "-error_file", str(self._directory / "errors"),
            "-trace_msg", "-message_file", str(self._directory / "messages"),
            cwd=self._directory, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        while process.returncode is None and not self._listens():
            await asyncio.sleep(0.05)
        return process

    def _listens(self) -> bool:
        return any(f":{self._port:04X} " in line for line in Path("/proc/net/udp").read_text().splitlines())

    async def ends(self, process: asyncio.subprocess.Process) -> None:
        """Everything went as the scenario has it."""
        status = await asyncio.wait_for(process.wait(), _PATIENCE_S)
        assert status == 0, "\n".join(file.read_text()[-4_000:] for file in self._directory.glob("[em]*s"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sipp(site: Site, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sipp]:
    needs("sipp", "sip-tester")
    found = Sipp(site, await site.trunk(), tmp_path_factory.mktemp("sipp"))
    await found.ends(await found.start(*REGISTER))
    yield found


async def comes_back(site: Site) -> None:
    """Telegram's tone went all the way to sipp and back."""
    heard = await Ear(site.friends, phone=FRIEND).hear(2.5)
    assert heard["hz"] == pytest.approx(TELEGRAM_HZ, abs=NEAR_HZ)


async def hung_up(site: Site, by: str) -> None:
    if by == "pbx":
        await site.friends.wait("ended", phone=FRIEND, by="peer")
    else:
        await site.friends.tell("hangup", phone=FRIEND)
    record = await site.record()
    assert (record.sip_status, record.ended_by) == (200, by)


@pytest.mark.parametrize("ends", ["pbx", "telegram"])
async def test_it_calls_telegram(site: Site, sipp: Sipp, ends: str) -> None:
    await site.friends.tell("behave", phone=FRIEND, on_call="answer", play={"hz": TELEGRAM_HZ})
    steps = [f'<pause milliseconds="{_TALK_S}"/>', *HANG_UP] if ends == "pbx" else IS_HUNG_UP
    process = await sipp.start(*CALL, *steps, called=FRIEND[1:])
    await site.friends.wait("connected", phone=FRIEND)
    await comes_back(site)
    await hung_up(site, ends)
    await sipp.ends(process)


@pytest.mark.parametrize("ends", ["pbx", "telegram"])
async def test_telegram_calls_it(site: Site, sipp: Sipp, ends: str) -> None:
    process = await sipp.start(*IS_CALLED, *(HANG_UP_CALLED if ends == "pbx" else IS_HUNG_UP))
    await site.friends.tell("call", phone=FRIEND, to=GATEWAY, play={"hz": TELEGRAM_HZ})
    await site.friends.wait("connected", phone=FRIEND)
    await comes_back(site)
    await hung_up(site, ends)
    await sipp.ends(process)


async def test_hold_and_resume(site: Site, sipp: Sipp) -> None:
    """While it holds the call it is sent nothing, and so has nothing to send back."""
    await site.friends.tell("behave", phone=FRIEND, on_call="answer", play={"hz": TELEGRAM_HZ})
    process = await sipp.start(*CALL, *HOLD, *HANG_UP, called=FRIEND[1:])
    await site.friends.wait("connected", phone=FRIEND)
    await comes_back(site)
    ear = Ear(site.friends, phone=FRIEND)
    for held in (True, False):
        async with asyncio.timeout(_PATIENCE_S):
            while is_silent(await ear.hear(1.2)) is not held:
                pass
    await comes_back(site)
    await hung_up(site, "pbx")
    await sipp.ends(process)
