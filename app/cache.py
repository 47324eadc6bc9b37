"""Redis: records and unknown ids, a copy that may be lost at any time.

A key holds `<version> <json>`; or a version alone where there is no record: the last that was deleted, or 0 for an id
that was looked for and not found; or a placeholder, while somebody looks. Nothing here raises because of Redis: when it
is away there are no answers, within `redis_timeout`, and soon not even the attempt.

Keys are of one run of the server. One that comes back from a file, or takes another's place, may hold what was true
some time ago; nobody finds it there.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import structlog
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, OutOfMemoryError, RedisError

from app.connections import Answer, Command, Connections, Question, send
from app.presence import STEPS, Breaker, Patience, reason
from app.records import Record
from app.settings import Settings

log = structlog.get_logger()
Item = TypeVar("Item")
Entry = tuple[str, bytes, int]  # of a class the value, and the seconds it lives

DECODED = 5_000  # records kept as they were last decoded, some 5 kB each
HEARD = 100_000  # classes of which it is remembered what version they have reached
DELETED_SECONDS = 60  # longer than anyone holds a record before putting it
LEASE_SECONDS = 10

# A newer version stays, and so does the very same value: whoever put it set its time to live from the same database.
# Other bytes of the same version were damaged, written by another release or are of a class whose status changed: they
# go; but what was deleted stays deleted. When SET is refused (memory is full), no record is right where an older one
# would be wrong. Whoever listens is told in any case, for what is no news here may be to them; but nothing older than
# what is here. Who only replaces puts nothing where there is nothing, and whoever is looking must look again.
PUT = """
local function version(value) return tonumber(string.match(value, '^%d+') or 0) end
local stored, answer, news = redis.call('GET', KEYS[1]), 0, ARGV[1]
local ahead = stored and version(stored) - version(ARGV[1])
if ARGV[3] == 'replace' and (not stored or string.sub(stored, 1, 1) == '?') then
    redis.call('DEL', KEYS[1])
