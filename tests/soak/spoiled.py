"""`classperf` with one fault in its code, put there on purpose: `python -m tests.soak.spoiled NAME serve`."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import Callable
from typing import Any

from sqlalchemy import text

from app import (
    cache,
    changes,
    connections,
    news,
    performance,
    recording,
    relay,
    reports,
    views,
    watches,
    watching,
    worker,
)
from app.cli import run
from app.gradebook import Recorded

LATE = 0.4  # seconds
FOR_UPDATE = " FOR NO KEY UPDATE"
CALCULATED = "calculated m"


def spoil(owner: Any, name: str, instead: Any) -> None:
    assert hasattr(owner, name), f"{owner.__name__} has no {name} any more"
    setattr(owner, name, instead)


def take_every_mark() -> None:
    """A worker takes the marks of other classes too, which it does not calculate"""
    take = text("""
        WITH taken AS (DELETE FROM class_change WHERE class_id IS NOT NULL RETURNING class_id, at)
        SELECT class_id, min(at) AS since FROM taken WHERE class_id = ANY(:ids) GROUP BY class_id
    """)
    spoil(changes, "TAKE", take)


def take_marks_afterwards() -> None:
    """A worker takes marks when it has calculated: also of what the calculation could not see yet"""
    calculate = performance._calculate

    async def and_take(connection: Any, class_ids: list[str], *rest: Any) -> Any:
        changed = await calculate(connection, class_ids, *rest)
        await connection.execute(changes.TAKE, {"ids": class_ids})
        return changed

    spoil(performance, "_calculate", and_take)


def commit_the_claim_first() -> None:
    """A worker commits its claim a moment before it calculates"""

    async def apart(self: Any) -> bool:
        async with worker.transaction(self.engine) as connection:
            claim = await changes.claim(connection, self._batch)
        await asyncio.sleep(LATE if claim.since else 0)
        async with worker.transaction(self.engine) as connection:
            return bool((await worker.recalculate_claimed(connection, claim)).class_ids)

    spoil(worker.Worker, "_calculate_batch", apart)


def lock_nothing() -> None:
    """Two calculate one class at the same time, one more slowly: who writes later may have seen less"""
    for name in ("LOCK", "LOCK_FREE"):
        statement = getattr(changes, name).text
        assert FOR_UPDATE in statement
        spoil(changes, name, text(statement.partition(FOR_UPDATE)[0]))
    write = performance.WRITE.text
    assert CALCULATED in write
    slowly = f"(SELECT pg_sleep(random() * {LATE})) AS slowly, {CALCULATED}"
    spoil(performance, "WRITE", text(write.replace(CALCULATED, slowly)))


def stop_the_clock() -> None:
    """Nobody looks whether time alone has changed a class"""

    async def nothing(_: Any) -> bool:
        return False

    spoil(worker.Worker, "_look_at_the_clock", nothing)


def tell_nobody() -> None:
    """The relay empties the outbox and tells nobody"""

    async def done(*_: Any) -> bool:
        return True

    spoil(relay.Relay, "_tell", done)


def take_silence_for_consent() -> None:
    """The relay empties the outbox though Redis did not answer"""
    tell = relay.Relay._tell

    async def try_once(self: Any, *arguments: Any) -> bool:
        await tell(self, *arguments)
        self._unverified.clear()
        return True

    spoil(relay.Relay, "_tell", try_once)


def put_anything() -> None:
    """An older record replaces a newer one in Redis, and the relay does not look again"""
    _put_by("""
        local answer = redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
        if ARGV[4] then redis.call('PUBLISH', ARGV[4], ARGV[5] .. ARGV[1]) end
        return answer
    """)
    read = relay.read_changed

    async def once(connection: Any, versions: Any) -> Any:
        return await read(connection, versions) if relay.ANY_VERSION in versions.values() else []

    spoil(relay, "read_changed", once)


def publish_nothing() -> None:
    """Records are put into Redis and not published"""
    _put_by(cache.PUT.replace("if ARGV[4]", "if false"))


def _put_by(script: str) -> None:
    assert script != cache.PUT
    sha = hashlib.sha1(script.encode()).hexdigest()
    spoil(cache, "PUT", script)
    spoil(cache, "PUT_SHA", sha)
    cache.SCRIPTS[sha] = script


def fill_anything() -> None:
    """A read puts what it found into Redis, whatever has become of Redis since it began to look"""

    async def fill(self: Any, lease: Any, found: Any) -> None:
        await self.put_many([record for record in found.values() if record is not None])

    spoil(cache.Cache, "fill_many", fill)


def trust_every_redis() -> None:
    """A Redis that comes back as it was some time ago is believed"""

    async def always_the_same(_: Any) -> str:
        return "era"

    spoil(connections, "_run_of", always_the_same)


def acknowledge_first() -> None:
    """The API answers, and stores the facts a little later"""
    record = recording.Recording.record
    under_way = set()

    async def promise(self: Any, reach: Any, kind: str, items: Any) -> Recorded:
        async def later() -> None:
            await asyncio.sleep(LATE)
            await record(self, reach, kind, items)

        task = asyncio.create_task(later())
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        return Recorded(len(items), 0, [])

    spoil(recording.Recording, "record", promise)


def forget_keys() -> None:
    """Idempotency keys are not stored"""

    async def never_seen(*_: Any) -> None:
        return None

    spoil(reports, "_claim", never_seen)


def mind_no_gap() -> None:
    """A process that was cut off from Redis does not ask what it missed"""

    async def nothing(self: Any) -> None:
        self._gap = False

    spoil(watching.Hub, "_ask_for_all", nothing)


def watch_later() -> None:
    """Whoever subscribes is given what there is, and entered only then"""
    enter = watching.Hub._enter

    def soon(self: Any, watch: Any) -> None:
        asyncio.get_running_loop().call_later(LATE, enter, self, watch)

    spoil(watching.Hub, "_enter", soon)


def keep_the_first() -> None:
    """A client that reads slowly is given the oldest of what waits for it, and not the newest"""
    offer = watches.Watch.offer

    def if_there_is_none(self: Any, record: Any) -> None:
        if record.class_id not in self._news:
            offer(self, record)

    spoil(watches.Watch, "offer", if_there_is_none)


def pass_on_anything() -> None:
    """What is published is passed on, newer or not"""

    def tell(self: Any, record: Any) -> None:
        self._schools[record.class_id] = record.school_id
        self._seen[record.class_id] = record.version
        for watch in self.audience.of(record.class_id, record.school_id):
            watch.offer(record)

    def offer(self: Any, record: Any) -> None:
        if self.school_id in (None, record.school_id):
            self._news[record.class_id] = record
            self._wake()

    spoil(news.News, "tell", tell)
    spoil(watches.Watch, "offer", offer)
    spoil(views.Sight, "see", lambda self, update, reach: update)


SPOILS: dict[str, Callable[[], None]] = {
    found.__name__.replace("_", "-"): found
    for found in (
        take_every_mark,
        take_marks_afterwards,
        commit_the_claim_first,
        lock_nothing,
        stop_the_clock,
        tell_nobody,
        take_silence_for_consent,
        put_anything,
        publish_nothing,
        fill_anything,
        trust_every_redis,
        acknowledge_first,
        forget_keys,
        mind_no_gap,
        watch_later,
        keep_the_first,
        pass_on_anything,
    )
}

if __name__ == "__main__":
    SPOILS[sys.argv.pop(1)]()
    run()
