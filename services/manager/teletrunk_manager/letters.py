"""One event on its way to one webhook: signed, posted, and what came of it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from teletrunk_manager.webhook_addresses import NotPublic, recipient

if TYPE_CHECKING:
    import httpx

_ANSWER_S = 5.0


@dataclass(frozen=True)
class Letter:
    delivery_id: str
    webhook_id: str
    url: str
    secret: str = field(repr=False)
    body: str
    attempts: int


@dataclass(frozen=True)
class Outcome:
    """`status` 0: nobody answered."""

    delivered: bool
    status: int
    failure: str


async def post(client: httpx.AsyncClient, letter: Letter, *, private: bool) -> Outcome:
    """Whatever one address does is an outcome; nothing is raised for it."""
    at = str(int(time.time()))
    headers = {
        "Content-Type": "application/json",
        "Teletrunk-Delivery": letter.delivery_id,
        "Teletrunk-Signature": f"t={at},v1={signature(letter.secret, at, letter.body)}",
    }
    try:
        async with asyncio.timeout(_ANSWER_S):  # of the whole: one that drips bytes keeps the others waiting
            to = await recipient(letter.url, private=private)
            answer = await client.post(
                to.url, content=letter.body, headers={**headers, **to.headers}, extensions=to.extensions
            )
    except NotPublic:
        return Outcome(False, 0, "a private address: TELETRUNK_WEBHOOKS_TO_PRIVATE=true lets letters go there")
    except Exception as error:
        return Outcome(False, 0, type(error).__name__)
    return Outcome(answer.is_success, answer.status_code, "" if answer.is_success else f"HTTP {answer.status_code}")


def signature(secret: str, at: str, body: str) -> str:
    """HMAC-SHA256 of the time and the body: whoever knows the secret can tell that both are ours."""
    return hmac.new(secret.encode(), f"{at}.{body}".encode(), hashlib.sha256).hexdigest()
