"""Who a call's sound goes to, and who is heard in it: the peer that was negotiated, and nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from teletrunk_worker.legs import silenced_socket

from .sip_host_world import MEDIA_ADDRESS, RtpSocket, SipHostWorld, sip_host_world

PEER, ELSEWHERE, STRANGER = "127.0.30.1", "127.0.30.2", "127.0.30.3"
QUIET, LOUD = 0xC5, 0xAA  # A-law codes: what the peer says, and what a stranger shouts
SHOUTED = 20_000  # nothing that the peer says is as loud
TALK_S = 3.0
SILENCED_S = 1.5  # by then too much has been sent to who says nothing


@pytest_asyncio.fixture
async def world() -> AsyncIterator[SipHostWorld]:
    async with sip_host_world() as made:
        yield made


async def burst(stranger: RtpSocket, world: SipHostWorld, seconds: float) -> int:
    """Twelve packets to each port that the host may have, again and again. Returns how many came back."""
    drawn = 0
    for _ in range(round(seconds / 0.25)):
        for port in range(world.first_rtp_port, world.first_rtp_port + world.rtp_ports):
            for _ in range(12):
                stranger.send(port, LOUD)
        await asyncio.sleep(0.25)
        drawn += stranger.received()
    return drawn


async def test_a_stranger_draws_nothing_and_is_not_heard(world: SipHostWorld) -> None:
    with contextlib.closing(RtpSocket(PEER)) as peer, contextlib.closing(RtpSocket(STRANGER)) as stranger:
        await burst(stranger, world, 0.5)  # before there is a call
        await world.call((PEER, peer.port), PEER)
        got, drawn = await asyncio.gather(peer.talk(world.rtp_port, QUIET, TALK_S), burst(stranger, world, TALK_S))
        heard = world.loudness()
    assert drawn == 0
    assert got > TALK_S / 0.02 * 0.8
    assert max(heard) < SHOUTED and sum(level > 100 for level in heard) > len(heard) / 2


async def test_a_stranger_who_waits_at_the_ports_is_not_heard_when_the_call_begins(world: SipHostWorld) -> None:
    with contextlib.closing(RtpSocket(PEER)) as peer, contextlib.closing(RtpSocket(STRANGER)) as stranger:
        shouting = asyncio.ensure_future(burst(stranger, world, TALK_S))
        await world.call((PEER, peer.port), PEER)
        assert await shouting == 0  # the peer is silent meanwhile
        assert max(world.loudness(), default=0) < SHOUTED


async def test_a_pbx_behind_nat_is_found_where_its_signalling_comes_from(world: SipHostWorld) -> None:
    with contextlib.closing(RtpSocket(PEER)) as peer, contextlib.closing(RtpSocket(STRANGER)) as stranger:
        await world.call(("192.0.2.7", 4000), PEER)
        assert world.rtp_address == MEDIA_ADDRESS, "so it finds a Worker behind NAT"
        await asyncio.gather(peer.talk(world.rtp_port, QUIET, 1.0), burst(stranger, world, 1.0))
        got, drawn = await asyncio.gather(peer.talk(world.rtp_port, QUIET, TALK_S), burst(stranger, world, TALK_S))
        heard = world.loudness()
    assert drawn == 0 and got > TALK_S / 0.02 * 0.8
    assert max(heard) < SHOUTED and sum(level > 100 for level in heard) > len(heard) / 2


async def test_another_port_of_the_peers_address_comes_too_late(world: SipHostWorld) -> None:
    with contextlib.closing(RtpSocket(PEER)) as peer, contextlib.closing(RtpSocket(PEER)) as neighbour:
        await world.call((PEER, peer.port), PEER)
        await peer.talk(world.rtp_port, QUIET, 1.0)
        world.loudness()
        got, drawn = await asyncio.gather(peer.talk(world.rtp_port, QUIET, TALK_S), burst(neighbour, world, TALK_S))
        assert drawn == 0 and got > TALK_S / 0.02 * 0.8
        assert max(world.loudness()) < SHOUTED


async def test_who_is_invited_again_may_speak_from_elsewhere(world: SipHostWorld) -> None:
    with contextlib.closing(RtpSocket(PEER)) as first, contextlib.closing(RtpSocket(ELSEWHERE)) as second:
        await world.call((PEER, first.port), PEER)
        await first.talk(world.rtp_port, QUIET, 1.0)
        await world.again((ELSEWHERE, second.port))
        late, got = await asyncio.gather(
            first.talk(world.rtp_port, LOUD, TALK_S), second.talk(world.rtp_port, QUIET, TALK_S)
        )
        assert got > TALK_S / 0.02 * 0.8 and late < 40  # those on their way when it moved, and a busy machine's
        await first.talk(world.rtp_port, LOUD, 0.5)
        world.loudness()
        await asyncio.gather(first.talk(world.rtp_port, LOUD, 1.0), second.talk(world.rtp_port, QUIET, 1.0))
        assert 100 < max(world.loudness()) < SHOUTED


async def test_an_address_that_nobody_speaks_from_gets_a_few_packets(world: SipHostWorld) -> None:
    """Whoever has a trunk could have anybody flooded."""
    with contextlib.closing(RtpSocket(ELSEWHERE)) as victim:
        await world.call((ELSEWHERE, victim.port), PEER)
        await asyncio.sleep(TALK_S)
        assert 10 < victim.received() < 80
        await asyncio.sleep(1.0)
        assert victim.received() <= 2
        await victim.talk(world.rtp_port, QUIET, 0.5)  # it was only late
        assert await victim.talk(world.rtp_port, QUIET, TALK_S) > TALK_S / 0.02 * 0.8


async def test_who_signals_from_where_it_listens_need_not_speak(world: SipHostWorld) -> None:
    with contextlib.closing(RtpSocket(PEER)) as listener:
        await world.call((PEER, listener.port), PEER)
        await asyncio.sleep(TALK_S)
        assert listener.received() > TALK_S / 0.02 * 0.8


@pytest.mark.parametrize(
    ("payload_type", "counts"), [(0, False), (18, False), (34, False), (8, True), (13, True), (126, True)]
)
async def test_another_codec_than_the_agreed_one_is_no_sound(
    payload_type: int, counts: bool, world: SipHostWorld
) -> None:
    """It was counted and not decoded: a call in which nobody is heard looked like one with sound."""
    with contextlib.closing(RtpSocket(PEER, payload_type)) as peer:
        await world.call((PEER, peer.port), PEER)
        await peer.talk(world.rtp_port, QUIET, 1.0)
        received = (await world.hang_up())["stats"]["rtp_received"]
    assert (received > 30) is counts and (counts or not received), received


async def test_sound_that_may_have_the_ports_that_the_kernel_gives_leaves_sip_its_own() -> None:
    """TELETRUNK_RTP_PORTS may be of those: SIP's socket among them was shut to everybody as one of sound."""
    world = SipHostWorld({}, 32_768, 28_000)
    await world.start()
    try:
        with contextlib.closing(RtpSocket(PEER)) as peer:
            await world.call((PEER, peer.port), PEER)
            assert await peer.talk(world.rtp_port, QUIET, 1.0) > 30
    finally:
        await world.stop()


