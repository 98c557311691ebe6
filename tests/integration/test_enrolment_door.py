"""The port where anybody may ask for a certificate, and how much of the Manager a stranger gets there."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
import pytest_asyncio
from teletrunk import rpc
from teletrunk.front_door import CALLS_AN_ADDRESS, GUESSES, WINDOW_S, Guests, source
from teletrunk.identity import MANAGER
from teletrunk.v1 import fleet_pb2, fleet_pb2_grpc

from tests.integration.test_fleet import Site, service_id

ENROL = "/teletrunk.v1.EnrolmentService/Enrol"
EXHAUSTED, INVALID = grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INVALID_ARGUMENT


class Door:
    """The site's enrolment port, as a stranger sees it who has an invitation's address and authority."""

    def __init__(self, site: Site, invitation: str) -> None:
        self.site = site
        self.invitation = invitation
        self.given = json.loads(base64.urlsafe_b64decode(invitation))
        self.port = int(self.given["address"].rpartition(":")[2])

    def channel(self) -> grpc.aio.Channel:
        return rpc.knock(self.given["address"], self.given["authority"].encode())

    def connection(self) -> grpc.aio.Channel:
        """One of its own: channels of one process share one otherwise."""
        credentials = grpc.ssl_channel_credentials(self.given["authority"].encode())
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.ssl_target_name_override", MANAGER.server_name)]
        return grpc.aio.secure_channel(self.given["address"], credentials, options=options)

    async def guess(self, secret: str = "guess", **options: Any) -> grpc.StatusCode:
        async with self.channel() as channel:
            request = fleet_pb2.EnrolRequest(secret=secret, service_id="a" * 16, signing_request=b"x")
            try:
                await fleet_pb2_grpc.EnrolmentServiceStub(channel).Enrol(request, timeout=10, **options)
            except grpc.aio.AioRpcError as error:
                return error.code()
        raise AssertionError("a guess was right")

    def slow(self, channel: grpc.aio.Channel) -> Any:
        """A call whose message never comes."""
        call: Any = channel.stream_unary(ENROL)
        return call(_nothing(), timeout=30)


async def _nothing() -> AsyncIterator[bytes]:
    await asyncio.Event().wait()
    yield b""


@contextlib.asynccontextmanager
async def from_elsewhere(port: int, address: str) -> AsyncIterator[int]:
    """A port that leads to this one, by another address of loopback."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
        await asyncio.gather(carry(reader, far_writer), carry(far_reader, writer))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest_asyncio.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with contextlib.AsyncExitStack() as exits:
        site = Site(tmp_path, exits)
        await site.start()
        yield Door(site, await site.invitation("worker"))


async def joins(door: Door, port: int) -> None:
    """A Worker that was invited gets its certificate by this port."""
    invitation = base64.urlsafe_b64encode(json.dumps({**door.given, "address": f"127.0.0.1:{port}"}).encode())
    worker = await door.site.join("worker", "w1", invitation.decode())
    assert (await worker.says("enrolled"))["id"] == service_id(worker, "worker")


async def test_a_large_message_is_refused_before_it_is_read(door: Door) -> None:
    assert await door.guess() is INVALID
    manager = psutil.Process(door.site.manager._process.pid)
    before = manager.memory_info().rss
    assert await door.guess("x" * (1 << 20)) is EXHAUSTED
    squeezed = await door.guess("x" * (40 << 20), compression=grpc.Compression.Gzip)
    assert squeezed is not INVALID, "it was blown up and read"
    assert manager.memory_info().rss - before < 20 << 20


async def test_strangers_who_guess_keep_nobody_from_writing(door: Door) -> None:
    """While somebody else writes, a guess is answered: it asks for no write of its own."""
    database = sqlite3.connect(door.site.manager.data / "manager.db", isolation_level=None)
    database.execute("BEGIN IMMEDIATE")
    try:
        assert await asyncio.gather(*(door.guess() for _ in range(CALLS_AN_ADDRESS))) == [INVALID] * CALLS_AN_ADDRESS
    finally:
        database.execute("ROLLBACK")
        database.close()


async def test_who_guesses_waits_and_others_do_not(door: Door) -> None:
    assert [await door.guess() for _ in range(GUESSES)] == [INVALID] * GUESSES
    assert await door.guess() is EXHAUSTED
    async with from_elsewhere(door.port, "127.0.0.9") as port:
        await joins(door, port)


async def test_who_sends_nothing_holds_no_place(door: Door) -> None:
    async with contextlib.AsyncExitStack() as exits:
        channels = [await exits.enter_async_context(door.connection()) for _ in range(CALLS_AN_ADDRESS + 1)]
        await asyncio.gather(*(channel.channel_ready() for channel in channels))
        held = [door.slow(channel) for channel in channels]
        port = await exits.enter_async_context(from_elsewhere(door.port, "127.0.0.9"))
        await joins(door, port)
        assert sorted([await call.details() for call in held]) == [
            *["the message did not come"] * CALLS_AN_ADDRESS,
            "too many calls at a time come from this address",
        ]
        assert await door.guess() is INVALID


async def test_the_door_offers_nothing_else(door: Door) -> None:
    async with door.channel() as channel:
        for method in ("/grpc.health.v1.Health/Watch", "/teletrunk.v1.AdminService/ListTrunks"):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                call: Any = channel.unary_unary(method)
                await call(b"", timeout=10)
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_guesses_are_forgotten_after_a_while_and_so_are_addresses() -> None:
    now = [0.0]
    guests = Guests(lambda: now[0])
    for _ in range(GUESSES):
        assert guests.why_not("192.0.2.1") == ""
        guests.refused("192.0.2.1")
    assert guests.why_not("192.0.2.1") and not guests.why_not("192.0.2.2")
    now[0] = WINDOW_S
    assert guests.why_not("192.0.2.1") == ""
    guests.refused("192.0.2.1")
    assert guests.why_not("192.0.2.1") == "", "one wrong guess is a mistake"
    for number in range(30_000):
        guests.refused(f"2001:db8:{number:x}::/64")
    assert len(guests._guests) <= 10_000
    guests.left("192.0.2.1")  # of a call that was under way when its address was forgotten
    assert guests.why_not("192.0.2.1") == ""


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.1:5050", "192.0.2.1"),
        ("ipv6:%5B2001:db8::1%5D:5050", "2001:db8::/64"),
        ("ipv6:%5B::ffff:192.0.2.1%5D:5050", "192.0.2.1"),
        ("ipv6:[fe80::1%25eth0]:5050", "fe80::/64"),
        ("unix:", "unix:"),
    ],
)
def test_the_address_of_a_peer(peer: str, address: str) -> None:
    assert source(peer) == address
