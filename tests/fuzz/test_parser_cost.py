"""What one message may cost the edge, whatever is in it: the loop that reads it carries everybody's calls.

No other process takes part. The edge has its sockets; behind it is a gate that is open, and in place of a SIP host a
socket that hears what is relayed and says nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import itertools
import random
import re
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from teletrunk.errors import Refusal
from teletrunk_worker.policy.admission import Admitted, Invite, Registered, Transfer
from teletrunk_worker.policy.bans import Bans
from teletrunk_worker.server.port import SipPort
from teletrunk_worker.sip.auth import Credentials
from teletrunk_worker.sip.transport.udp import UdpFlow

from tests.fuzz import sdp, templates
from tests.fuzz.mutations import Mutated, Mutator

TRUSTED = ipaddress.ip_network("127.0.0.9")  # never banned, and no stranger: all that it sends is read
MESSAGES, SEED = 2_000, 9
MOST_S = 0.020  # CPU of this thread: a machine that others use, too, does not count against a message
_HEAD = {
    "Via": "SIP/2.0/UDP 127.0.0.9:5062;rport;branch=z9hG4bK1",
    "From": "<sip:a@b>;tag=1",
    "To": "<sip:c@d>",
    "Call-ID": "1",
    "CSeq": "1 REGISTER",
    "Contact": "<sip:a@127.0.0.9:5062>",
}


def one(uri: str = "sip:d", method: str = "REGISTER", **headers: str) -> bytes:
    lines = {**_HEAD, "CSeq": f"1 {method}", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return templates.request(method, uri, lines)


TRAPS: dict[str, Callable[[], bytes]] = {
    "digits that are no tel URI": lambda: one(From="<tel:+" + "1" * 8_000 + "!>;tag=1"),
    "digits that are no tel URI, fewer": lambda: one(From="<tel:+" + "1" * 2_000 + "!>;tag=1"),
    "digits and parameters that are no tel URI": lambda: one(From="<tel:+" + "1" * 1_500 + ";a=b" * 375 + "!>;tag=1"),
    "local digits that are no tel URI": lambda: one(To="<tel:" + "1" * 4_000 + "!>"),
    "a tel URI as the target": lambda: one("tel:+" + "1" * 8_000 + "!"),
    "quotes that open in parameters": lambda: one(To='"x" <sip:a@b>' + ';p="<"' + '<"' * 30_000),
    "quotes that open in few parameters": lambda: one(To='"x" <sip:a@b>' + ';p="<"' + '<"' * 2_000),
    "quotes in a Contact": lambda: one(Contact='"x" <sip:a@b>' + ';p="<"' + '<"' * 2_000),
    "quotes that never close": lambda: one(From='"' + '\\"' * 15_000 + " <sip:a@b>;tag=1"),
    "names without an address": lambda: one(From="a " * 15_000 + ";tag=1"),
    "blanks": lambda: one(From="<sip:a@b>" + " " * 30_000 + ";tag=1"),
    "blanks and semicolons": lambda: one(From="<sip:a@b>" + " ; " * 10_000),
    "parameters": lambda: one(From="<sip:a@b>" + ";a" * 15_000 + ";tag=1"),
    "parameters with values": lambda: one(From="<sip:a@b>" + ';a="b"' * 9_000 + "!"),
    "parameters of a URI": lambda: one(From="<sip:a@b" + ";a=b" * 10_000 + "!>;tag=1"),
    "a host of dots": lambda: one(From="<sip:a@" + "a." * 15_000 + "!>;tag=1"),
    "a host of dashes": lambda: one(From="<sip:a@" + "a-" * 15_000 + "!>;tag=1"),
    "a host of colons": lambda: one(From="<sip:a@[" + ":" * 30_000 + ">;tag=1"),
    "a user of escapes": lambda: one(From="<sip:" + "%41" * 15_000 + ">;tag=1"),
    "a user with passwords": lambda: one(From="<sip:" + "a:" * 15_000 + "@b>;tag=1"),
    "a Via of blanks": lambda: one(Via="SIP/2.0/UDP a" + " " * 30_000 + ";branch=1!"),
    "a Via of parameters": lambda: one(Via="SIP/2.0/UDP a;branch=1" + ";a=b" * 15_000 + "!"),
    "Vias with commas": lambda: one(Via=",".join(["SIP/2.0/UDP a;branch=1"] * 2_600)),
    "Vias in rows": lambda: one().replace(b"CSeq:", b"Via: SIP/2.0/UDP a;branch=1\r\n" * 190 + b"CSeq:"),
    "commas in a Via": lambda: one(Via="SIP/2.0/UDP a;branch=1" + "," * 30_000),
    "CSeq of digits": lambda: one(CSeq="1" * 4_200 + " REGISTER"),
    "CSeq of too many digits": lambda: one(CSeq="1" * 60_000 + " REGISTER"),
    "folds": lambda: one(Subject="\r\n " * 180 + "x"),
    "headers without a name": lambda: b"OPTIONS sip:d SIP/2.0\r\n" + b":\r\n" * 199 + b"\r\n",
    "different headers": lambda: one().replace(b"CSeq:", b"".join(b"X%d: a\r\n" % n for n in range(190)) + b"CSeq:"),
    "a parameter of a name that Python has taken": lambda: one(From="<sip:a@b>;tag=1;self=1"),
    "a branch without a value": lambda: one(Via="SIP/2.0/UDP a;branch"),
    "a browser's number of many digits": lambda: one(User_Agent="baresip v" + "1" * 5_000 + ".1"),
    "a digest of commas": lambda: one(Authorization="Digest " + "," * 60_000),
    "a digest without quotes": lambda: one(Authorization="Digest a="),
    "a digest that ends in a name": lambda: one(Authorization="Digest a=b, opaque="),
    "a nonce of no letters": lambda: one(Authorization='Digest nonce="' + "é" * 100 + '"'),
}


ODD: dict[str, dict[str, str]] = {  # readable enough to be answered
    "a parameter without a value": {"Authorization": "Digest a="},
    "no parameter at all": {"Authorization": "Digest =,=,="},
    "a nonce of no letters": {"Authorization": 'Digest nonce="é"'},
    "a version of many digits": {"User-Agent": "baresip v" + "1" * 4_400 + ".1"},
}
ODD_WITH_CREDENTIALS: dict[str, tuple[str, dict[str, str]]] = {
    "Expires that are no number": ("REGISTER", {"Expires": "abc"}),
    "Expires that are nothing": ("REGISTER", {"Expires": ""}),
    "a Contact's parameter whose name Python has taken": ("REGISTER", {"Contact": "<sip:a@b>;self=1"}),
    "a Contact's URI's parameter whose name Python has taken": ("REGISTER", {"Contact": "<sip:a@b;self=1>"}),
    "a Contact of a long tel URI": ("REGISTER", {"Contact": "<tel:+" + "1" * 1_900 + "!>"}),
    "Max-Forwards that are no number": ("INVITE", {"Max-Forwards": "abc"}),
    "Max-Forwards that are nothing": ("INVITE", {"Max-Forwards": ""}),
    "a Record-Route that is no address": ("INVITE", {"Record-Route": "junk"}),
    "a Record-Route's parameter whose name Python has taken": ("INVITE", {"Record-Route": "<sip:a;self=1>"}),
}


class Open:
    """A gate that lets everybody in; `Gatekeeper` says what it is asked."""

    def __init__(self, host_port: int) -> None:
        self._host_port = host_port
        self._numbers = itertools.count()

    async def register(self, credentials: Credentials, source_address: str) -> Registered:
        return Registered(f"t{credentials.username}", credentials.username)

    async def identify(self, credentials: Credentials, source_address: str) -> Registered:
        return await self.register(credentials, source_address)

    async def admit(self, invite: Invite) -> Admitted:
        return Admitted(f"c{next(self._numbers)}", self._host_port)

    def transfer(self, transfer: Transfer) -> None: ...

    def told(self, call_id: str, leg: str, text: str, answer: str = "") -> None: ...

    def turned_away(self, invite: Invite, refusal: Refusal) -> None: ...

    def registration_refused(self, credentials: Credentials, source_address: str, refusal: Refusal) -> None: ...

    def heard(self, call_id: str, leg: str) -> None: ...

    def refused(self, call_id: str, leg: str, status: int, phrase: str) -> None: ...


@dataclass
class Bench:
    """An edge, and a peer with one socket."""

    edge: SipPort
    flow: UdpFlow
    peer: socket.socket
    host: socket.socket
    raised: list[str] = field(default_factory=list)
    counts: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    nonce: str = ""

    @property
    def address(self) -> tuple[str, int]:
        return self.peer.getsockname()

    def answers(self) -> list[bytes]:
        return list(_waiting(self.peer))

    async def cost(self, data: bytes) -> float:
        """Seconds of CPU until the edge has done all that it does at once."""
        list(_waiting(self.host))
        began = time.thread_time()
        self.edge.receive(data, self.flow)
        for _ in range(5):  # the tasks that it made
            await asyncio.sleep(0)
        return time.thread_time() - began

    async def learn_nonce(self) -> None:
        await self.cost(one(Call_ID=templates.token(random.Random())))
        while not (challenges := [answer for answer in self.answers() if b"nonce=" in answer]):
            await asyncio.sleep(0.01)
        found = re.search(rb'nonce="([^"]+)"', challenges[0])
        assert found is not None
        self.nonce = found[1].decode()

    def credentials(self) -> str:
        return (
            f'Digest username="pbx", realm="teletrunk", nonce="{self.nonce}", uri="sip:d", algorithm=MD5, qop=auth, '
            f'nc={next(self.counts):08x}, cnonce="1", response="{"0" * 32}"'
        )


def _waiting(receiver: socket.socket) -> Iterator[bytes]:
    with contextlib.suppress(BlockingIOError):
        while True:
            yield receiver.recv(65_536)


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    with socket.socket(type=socket.SOCK_DGRAM) as host, socket.socket(type=socket.SOCK_DGRAM) as peer:
        for own in (host, peer):
            own.setblocking(False)
            own.bind(("127.0.0.1" if own is host else "127.0.0.9", 0))
        edge = SipPort(Open(host.getsockname()[1]), "127.0.0.1", 0, ("127.0.0.1",), bans=Bans((TRUSTED,)))
        await edge.start()
        bench = Bench(edge, edge._transports._udp.flow(peer.getsockname()), peer, host)
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: bench.raised.append(repr(context.get("exception"))))
        gc.collect()
        gc.disable()  # a collection of all that the tests before have left is not a message's cost
        try:
            with capture_logs():  # of thousands of broken messages
                yield bench
        finally:
            gc.enable()
        await edge.close()


@pytest.mark.parametrize("name", TRAPS)
async def test_a_trap_costs_little(bench: Bench, name: str) -> None:
    assert await bench.cost(TRAPS[name]()) < MOST_S
    assert not bench.raised


@pytest.mark.parametrize("name", ODD)
async def test_an_odd_request_is_answered(bench: Bench, name: str) -> None:
    await bench.cost(one(**ODD[name]))
    assert bench.answers()


@pytest.mark.parametrize("name", ODD_WITH_CREDENTIALS)
async def test_an_odd_request_of_a_trunk_is_answered_or_relayed(bench: Bench, name: str) -> None:
    method, headers = ODD_WITH_CREDENTIALS[name]
    await bench.learn_nonce()
    await bench.cost(one("sip:d", method, Call_ID="2", Authorization=bench.credentials(), **headers))
    assert not bench.raised
    final = [answer for answer in bench.answers() if not answer.startswith(b"SIP/2.0 1")]
    assert final or list(_waiting(bench.host))


async def test_a_blank_before_the_colon_hides_no_header(bench: Bench) -> None:
    """RFC 3261 7.3.1 allows it. A Record-Route above ours would lead the host round the edge."""
    await bench.learn_nonce()
    invite = one("sip:d", "INVITE", Call_ID="2", Authorization=bench.credentials())
    rows = b"Record-Route : <sip:127.0.0.1:9;lr>\r\nX-Teletrunk-Call\t: forged/a\r\nCSeq:"
    await bench.cost(invite.replace(b"CSeq:", rows).replace(b"Authorization:", b"Authorization :"))
    relayed = b"".join(_waiting(bench.host))
    routes = re.findall(rb"^Record-Route[ \t]*:[ \t]*(.*?)\r$", relayed, re.MULTILINE)
    assert routes, "not relayed"
    assert f":{bench.edge.inside_port}".encode() in routes[0]
    assert b"forged/a" not in relayed
    assert b"Digest" not in relayed


async def test_strangers_messages_cost_little_and_raise_nothing(bench: Bench) -> None:
    rng, mutator = random.Random(SEED), Mutator(SEED)
    strangers = (templates.stranger(rng, bench.address, ("127.0.0.1", 5060)) for _ in range(MESSAGES))
    silent = await _all_cost_little(bench, (mutator.message(data) for data in strangers))
    assert not silent


async def test_messages_with_good_credentials_cost_little_and_raise_nothing(bench: Bench) -> None:
    """Everything that a trunk's own PBX can send gets an answer, or reaches the host that it is for."""
    rng, mutator = random.Random(SEED), Mutator(SEED)
    await bench.learn_nonce()
    silent = await _all_cost_little(bench, (_with_credentials(rng, mutator, bench) for _ in range(MESSAGES)))
    assert not silent