@pytest.mark.parametrize("count", [0, 1, 100, 400])  # 400 are more than a datagram holds
def test_what_was_not_to_be_sent_is_forgotten(count: int) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as own, socket.socket(type=socket.SOCK_DGRAM) as peer:
        for end in (own, peer):
            end.bind((PEER, 0))
            end.setblocking(False)
        silenced_socket.silence(own.fileno())
        for _ in range(count):
            with contextlib.suppress(OSError):
                own.sendto(bytes(172), peer.getsockname())
        assert own.getsockname()[0] == PEER, "pjmedia asks for it"
        peer.sendto(b"heard", own.getsockname())
        assert own.recv(9) == b"heard"
        silenced_socket.give_back(own.fileno())
        silenced_socket.give_back(own.fileno())  # twice is once
        own.sendto(b"first", peer.getsockname())
        assert peer.recv(65_536) == b"first"


async def test_who_was_silent_may_describe_itself_again(world: SipHostWorld) -> None:
    """A media server that has said nothing for a second, and then the call is held, or goes on elsewhere."""
    with contextlib.closing(RtpSocket(PEER)) as peer, contextlib.closing(RtpSocket(ELSEWHERE)) as other:
        await world.call((PEER, peer.port), STRANGER)
        for end in (other, peer, other):
            await asyncio.sleep(SILENCED_S)
            await world.again((ELSEWHERE if end is other else PEER, end.port))
        assert await other.talk(world.rtp_port, QUIET, 1.0) > 0
