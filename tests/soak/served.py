"""Do the cache, both APIs and every subscriber have what the database has?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson
import psycopg
from psycopg.rows import dict_row
from redis import Redis

from tests.soak.clients import Client
from tests.soak.evidence import CACHED, TOLD, Violation
from tests.soak.house import House
from tests.soak.quiet import behind
from tests.soak.subscribers import Interest
from tests.soak.words import READ, content, content_of_row, difference

KEYS = "class-performance:*"
UNKNOWN, PLACEHOLDER = b"0", b"?"
MOST = 50  # classes in a question
NOTHING = b"{}"

Stored = Mapping[str, tuple[int, bytes]]  # by class, version and content


def stored_in(database_url: str) -> dict[str, tuple[int, bytes]]:
    with psycopg.connect(database_url, row_factory=dict_row) as connection:
        rows = connection.execute("SELECT * FROM class_performance").fetchall()
    return {row["class_id"]: (row["version"], content_of_row(row)) for row in rows}


async def answers(client: Client, house: House, stored: Stored) -> list[Violation]:
    """Of both APIs, twice: the second time surely from the cache."""
    found = []
    ids = sorted(stored)
    for address in house.direct_addresses * 2:
        for start in range(0, len(ids), MOST):
            batch = ids[start : start + MOST]
            data = await client.ask(READ, {"ids": batch}, address=address)
            found += _compare(batch, data["classPerformances"], stored, address)
    return found


def _compare(ids: Sequence[str], records: Sequence[Any], stored: Stored, who: str) -> Iterator[Violation]:
    for class_id, record in zip(ids, records, strict=True):
        if record is None:
            yield Violation(CACHED, f"{who} knows nothing of {class_id}")
        else:
            yield from _differs(class_id, record["version"], content(record), stored, who)


def _differs(class_id: str, version: int, seen: bytes, stored: Stored, who: str) -> Iterator[Violation]:
    wanted, what = stored.get(class_id, (0, NOTHING))
    if (version, seen) != (wanted, what):
        text = f"{class_id}: {who} has version {version}, the database {wanted}; {difference(seen, what)}"
        yield Violation(CACHED, text)


def cached(redis: Redis, stored: Stored) -> Iterator[Violation]:
    """What lies in Redis under keys that are still read: those of this server's life."""
    era = redis.info("server")["run_id"]
    keys = [key for key in redis.scan_iter(KEYS, count=1000) if era in key.decode()]
    values = redis.mget(keys) if keys else []
    for key, value in zip(keys, values, strict=True):
        class_id = key.decode().rpartition(":")[2]
        if value == UNKNOWN and class_id in stored:
            yield Violation(CACHED, f"Redis says there is no {class_id}")
        elif value is not None and value != UNKNOWN and not value.startswith(PLACEHOLDER):
            version, _, record = value.partition(b" ")
            yield from _differs(class_id, int(version), content_of_row(orjson.loads(record)), stored, "Redis")


def told(interests: Sequence[Interest], stored: Stored) -> Iterator[Violation]:
    versions = {class_id: version for class_id, (version, _) in stored.items()}
    for interest in interests:
        if late := behind(interest, versions):
            yield Violation(TOLD, f"{interest.name} has not the newest (seen, newest): {late}")
