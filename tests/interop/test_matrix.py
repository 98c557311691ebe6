"""Connection type x transport x SRTP x codec x direction against Asterisk, each cell a call with sound both ways.

`make matrix` runs it and prints the table. What CI has of it is a diagonal: test_trunk_kinds.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple

import pytest
import pytest_asyncio
from teletrunk import codecs
from teletrunk.v1 import admin_pb2, trunk_pb2
from teletrunk_sandbox.actors import ActorError

from .conftest import FRIEND
from .test_trunk_kinds import FORMS, Pbx, TlsSite, reached, site

pytestmark = [pytest.mark.e2e, pytest.mark.matrix, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

__all__ = ["site"]  # the fixture
_TALK_S = 1.2
_THERE = "alaw,ulaw,g722,gsm,ilbc,speex16,speex"
_SUITE = "AES_CM_128_HMAC_SHA1_80"


class Way(NamedTuple):
    kind: trunk_pb2.TrunkKind.ValueType
    transport: str
    srtp: bool

    @property
    def policy(self) -> trunk_pb2.SrtpPolicy.ValueType:
        if not self.srtp:
            return trunk_pb2.SRTP_POLICY_UNSPECIFIED
        secret = self.transport == "tls"
        return trunk_pb2.SRTP_POLICY_REQUIRED if secret else trunk_pb2.SRTP_POLICY_REQUIRED_INSECURE

    def __str__(self) -> str:
        return f"{FORMS[self.kind]}-{self.transport}{'-srtp' if self.srtp else ''}"


WAYS = [Way(*each) for each in itertools.product(FORMS, ("udp", "tcp", "tls"), (False, True))]
CALLERS = ("pbx", "telegram")
Cells = dict[tuple[str, str, str], str]


@pytest.fixture(scope="module")
def cells() -> Iterator[Cells]:
    """What became of each; the table of all is printed."""
    found: Cells = {}
    yield found
    print("\n\n" + "\n".join(_table(found)))


def _table(found: Cells) -> Iterator[str]:
    yield "| connection | " + " | ".join(codecs.CODECS) + " |"
    yield "|---" * (len(codecs.CODECS) + 1) + "|"
    for way in dict.fromkeys(way for way, _, _ in found):
        columns = (" ".join(found.get((way, codec, caller), "-") for caller in CALLERS) for codec in codecs.CODECS)
        yield f"| {way} | " + " | ".join(columns) + " |"
    yield "Each cell: the PBX calls, Telegram calls."


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=WAYS, ids=str)
async def peer(site: TlsSite, request: pytest.FixtureRequest) -> AsyncIterator[Pbx]:
    way: Way = request.param
    async with reached(site, way.kind, way.transport, way.policy, there=_THERE) as found:
        yield found


@contextlib.asynccontextmanager
async def left_as_it_was(peer: Pbx) -> AsyncIterator[None]:
    """A cell that fails leaves no call to the next."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(ActorError):
            await peer.site.friends.tell("hangup", phone=FRIEND)
        with contextlib.suppress(TimeoutError):
            await peer.site.record()
        raise


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("codec", codecs.CODECS)
async def test_a_call_with_sound(
    peer: Pbx, cells: Cells, request: pytest.FixtureRequest, codec: str, caller: str
) -> None:
    way: Way = request.node.callspec.params["peer"]
    cell = str(way), codec, caller
    cells[cell] = "failed"
    change = admin_pb2.ChangeTrunkRequest(trunk=peer.login, codecs=[codec])
    await peer.site.world.admin.ChangeTrunk(change, timeout=5)
    # Asterisk has no iLBC of its own: it passes on what its phone speaks.
    await peer.phone.tell("codecs", names=["iLBC"] if codec == "ILBC" else ["PCMA"])
    await asyncio.sleep(1.0)  # what the Manager promises: a change is with the Workers within a second
    async with left_as_it_was(peer):
        call = await peer.calls(caller)
        try:
            await peer.talk(call, _TALK_S)
        except AssertionError:  # on a busy machine sound comes late and in pieces
            await peer.talk(call, 4 * _TALK_S)
        record = await peer.end(call, "telegram" if caller == "pbx" else "pbx")
        assert record.media.codec.partition("/")[0].upper() == codec
        assert record.media.srtp_suite == (_SUITE if way.srtp else "")
    cells[cell] = "ok"
