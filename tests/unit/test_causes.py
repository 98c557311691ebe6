"""The causes of a refusal: a closed list, each raised by somebody, told as data, and read as such."""

from __future__ import annotations

import ast
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from teletrunk import causes, rpc
from teletrunk.causes import CAUSES, Cause
from teletrunk.errors import TABLE, Refusal
from teletrunk.v1 import call_pb2

SERVICES = Path(__file__).parents[2] / "services"
UNSPECIFIED = call_pb2.REFUSAL_CAUSE_UNSPECIFIED
each = pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.name)


def named_in_services() -> Iterator[str]:
    """What of `causes` the services name."""
    for path in SERVICES.rglob("*.py"):
        if "causes" in (text := path.read_text()):
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "causes":
                    yield node.attr


def test_the_table_is_the_list_of_the_protocol_and_each_cause_is_raised_somewhere() -> None:
    assert sorted(cause.code for cause in CAUSES) == sorted(set(call_pb2.RefusalCause.values()) - {UNSPECIFIED})
    raised = {value.name for name in named_in_services() if isinstance(value := getattr(causes, name), Cause)}
    assert raised == {cause.name for cause in CAUSES}
    for name in raised:
        assert getattr(causes, name.upper().replace("-", "_")).name == name


@each
def test_a_cause_has_words_of_its_own_and_is_found_by_what_the_pbx_prints(cause: Cause) -> None:
    row = TABLE[cause.row]
    assert cause.remedy not in (row.remedy, "") and cause.essence != row.essence
    assert causes.told(cause.row, cause.code).remedy == cause.remedy
    if cause.said:
        printed = f"{row.sip_status} {cause.refusal('A', 'B').phrase}".lower()
        assert causes.in_words(cause.row, printed).essence == cause.essence
    assert causes.in_words(cause.row, row.phrase.lower()) == row


def test_advice_names_whom_it_is_about() -> None:
    told = causes.told("session-access-revoked", causes.TRUNK_OFF.code, trunk="office")
    assert told.remedy == "Switch it on: teletrunk trunk change office --on."
    told = causes.told("ip-not-allowed", causes.ADDRESS_BANNED.code, address="192.0.2.1")
    assert told.remedy.endswith("teletrunk ban lift 192.0.2.1.")
    assert "reset-password office." in causes.told("wrong-password", UNSPECIFIED, trunk="office").remedy
    assert "reset-password LOGIN." in causes.told("wrong-password", UNSPECIFIED, trunk="").remedy, "nobody knows it"


class Peer:
    """A service that refuses whatever it is asked."""

    def __init__(self) -> None:
        self.refusal = Refusal("bad-request")
        self.info: error_details_pb2.ErrorInfo | None = None  # as another version may say it
        self.server = grpc.aio.server()
        handler = grpc.method_handlers_generic_handler("t", {"Ask": grpc.unary_unary_rpc_method_handler(self._ask)})
        self.server.add_generic_rpc_handlers((handler,))
        self.port = self.server.add_insecure_port("127.0.0.1:0")

    async def _ask(self, request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        if self.info is None:
            await rpc.abort(context, self.refusal)
            raise AssertionError
        packed = any_pb2.Any()
        packed.Pack(self.info)
        status = status_pb2.Status(code=code_pb2.FAILED_PRECONDITION, message="", details=[packed])
        await context.abort_with_status(rpc_status.to_status(status))
        return b""

    async def heard(self) -> Refusal:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                ask: Any = channel.unary_unary("/t/Ask")
                await ask(b"")
        found = rpc.refusal_of(refused.value)
        assert found is not None
        return found


@pytest_asyncio.fixture
async def peer() -> AsyncIterator[Peer]:
    peer = Peer()
    await peer.server.start()
    yield peer
    await peer.server.stop(0)


async def test_a_cause_crosses_the_wire(peer: Peer) -> None:
    for cause in CAUSES:
        peer.refusal = cause.refusal("A", "B", retry_after=7)
        found = await peer.heard()
        assert (found.cause, found.phrase, found.retry_after) == (cause.code, peer.refusal.phrase, 7)


async def test_a_peer_of_another_version_says_no_cause_or_one_that_nobody_knows(peer: Peer) -> None:
    for metadata in (
        {"detail": "d"},
        {"detail": "d", "cause": ""},
        {"detail": "d", "cause": "REFUSAL_CAUSE_OF_A_LATER_VERSION"},
        {"detail": "d", "cause": "REFUSAL_CAUSE_SRTP_OFF"},  # of another row
    ):
        peer.info = error_details_pb2.ErrorInfo(reason="worker-off", domain="teletrunk", metadata=metadata)
        found = await peer.heard()
        assert (found.row.id, found.detail, found.cause) == ("worker-off", "d", UNSPECIFIED)