elseif not stored or ahead < 0 or (ahead == 0 and stored ~= ARGV[1] and string.find(stored, ' ')) then
    answer = redis.pcall('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
    if answer.err then redis.pcall('DEL', KEYS[1]) end
else
    news = stored
end
if ARGV[4] then redis.call('PUBLISH', ARGV[4], ARGV[5] .. news) end
return answer
"""

# In the place of what was there before it was read from the database, and of nothing else: what is not there any more
# was newer, or lost, and then this may be old.
FILL = """
local function version(value) return tonumber(string.match(value, '^%d+') or 0) end
if redis.call('GET', KEYS[1]) ~= ARGV[3] or ARGV[1] == ARGV[3] or version(ARGV[3]) > version(ARGV[1]) then return 0 end
return redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
"""
SCRIPTS = {hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest(): script for script in (PUT, FILL)}
PUT_SHA, FILL_SHA = SCRIPTS


class Cache:
    """`patience`: seconds to wait for Redis, where nobody waits for us; `redis_timeout` if it is not given."""

    def __init__(self, settings: Settings, patience: float | None = None) -> None:
        self._settings = settings
        self._patience = patience or settings.redis_timeout
        self._pool = Connections.to(settings)
        self._turns = asyncio.Semaphore(self._pool.max_connections)
        self.is_configured = bool(settings.redis_url.get_secret_value())
        self._presence = Breaker(settings, self._patience, absent=not self.is_configured)
        self._refused = False
        self._decoded: dict[str, tuple[bytes, Record | None]] = {}
        self._heard: dict[str, int] = {}

    @property
    def is_away(self) -> bool:
        return self._presence.open

    async def get_many(self, class_ids: Sequence[str]) -> dict[str, Record | None]:
        """What is known: a record, or None for an id that does not exist. An id that is missing here may exist."""
        if not class_ids:
            return {}
        values = await self._ask(lambda connection, era: _get(connection, [_key(era, id_) for id_ in class_ids]))
        found: dict[str, Record | None] = {}
        for class_id, value in zip(class_ids, values or (), strict=False):
            # What does not decode was damaged or written by another release: a miss.
            with contextlib.suppress(ValueError, TypeError, KeyError):
                if value is not None and _rank(value) >= self._heard.get(class_id, 0):
                    found[class_id] = self.decode(class_id, value)
        return found

    def hear(self, class_id: str, value: bytes) -> bool:
        """This is so: nothing older is read from now on, not even where Redis may not store it. False if this is older
        itself. Raises ValueError."""
        rank, known = _rank(value), self._heard.pop(class_id, 0)
        self._heard[class_id] = max(rank, known)
        if len(self._heard) > HEARD:
            self._heard.pop(next(iter(self._heard)))
        return rank >= known

    def decode(self, class_id: str, value: bytes) -> Record | None:
        """Most are the same bytes as last time, and comparing is a hundred times faster than decoding. Raises
        ValueError, TypeError or KeyError."""
        last, record = self._decoded.get(class_id, (None, None))
        if last != value:
            record = _decode(value)
            self._decoded.pop(class_id, None)
            self._decoded[class_id] = value, record
            if len(self._decoded) > DECODED:
                self._decoded.pop(next(iter(self._decoded)))
        return record

    async def put_many(self, records: Sequence[Record], *, publish: bool = False) -> bool:
        """Store what is newer than what is there, whatever the order of arrival, and tell who listens. Whether it is
        done: if not, an older copy may still be there, and perhaps nobody was told.

        Where nothing is there, nothing shows that this is old: to be checked afterwards by whoever puts it."""
        return await self._put(map(self._entry, records), "", publish=publish)

    async def remove_many(self, versions: Mapping[str, int], *, publish: bool = False) -> bool:
        """Of classes whose record was deleted, by the version it had. Late copies of it are not put any more."""
        entries = ((class_id, b"%d" % version, DELETED_SECONDS) for class_id, version in versions.items())
        return await self._put(entries, "", publish=publish)

    async def replace_many(self, records: Sequence[Record]) -> None:
        """Leave nothing older."""
        await self._put(map(self._entry, records), "replace")

    async def lease_many(self, class_ids: Sequence[str]) -> dict[str, bytes]:
        """To be taken before the database is read: what is there now, a placeholder at least."""
        placeholder = b"?" + secrets.token_bytes(8)
        options = ("NX", "GET", "PX", LEASE_SECONDS * 1000)
        found = await self._write(class_ids, lambda era, class_id: ("SET", _key(era, class_id), placeholder, *options))
        values = zip(class_ids, found or (), strict=False)
        return {class_id: value or placeholder for class_id, value in values if not isinstance(value, Exception)}

    async def fill_many(self, lease: Mapping[str, bytes], found: Mapping[str, Record | None]) -> None:
        """Store what was read, or that there is no such id, unless anything came of the class meanwhile."""
        entries = [self._entry(found[class_id] or class_id) for class_id in lease]
        await self._write(entries, lambda era, entry: self._script(FILL_SHA, era, entry, lease[entry[0]]))

    async def say(self, channel: str) -> None:
        """Something without content, to whoever listens now."""
        await self._ask(lambda connection, _: _exchange(connection, [("PUBLISH", self._pool.channel(channel), b"")]))

    async def close(self) -> None:
        with contextlib.suppress(RedisError, OSError):
            async with asyncio.timeout(self._settings.redis_timeout):
                await self._pool.aclose()

    async def _put(self, records: Iterable[Entry], mode: str, *, publish: bool = False) -> bool:
        channel = self._pool.channel("")

        def command(era: str, entry: Entry) -> Command:
            told = (channel, entry[0].encode() + b"\0") if publish else ()
            return self._script(PUT_SHA, era, entry, mode, *told)

        answers = await self._write(list(records), command)
        # Of what there was no room for, no older copy is left: that is as good.
        return answers is not None and not any(
            isinstance(answer, Exception) and not isinstance(answer, OutOfMemoryError) for answer in answers
        )

    def _script(self, sha: str, era: str, entry: Entry, *arguments: str | bytes) -> Command:
        class_id, value, life = entry
        return ("EVALSHA", sha, 1, _key(era, class_id), value, self._vary(life), *arguments)

    def _entry(self, found: Record | str) -> Entry:
        """What is stored of a record, or of the id of none."""
        if isinstance(found, str):
            return found, b"0", self._settings.cache_ttl_unknown
        archived = found.status == "ARCHIVED"
        life = self._settings.cache_ttl_archived if archived else self._settings.cache_ttl_active
        value = _encode(found)
        self.hear(found.class_id, value)
        return found.class_id, value, life

    def _vary(self, seconds: int) -> int:
        """In milliseconds, so that what was stored together does not expire together."""
        jitter = self._settings.cache_ttl_jitter
        return max(1, round(seconds * 1000 * random.uniform(1 - jitter, 1 + jitter)))  # noqa: S311

    async def _write(self, items: Sequence[Item], command: Callable[[str, Item], Command]) -> list[Any] | None:
        """In one round trip. Redis may refuse to write (full, read-only) and still be good to read from; it is told
        every time nevertheless, for a refused record takes the older one with it."""
        if not items:
            return []
        answers = await self._ask(lambda connection, era: _exchange(connection, [command(era, item) for item in items]))
        refusal = next((answer for answer in answers or () if isinstance(answer, Exception)), None)
        if refusal and not self._refused:
            log.warning("redis_refuses_writes", reason=reason(refusal))
        if answers is not None:
            self._refused = refusal is not None
        return answers

    async def _ask(self, question: Question[Answer]) -> Answer | None:
        """The answer, or None when there is none to be had in time."""
        if not self._presence.admits():
            return None
        probing = self._presence.open
        patience = Patience(self._patience)
        left = 0
        try:
            async with patience, self._turns:
                left = patience.left
                if self._presence.open:
                    if not probing:
                        return None
                    # Connections from before the outage may be dead without knowing it.
                    await self._pool.disconnect(inuse_connections=False)
                answer = await self._pool.ask(question)
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


async def _exchange(connection: AbstractConnection, commands: list[Command]) -> list[Any]:
    """The answers in order; refusals are among them."""
    answers = await send(connection, commands)
    if any(isinstance(answer, NoScriptError) for answer in answers):
        # Redis was restarted or its scripts were flushed; EVAL teaches it again.
        answers = await send(connection, [("EVAL", SCRIPTS[str(sha)], *arguments) for _, sha, *arguments in commands])
    return answers


async def _get(connection: AbstractConnection, keys: list[bytes]) -> list[bytes | None]:
    await connection.send_packed_command(connection.pack_command("MGET", *keys), check_health=False)
    values: list[bytes | None] = await connection.read_response()
    return values


def _key(era: str, class_id: str) -> bytes:
    """Any string a client may send, lone surrogates too: it is an unknown id, not a failure of Redis."""
    return f"class-performance:{era}:{class_id}".encode("utf-8", "surrogatepass")


def _encode(record: Record) -> bytes:
    try:
        return b"%d %b" % (record.version, record.to_json())
    except TypeError:
        # What another program wrote into `custom` may be beyond JSON writers: that record alone is not cached, and
        # what stands in its place sends every reader to the database.
        log.error("record_not_cached", class_id=record.class_id)
        return b"%d " % record.version


def _rank(value: bytes) -> int:
    """By version; and it was deleted after it had its last."""
    version, divider, _ = value[:20].partition(b" ")
    return 2 * int(version) + (not divider)


def _decode(value: bytes) -> Record | None:
    version, divider, json = value.partition(b" ")
    if divider:
        return Record.from_json(json)
    int(version)
    return None
