"""Callers of the cache that are cancelled, and those who ask after them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from tests.caching import PATIENT, cache_at, record
from tests.faults import Server


async def test_answers_belong_to_their_questions_after_cancellations(redis: Redis, redis_url: str) -> None:
    class_ids = [f"c{number}" for number in range(100)]
    async with cache_at(f"{redis_url}?max_connections=5", **PATIENT) as cache:
        await cache.put_many([record(class_id) for class_id in class_ids])
        for turns in range(30):
            await cancel_half_way([cache.get_many([class_id]) for class_id in class_ids], turns)
            await cancel_half_way([cache.put_many([record(class_id)]) for class_id in class_ids], turns)
            answers = await asyncio.gather(*(cache.get_many([class_id]) for class_id in class_ids))
            assert answers == [{class_id: record(class_id)} for class_id in class_ids]


async def cancel_half_way(calls: Sequence[Any], turns: int) -> None:
    """Cancel every call at some turn of the loop, each kind of place in turn."""
    tasks = [asyncio.create_task(call) for call in calls]
    for _ in range(turns):
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_slow_answer_to_a_cancelled_caller_is_never_read_by_another(server: Server) -> None:
    async with cache_at(f"{server.url}?max_connections=3", **PATIENT) as cache:
        await cache.put_many([record("c1"), record("c2")])
        await asyncio.gather(*(cache.get_many(["c1"]) for _ in range(3)))
        server.pause()
        asking = [asyncio.create_task(cache.get_many(["c1"])) for _ in range(100)]
        await asyncio.sleep(0.1)
        for task in asking:
            task.cancel()
        assert all(
            isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*asking, return_exceptions=True)
        )
        server.resume()
        assert await asyncio.gather(*(cache.get_many(["c2"]) for _ in range(100))) == [{"c2": record("c2")}] * 100
