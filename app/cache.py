"""Redis: records and unknown ids, a copy that may be lost at any time.

A key holds `<version> <json>`, or `0` for an id that was looked for and does not exist. Nothing here raises because of
Redis: when it is away there are no answers, within `redis_timeout`, and soon not even the attempt.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar, cast

import structlog
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from app.errors import Misconfigured
from app.records import Record
from app.settings import Settings

log = structlog.get_logger()
Answer = TypeVar("Answer")
Command = tuple[str | bytes | int, ...]

CONNECTIONS = 16
DECODED = 5_000  # records kept as they were last decoded, some 5 kB each
STEPS = 10  # of one timeout
UNKNOWN = b"0"

# A newer version stays, and so does the very same value: whoever put it set its time to live from the same database.
# Other bytes of the same version were damaged or written by another release, which cannot be read here: they go.
# When SET is refused (memory is full), no record is right where an older one would be wrong.
PUT = """
local function version(value) return tonumber(string.match(value, '^%d+') or 0) end
local stored = redis.call('GET', KEYS[1])
if stored and (stored == ARGV[1] or version(stored) > version(ARGV[1])) then return 0 end
local answer = redis.pcall('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if answer.err then redis.call('DEL', KEYS[1]) end
return answer
"""
PUT_SHA = hashlib.sha1(PUT.encode(), usedforsecurity=False).hexdigest()


class Cache:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        url = settings.redis_url.get_secret_value()
        self._redis = Redis.from_pool(_pool(url or "redis://"))
        self._turns = asyncio.Semaphore(self._redis.connection_pool.max_connections)
        self._presence = _Breaker(settings, absent=not url)
        self._refused = False
        self._decoded: dict[str, tuple[bytes, Record | None]] = {}

    async def get_many(self, class_ids: Sequence[str]) -> dict[str, Record | None]:
        """What is known: a record, or None for an id that does not exist. An id that is missing here may exist."""
        if not class_ids:
            return {}
        keys = [_key(class_id) for class_id in class_ids]
        values = cast("list[bytes | None] | None", await self._ask(lambda: self._redis.mget(keys)))
        found: dict[str, Record | None] = {}
        for class_id, value in zip(class_ids, values or (), strict=False):
            # What does not decode was damaged or written by another release: a miss.
            with contextlib.suppress(ValueError, TypeError, KeyError):
                if value is not None:
                    found[class_id] = self._decode(class_id, value)
        return found

    def _decode(self, class_id: str, value: bytes) -> Record | None:
        """Most are the same bytes as last time, and comparing is a hundred times faster than decoding."""
        last, record = self._decoded.get(class_id, (None, None))
        if last != value:
            record = _decode(value)
            self._decoded.pop(class_id, None)
            self._decoded[class_id] = value, record
            if len(self._decoded) > DECODED:
                self._decoded.pop(next(iter(self._decoded)))
        return record

    async def put_many(self, records: Sequence[Record]) -> None:
        """Store what is newer than what is there, whatever the order of arrival."""
        commands: list[Command] = []
        for record in records:
            try:
                commands.append(("EVALSHA", PUT_SHA, 1, *self._entry(record)))
            except TypeError:
                # What another program wrote into `custom` may be beyond JSON writers: that record alone is not cached.
                log.error("record_not_cached", class_id=record.class_id)
        await self._write(commands)

    async def remember_unknown(self, class_ids: Sequence[str]) -> None:
        ttl = self._settings.cache_ttl_unknown
        await self._write([("SET", _key(class_id), UNKNOWN, "NX", "PX", self._vary(ttl)) for class_id in class_ids])

    async def close(self) -> None:
        with contextlib.suppress(RedisError, OSError):
            async with asyncio.timeout(self._settings.redis_timeout):
                await self._redis.aclose()

    def _entry(self, record: Record) -> tuple[bytes, bytes, int]:
        archived = record.status == "ARCHIVED"
        ttl = self._settings.cache_ttl_archived if archived else self._settings.cache_ttl_active
        return _key(record.class_id), b"%d %b" % (record.version, record.to_json()), self._vary(ttl)

    def _vary(self, seconds: int) -> int:
        """In milliseconds, so that what was stored together does not expire together."""
        jitter = self._settings.cache_ttl_jitter
        return max(1, round(seconds * 1000 * random.uniform(1 - jitter, 1 + jitter)))  # noqa: S311

    async def _write(self, commands: list[Command]) -> None:
        """In one round trip. Redis may refuse to write (full, read-only) and still be good to read from; it is told
        every time nevertheless, for a refused record takes the older one with it."""
        answers = await self._ask(lambda: self._pipeline(commands)) if commands else None
        if answers is None:
            return
        refusal = next((answer for answer in answers if isinstance(answer, Exception)), None)
        if refusal and not self._refused:
            log.warning("redis_refuses_writes", reason=_reason(refusal))
        self._refused = refusal is not None

    async def _pipeline(self, commands: list[Command]) -> list[Any]:
        answers = await self._send(commands)
        if any(isinstance(answer, NoScriptError) for answer in answers):
            # Redis was restarted or its scripts were flushed; EVAL teaches it again.
            answers = await self._send([("EVAL", PUT, *arguments) for _, _, *arguments in commands])
        return answers

    async def _send(self, commands: list[Command]) -> list[Any]:
        pipeline = self._redis.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        return await pipeline.execute(raise_on_error=False)

    async def _ask(self, question: Callable[[], Awaitable[Answer]]) -> Answer | None:
        """The answer, or None when there is none to be had in time."""
        if not self._presence.admits():
            return None
        probing = self._presence.open
        patience = _Patience(self._settings.redis_timeout)
        left = 0
        try:
            async with patience, self._turns:
                left = patience.left
                if self._presence.open:
                    if not probing:
                        return None
                    # Connections from before the outage may be dead without knowing it.
                    await self._redis.connection_pool.disconnect(inuse_connections=False)
                answer = await question()
        except TimeoutError as error:
            # Who spent the time waiting for a turn has learnt about our crowd, not about Redis.
            if left > STEPS / 2:
                self._presence.fails(error)
            return None
        except Exception as error:
            self._presence.fails(error)
            return None
        self._presence.works()
        return answer


class _Breaker:
    """Lets everyone through until something fails; then nobody for a while, then one at a time to try."""

    def __init__(self, settings: Settings, *, absent: bool) -> None:
        """`absent`: there is no Redis, and never will be."""
        self._pause = settings.redis_retry_after
        self._trial = settings.redis_timeout
        self._retry_at: float | None = math.inf if absent else None

    @property
    def open(self) -> bool:
        return self._retry_at is not None

    def admits(self) -> bool:
        if self._retry_at is None:
            return True
        now = time.monotonic()
        if now < self._retry_at:
            return False
        # The next may try when this trial is over, even if it was cancelled and nobody heard how it went.
        self._retry_at = now + self._trial + self._pause
        return True

    def fails(self, error: Exception) -> None:
        if not self.open:
            log.warning("redis_is_away", reason=_reason(error), retry_after=self._pause)
        self._retry_at = time.monotonic() + self._pause

    def works(self) -> None:
        if self.open:
            log.info("redis_is_back")
        self._retry_at = None


class _Patience:
    """asyncio.timeout, but in steps. A single look at the clock comes late when this process was busy elsewhere, and
    gives up on an answer that has already arrived: a busy moment must not pass for an outage."""

    def __init__(self, seconds: float) -> None:
        self._step = seconds / STEPS
        self._limit = asyncio.timeout(None)
        self.left = STEPS

    async def __aenter__(self) -> None:
        await self._limit.__aenter__()
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(self._step, self._wait)

    async def __aexit__(self, *raised: Any) -> None:
        self._timer.cancel()
        await self._limit.__aexit__(*raised)

    def _wait(self) -> None:
        self.left -= 1
        if self.left:
            self._timer = self._loop.call_later(self._step, self._wait)
        else:
            self._limit.reschedule(self._loop.time())


def _pool(url: str) -> ConnectionPool:
    """With RESP 3, redis-py 8.1 hands out connections without looking whether they are closed or hold an unread answer.
    With `socket_timeout` it makes a task for each command, which can swallow a cancellation; `_patience` covers all."""
    options: dict[str, Any] = {"socket_timeout": None, "socket_connect_timeout": None, "retry": Retry(NoBackoff(), 0)}
    try:
        return ConnectionPool.from_url(url, protocol=2, driver_info=None, max_connections=CONNECTIONS, **options)
    except ValueError:
        # Its message may hold a piece of the password.
        raise Misconfigured("REDIS_URL is not like redis://[[user]:password@]host:port/number.") from None


def _key(class_id: str) -> bytes:
    """Any string a client may send, lone surrogates too: it is an unknown id, not a failure of Redis."""
    return f"class-performance:{class_id}".encode("utf-8", "surrogatepass")


def _decode(value: bytes) -> Record | None:
    return None if value == UNKNOWN else Record.from_json(value.partition(b" ")[2])


def _reason(error: Exception) -> str:
    """Never the text of an answer: a server may repeat what it was sent, the password included."""
    cause = error.__context__
    return f"{type(error).__name__}: {cause}" if isinstance(cause, OSError) else type(error).__name__
