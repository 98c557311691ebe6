"""What stands before methods that anybody may call: strangers get little room, little time and few guesses.

An address (a /64 of IPv6) has some calls at a time, and the message must come soon: nobody holds a place by being slow.
Whoever was refused several times within a minute is turned away before anything is looked up.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

import grpc

CALLS_AN_ADDRESS: Final = 4
MESSAGE_S: Final = 3.0
GUESSES: Final = 10
WINDOW_S: Final = 60.0
_MOST_ADDRESSES = 10_000
_IPV6_PREFIX = 64  # what one customer of a provider usually has


@dataclass
class _Guest:
    inside: int = 0
    refused_at: deque[float] = field(default_factory=lambda: deque(maxlen=GUESSES))

    def guesses(self, now: float) -> bool:
        return len(self.refused_at) == GUESSES and now - self.refused_at[0] < WINDOW_S


class Guests:
    """Who calls from where. Only so many addresses are remembered, the latest."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._guests: OrderedDict[str, _Guest] = OrderedDict()

    def why_not(self, address: str) -> str:
        """Why this address gets in no more now; empty when it does."""
        guest = self._of(address)
        if guest.inside >= CALLS_AN_ADDRESS:
            return "too many calls at a time come from this address"
        if guest.guesses(self._clock()):
            return "too many wrong invitations came from this address: wait a minute"
        return ""

    def entered(self, address: str) -> None:
        self._of(address).inside += 1

    def left(self, address: str) -> None:
        guest = self._of(address)
        guest.inside = max(0, guest.inside - 1)  # it may have been forgotten meanwhile

    def refused(self, address: str) -> None:
        self._of(address).refused_at.append(self._clock())

    def _of(self, address: str) -> _Guest:
        guest = self._guests.setdefault(address, _Guest())
        self._guests.move_to_end(address)
        if len(self._guests) > _MOST_ADDRESSES:
            self._guests.popitem(last=False)
        return guest


class FrontDoor(grpc.aio.ServerInterceptor):
    """For servers whose methods take one message and give one."""

    def __init__(self) -> None:
        self._guests = Guests()

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = await continuation(details)
        if handler is None:
            return handler
        # As a stream of requests, whatever the method is: only then it is ours how long a message may take.
        return grpc.stream_unary_rpc_method_handler(
            functools.partial(self._admit, handler.unary_unary),
            handler.request_deserializer,
            handler.response_serializer,
        )

    async def _admit(self, method: Any, requests: AsyncIterator[Any], context: Any) -> Any:
        address = source(context.peer())
        if why := self._guests.why_not(address):
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, why)
        self._guests.entered(address)
        try:
            async with asyncio.timeout(MESSAGE_S):
                request = await anext(aiter(requests))
        except (TimeoutError, StopAsyncIteration):
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "the message did not come")
        else:
            return await self._answered(method, request, context, address)
        finally:
            self._guests.left(address)

    async def _answered(self, method: Any, request: Any, context: Any, address: str) -> Any:
        try:
            return await method(request, context)
        except grpc.aio.AbortError:
            if context.code() is grpc.StatusCode.INVALID_ARGUMENT:  # an outage of ours is no guess
                self._guests.refused(address)
            raise


def source(peer: str) -> str:
    """The address in what gRPC calls a peer: `ipv4:192.0.2.1:5050`, `ipv6:%5B2001:db8::1%5D:5050`."""
    return network_of(unquote(peer.partition(":")[2]).rpartition(":")[0].strip("[]")) or peer


def network_of(host: str) -> str:
    """What one caller is known by: an IPv4 address, or the /64 of an IPv6 one; empty of what is no address."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        return str(address.ipv4_mapped or ipaddress.ip_network((address, _IPV6_PREFIX), strict=False))
    return str(address)
