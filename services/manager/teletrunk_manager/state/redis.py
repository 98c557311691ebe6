"""The shared state in Redis.

A service is a key with a life of its own, and a set holds their names. A pool of lines is a sorted set of calls by the
time at which each line lapses; Redis' own clock counts, so that the Managers' need not agree. What must not be torn
apart is a script, which Redis runs as one.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import redis.asyncio as redis
from redis.exceptions import RedisError
from teletrunk.config import ConfigurationError

from teletrunk_manager.state import LINE_S, SERVICE_S, Holding, Line, Mark, OutOfReach, Telling

_PREFIX = "teletrunk:"
_CHANGED = _PREFIX + "changed"
_PASSED_ON = _PREFIX + "passed-on"
_READS_CHANGES = _PREFIX + "reads-changes"  # nothing is said there: who does not listen is of the version before
_NAMES = _PREFIX + "services"
_ANSWER_S = 1.0
_RETRY_S = 0.5
_MOVED = b"moved"  # a Manager of the version before says nothing: then the database is read
_SHORTEST_LONG = 4 << 10  # bytes of changes
Answer = TypeVar("Answer")

# A record's key has its holder, the whole `record`, and, beside it, `stamp` and `count`, its mark, and `upto`: how many
# changes are in the whole one. A list has the changes after that, and some before: who is behind a little reads those.
# A Manager of the version before knows holder and record alone; what it has written has none of its stamps.
_WHOLE = """
local holder = redis.call('HGET', KEYS[1], 'holder')
if ARGV[6] == '' and holder and holder ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'record', ARGV[2], 'stamp', ARGV[5], 'count', 0, 'upto', 0)
redis.call('HDEL', KEYS[1], 'seen')
redis.call('DEL', KEYS[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('SADD', KEYS[3], ARGV[4])
return 1
"""
_ADD = """
local known = redis.call('HMGET', KEYS[1], 'holder', 'stamp', 'count')
if known[1] and known[1] ~= ARGV[1] then return 0 end
if not known[1] or known[2] ~= ARGV[2] or known[3] ~= ARGV[3] then return -1 end
redis.call('HINCRBY', KEYS[1], 'count', 1)
redis.call('RPUSH', KEYS[2], ARGV[4])
if ARGV[6] ~= '' then
  redis.call('HSET', KEYS[1], 'record', ARGV[6], 'upto', ARGV[3] + 1)
  redis.call('LTRIM', KEYS[2], -64, -1)
end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('PEXPIRE', KEYS[2], ARGV[5] * 2)
return 1
"""
_HOLD = """
local found = {}
for i = 1, #KEYS, 2 do
  local at = 2 * i
  local known = redis.call('HMGET', KEYS[i], 'holder', 'stamp', 'count', 'upto')
  if known[1] and known[1] ~= ARGV[at] then found[#found + 1] = 0
  elseif not known[1] or known[2] ~= ARGV[at + 1] or tonumber(known[3]) < tonumber(ARGV[at + 2])
      or redis.call('LLEN', KEYS[i + 1]) < known[3] - known[4] then found[#found + 1] = -1
  else
    redis.call('HSET', KEYS[i], 'seen', ARGV[at + 3])
    redis.call('PEXPIRE', KEYS[i], ARGV[1])
    redis.call('PEXPIRE', KEYS[i + 1], ARGV[1] * 2)
    found[#found + 1] = 1
  end
end
return found
"""
_WHERE = """
local found = {}
for _, name in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local key = ARGV[1] .. name
  if redis.call('EXISTS', key) == 0 then redis.call('SREM', KEYS[1], name)
  else
    found[#found + 1] = name
    for _, value in ipairs(redis.call('HMGET', key, 'holder', 'stamp', 'count', 'seen')) do
      found[#found + 1] = value or ''
    end
  end
end
return found
"""
_READ = """
local known = redis.call('HMGET', KEYS[1], 'holder', 'stamp', 'count', 'seen', 'upto', 'record')
if not known[6] then return {} end
local holder, stamp = known[1] or '', known[2] or ''
local mark = {holder, stamp, known[3] or '', known[4] or ''}
if holder == '' or string.sub(stamp, 1, #holder + 1) ~= holder .. ':' then return {mark, 1, {}, known[6]} end
local first, from = known[3] - redis.call('LLEN', KEYS[2]), tonumber(ARGV[2])
if ARGV[1] == stamp and from >= first and from <= tonumber(known[3]) then
  return {mark, 0, redis.call('LRANGE', KEYS[2], from - first, -1)}
end
return {mark, 1, redis.call('LRANGE', KEYS[2], math.max(known[5] - first, 0), -1), known[6]}
"""
_DROP = """
if redis.call('HGET', KEYS[1], 'holder') ~= ARGV[1] then return 0 end
redis.call('HDEL', KEYS[1], 'holder', 'stamp')
redis.call('HSET', KEYS[1], 'record', '')
redis.call('DEL', KEYS[2])
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
local until_ms = now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[1]
for i = 4, #ARGV, 2 do
  local key = ARGV[2] .. ARGV[i]
  if ARGV[3] == 'XX' then redis.call('ZADD', key, 'XX', until_ms, ARGV[i + 1])
  else redis.call('ZADD', key, until_ms, ARGV[i + 1]) end
  redis.call('PEXPIRE', key, ARGV[1] * 2)
end
"""
_COUNT = """
local now = redis.call('TIME')
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now[1] * 1000 + math.floor(now[2] / 1000))
return redis.call('ZCARD', KEYS[1])
"""


@dataclass
class _Written:
    """What is in a record that we write."""

    stamp: str
    whole: int  # its bytes
    count: int = 0
    changes: int = 0  # bytes after the whole one

    @property
    def is_long(self) -> bool:
        return self.changes > max(self.whole, _SHORTEST_LONG)

    def grow(self, change: bytes) -> None:
        self.changes += len(change)

    def put(self, record: bytes) -> None:
        self.count += 1
        if record:
            self.whole, self.changes = len(record), 0


@dataclass(eq=False)
class _Record:
    """One that we write."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)  # of whoever writes: it is what it was, or what it will be
    written: _Written | None = None  # not while it is being written: what fails half-way may have been

    @property
    def mark(self) -> tuple[str, int]:
        return (self.written.stamp, self.written.count) if self.written is not None else ("", 0)


class RedisState:
    """Raises `ConfigurationError` for a URL that is none. Redis need not be there yet."""

    def __init__(self, url: str) -> None:
        try:
            self._redis: Any = redis.from_url(
                url, socket_timeout=_ANSWER_S, socket_connect_timeout=_ANSWER_S, retry_on_timeout=False
            )
        except ValueError as error:
            raise ConfigurationError(f"TELETRUNK_REDIS_URL: {error}") from None
        self._whole = self._redis.register_script(_WHOLE)
        self._add = self._redis.register_script(_ADD)
        self._hold = self._redis.register_script(_HOLD)
        self._where = self._redis.register_script(_WHERE)
        self._read = self._redis.register_script(_READ)
        self._drop = self._redis.register_script(_DROP)
        self._take = self._redis.register_script(_TAKE)
        self._keep = self._redis.register_script(_KEEP)
        self._count = self._redis.register_script(_COUNT)
        self._records: dict[str, _Record] = {}  # by holder
        self._has_older = False  # a Manager that reads whole records only

    async def take_service(self, service_id: str, holder: str, record: bytes) -> None:
        async with self._writing(holder) as ours:
            await self._write_whole(service_id, holder, ours, record, by_force=True)

    async def show_service(self, service_id: str, holder: str, change: bytes, whole: Callable[[], bytes]) -> bool:
        async with self._writing(holder) as ours:
            written, ours.written = ours.written, None
            if written is None:
                return await self._write_whole(service_id, holder, ours, whole())
            if change:
                written.grow(change)
                record = whole() if self._has_older or written.is_long else b""
                args: list[Any] = [holder, written.stamp, written.count, change, _ms(SERVICE_S), record]
                done = await _asked(self._add(keys=_keys(service_id), args=args))
                if done < 0:
                    return await self._write_whole(service_id, holder, ours, record or whole())
                if not done:
                    return False
                written.put(record)
            ours.written = written
            return True

    @contextlib.asynccontextmanager
    async def _writing(self, holder: str) -> AsyncIterator[_Record]:
        ours = self._records.setdefault(holder, _Record())
        async with _reaching(), ours.turn:
            yield ours

    async def _write_whole(
        self, service_id: str, holder: str, ours: _Record, record: bytes, *, by_force: bool = False
    ) -> bool:
        written = _Written(f"{holder}:{secrets.token_hex(4)}", len(record))
        force = "force" if by_force else ""
        args: list[Any] = [holder, record, _ms(SERVICE_S), service_id, written.stamp, force]
        done = bool(await _asked(self._whole(keys=[*_keys(service_id), _NAMES], args=args)))
        if done:
            ours.written = written
        return done

    async def keep_services(self, holdings: Iterable[Holding]) -> tuple[set[str], set[str]]:
        # One that is being written says by that itself that it is there.
        known = [(each, self._mark(each.holder)) for each in holdings if not self._is_written(each.holder)]
        keys: list[str] = []
        args: list[Any] = [_ms(SERVICE_S)]
        for holding, mark in known:
            keys += _keys(holding.service_id)
            args += [holding.holder, *mark, holding.seen_at]
        answers = await _asked(self._hold(keys=keys, args=args)) if keys else []
        gone, forgotten = set[str](), set[str]()
        for (holding, mark), answer in zip(known, answers, strict=True):
            if answer == 0:
                gone.add(holding.service_id)
            elif answer < 0 and not self._is_written(holding.holder) and self._mark(holding.holder) == mark:
                forgotten.add(holding.service_id)
                if ours := self._records.get(holding.holder):
                    ours.written = None
        return gone, forgotten

    def _is_written(self, holder: str) -> bool:
        return holder in self._records and self._records[holder].turn.locked()

    def _mark(self, holder: str) -> tuple[str, int]:
        return self._records[holder].mark if holder in self._records else ("", 0)

    async def drop_service(self, service_id: str, holder: str) -> bool:
        self._records.pop(holder, None)
        return bool(await _asked(self._drop(keys=_keys(service_id), args=[holder, _ms(SERVICE_S)])))

    async def services(self) -> dict[str, Mark]:
        await self._look_for_older()
        found = await _asked(self._where(keys=[_NAMES], args=[_service("")]))
        names = [found[at].decode() for at in range(0, len(found), 5)]
        return {name: _mark(*found[5 * at + 1 : 5 * at + 5]) for at, name in enumerate(names)}

    async def _look_for_older(self) -> None:
        listeners = dict(await _asked(self._redis.pubsub_numsub(_CHANGED, _READS_CHANGES)))
        has_older = listeners[_CHANGED.encode()] > listeners[_READS_CHANGES.encode()]
        if has_older and not self._has_older:
            for record in self._records.values():  # all is shown again, whole
                record.written = None
        self._has_older = has_older

    async def service(self, service_id: str, known: Mark | None) -> Telling | None:
        args: list[Any] = [known.stamp, known.count] if known is not None else ["", 0]
        answer = await _asked(self._read(keys=_keys(service_id), args=args))
        if not answer:
            return None
        mark, afresh, changes, *whole = answer
        return Telling(_mark(*mark), bool(afresh), [*whole, *changes])

    async def take_line(self, line: Line, limit: int) -> bool:
        return bool(await _asked(self._take(keys=[_pool(line[0])], args=[line[1], limit, _ms(LINE_S)])))

    async def keep_lines(self, lines: Iterable[Line]) -> None:
        await self._keep_lines(lines, "")

    async def renew_lines(self, lines: Iterable[Line]) -> None:
        await self._keep_lines(lines, "XX")

    async def _keep_lines(self, lines: Iterable[Line], which: str) -> None:
        if named := [text for line in lines for text in line]:
            await _asked(self._keep(keys=[], args=[_ms(LINE_S), _pool(""), which, *named]))

    async def give_line(self, line: Line) -> None:
        await _asked(self._redis.zrem(_pool(line[0]), line[1]))

    async def lines(self, pool: str) -> int:
        return int(await _asked(self._count(keys=[_pool(pool)])))

    async def announce(self, *, stored: bool = True) -> None:
        await _asked(self._redis.publish(_CHANGED, b"" if stored else _MOVED))

    async def changes(self) -> AsyncIterator[bool]:
        async for message in self._heard(_READS_CHANGES, _CHANGED):
            yield message != _MOVED  # the first time, as there may have been some before we listened

    async def pass_on(self, message: bytes) -> int:
        return int(await _asked(self._redis.publish(_PASSED_ON, message)))

    async def passed_on(self) -> AsyncIterator[bytes]:
        async for message in self._heard(_PASSED_ON):
            if message is not None:
                yield message

    async def _heard(self, *channels: str) -> AsyncIterator[bytes | None]:
        """What is published; None each time that it begins to listen."""
        while True:
            with contextlib.suppress(RedisError, OSError, asyncio.TimeoutError):
                async with self._redis.pubsub() as listener:
                    await listener.subscribe(*channels)
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


def _mark(holder: bytes, stamp: bytes, count: bytes, seen_at: bytes) -> Mark:
    is_ours = holder and stamp.startswith(holder + b":")
    return Mark(stamp.decode(), int(count), float(seen_at or 0)) if is_ours else Mark(left=not holder)


def _keys(service_id: str) -> list[str]:
    return [_service(service_id), f"{_PREFIX}changes:{service_id}"]


def _service(service_id: str) -> str:
    return f"{_PREFIX}service:{service_id}"


def _pool(name: str) -> str:
    return f"{_PREFIX}lines:{name}"


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
