"""Where a webhook's letters go: an address is looked up, looked at, and connected to; no other can be slipped in."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

_LOOK_UP_S = 3.0


class NotPublic(Exception):
    """The host is an address of this machine or of a private network."""


@dataclass(frozen=True)
class Recipient:
    """What is asked for, at an address: `headers` and `extensions` name the host that is meant (RFC 9110 7.2, SNI)."""

    url: httpx.URL
    headers: dict[str, str]
    extensions: dict[str, str]


async def recipient(text: str, *, private: bool) -> Recipient:
    """Raises `NotPublic` unless `private` ones are allowed, and OSError for a host that has no address."""
    import httpx  # loaded already by who sends

    url = httpx.URL(text)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(_LOOK_UP_S):
        found = await loop.getaddrinfo(url.host, None, type=socket.SOCK_STREAM)
    addresses = [str(address[0]).partition("%")[0] for *_, address in found]
    if not private and not all(_is_public(address) for address in addresses):
        raise NotPublic(url.host)
    named = url.host if url.port is None else f"{url.host}:{url.port}"
    return Recipient(url.copy_with(host=addresses[0]), {"Host": named}, {"sni_hostname": url.host})


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text)
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    return address.is_global and not address.is_multicast