def _with_credentials(rng: random.Random, mutator: Mutator, bench: Bench) -> Mutated:
    host, port = bench.address
    method = rng.choice(["INVITE", "INVITE", "REGISTER"])
    headers = {
        **_HEAD,
        "Via": f"SIP/2.0/UDP {host}:{port};rport;branch=z9hG4bK{templates.token(rng)}",
        "Call-ID": templates.token(rng),
        "CSeq": f"{rng.randint(1, 9_999)} {method}",
        "Max-Forwards": "70",
        "Authorization": bench.credentials(),
    }
    body, _ = sdp.mutated(rng, templates.sdp(host, port)) if method == "INVITE" else (b"", ())
    return mutator.message(templates.request(method, "sip:d", headers, body), soft=rng.random() < 0.8)


def _own_mistakes() -> float:
    """Messages that met an error which is not the parser's own word for what cannot be read."""
    return REGISTRY.get_sample_value("teletrunk_sip_errors_total") or 0.0


async def _all_cost_little(bench: Bench, messages_sent: Iterable[Mutated]) -> Sequence[object]:
    """Returns those that are owed an answer and got none."""
    dear, raised, silent = [], [], []
    mistakes = _own_mistakes()
    for number, item in enumerate(messages_sent):
        shown = (number, item.kinds, item.data[:400])
        bench.answers()
        try:
            if (took := await bench.cost(item.data)) > MOST_S:
                dear.append((round(took, 3), shown))
        except Exception as error:
            raised.append((repr(error)[:120], shown))
        if bench.raised:
            raised += [(what[:120], shown) for what in bench.raised]
            bench.raised.clear()
        if mistakes != (mistakes := _own_mistakes()):
            raised.append(("caught and counted", shown))
        heard = bench.answers() + list(_waiting(bench.host))
        if item.answerable and not heard and not item.data.startswith((b"ACK", b"SIP/2.0")):
            silent.append(shown)
    assert not raised
    assert not dear
    return silent
