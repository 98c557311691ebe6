"""The shared state in Redis.

A service is a key with a life of its own, and a set holds their names. A pool of lines is a sorted set of calls by the
time at which each line lapses; Redis' own clock counts, so that the Managers' need not agree. What must not be torn
apart is a script, which Redis runs as one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Iterable
from typing import Any, TypeVar

import redis.asyncio as redis
from redis.exceptions import RedisError
from teletrunk.config import ConfigurationError

from teletrunk_manager.state import LINE_S, SERVICE_S, Line, OutOfReach

_PREFIX = "teletrunk:"
_CHANGED = _PREFIX + "changed"
_PASSED_ON = _PREFIX + "passed-on"
_NAMES = _PREFIX + "services"
_ANSWER_S = 1.0
_RETRY_S = 0.5
Answer = TypeVar("Answer")

_SHOW = """
local holder = redis.call('HGET', KEYS[1], 'holder')
if holder and holder ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'record', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('SADD', KEYS[2], ARGV[4])
return 1
"""
_DROP = """
if redis.call('HGET', KEYS[1], 'holder') ~= ARGV[1] then return 0 end
redis.call('HDEL', KEYS[1], 'holder')
redis.call('HSET', KEYS[1], 'record', '')
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
"""
_TAKE = """
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ms)
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], ms + ARGV[3], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3] * 2)
return 1
"""
_KEEP = """
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], ms + ARGV[1], ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1] * 2)
"""
_COUNT = """
local now = redis.call('TIME')
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now[1] * 1000 + math.floor(now[2] / 1000))
return redis.call('ZCARD', KEYS[1])
"""


class RedisState:
    """Raises `ConfigurationError` for a URL that is none. Redis need not be there yet."""

    def __init__(self, url: str) -> None:
        try:
            self._redis: Any = redis.from_url(
                url, socket_timeout=_ANSWER_S, socket_connect_timeout=_ANSWER_S, retry_on_timeout=False
            )
        except ValueError as error:
            raise ConfigurationError(f"TELETRUNK_REDIS_URL: {error}") from None
        self._show = self._redis.register_script(_SHOW)
        self._drop = self._redis.register_script(_DROP)
        self._take = self._redis.register_script(_TAKE)
        self._keep = self._redis.register_script(_KEEP)
        self._count = self._redis.register_script(_COUNT)

    async def take_service(self, service_id: str, holder: str, record: bytes) -> None:
        async with _reaching(), self._redis.pipeline() as pipe:
            pipe.hset(_service(service_id), mapping={"holder": holder, "record": record})
            pipe.pexpire(_service(service_id), _ms(SERVICE_S))
            pipe.sadd(_NAMES, service_id)
            await pipe.execute()

    async def show_service(self, service_id: str, holder: str, record: bytes) -> bool:
        keys = [_service(service_id), _NAMES]
        return bool(await _asked(self._show(keys=keys, args=[holder, record, _ms(SERVICE_S), service_id])))

    async def drop_service(self, service_id: str, holder: str) -> bool:
        return bool(await _asked(self._drop(keys=[_service(service_id)], args=[holder, _ms(SERVICE_S)])))

    async def services(self) -> dict[str, bytes]:
        async with _reaching():
            names = [name.decode() for name in await self._redis.smembers(_NAMES)]
            async with self._redis.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.hget(_service(name), "record")
                records = await pipe.execute()
            found = {name: record for name, record in zip(names, records, strict=True) if record is not None}
            if gone := set(names) - set(found):
                await self._redis.srem(_NAMES, *gone)
        return found

    async def take_line(self, line: Line, limit: int) -> bool:
        return bool(await _asked(self._take(keys=[_pool(line[0])], args=[line[1], limit, _ms(LINE_S)])))

    async def keep_lines(self, lines: Iterable[Line]) -> None:
        pools: dict[str, list[str]] = {}
        for pool, call_id in lines:
            pools.setdefault(pool, []).append(call_id)
        for pool, calls in pools.items():
            await _asked(self._keep(keys=[_pool(pool)], args=[_ms(LINE_S), *calls]))

    async def give_line(self, line: Line) -> None:
        await _asked(self._redis.zrem(_pool(line[0]), line[1]))

    async def lines(self, pool: str) -> int:
        return int(await _asked(self._count(keys=[_pool(pool)])))

    async def announce(self) -> None:
        await _asked(self._redis.publish(_CHANGED, b""))

    async def changes(self) -> AsyncIterator[None]:
        async for _ in self._heard(_CHANGED):
            yield  # the first time, as there may have been some before we listened

    async def pass_on(self, message: bytes) -> int:
        return int(await _asked(self._redis.publish(_PASSED_ON, message)))

    async def passed_on(self) -> AsyncIterator[bytes]:
        async for message in self._heard(_PASSED_ON):
            if message is not None:
                yield message

    async def _heard(self, channel: str) -> AsyncIterator[bytes | None]:
        """What is published; None each time that it begins to listen."""
        while True:
            with contextlib.suppress(RedisError, OSError, asyncio.TimeoutError):
                async with self._redis.pubsub() as listener:
                    await listener.subscribe(channel)
                    yield None
                    while True:
                        heard = await listener.get_message(ignore_subscribe_messages=True, timeout=5.0)
                        if (task := asyncio.current_task()) is not None and task.cancelling():
                            raise asyncio.CancelledError  # redis-py may have swallowed it
                        if heard:
                            yield bytes(heard["data"])
            await asyncio.sleep(_RETRY_S)

    async def close(self) -> None:
        await self._redis.aclose()


@contextlib.asynccontextmanager
async def _reaching() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(2 * _ANSWER_S):
            yield
    except (RedisError, OSError, TimeoutError) as error:
        raise OutOfReach(str(error) or type(error).__name__) from error


async def _asked(call: Awaitable[Answer]) -> Answer:
    async with _reaching():
        return await call


def _service(service_id: str) -> str:
    return f"{_PREFIX}service:{service_id}"


def _pool(name: str) -> str:
    return f"{_PREFIX}lines:{name}"


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
