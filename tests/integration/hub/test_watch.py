"""Watching certain classes."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import Any

import pytest
from redis.asyncio import Redis

from app.cache import Cache
from app.connections import Connections
from app.performance import Performance
from app.records import Record
from app.settings import Settings
from tests.caching import remember_unknown
from tests.listening import Listener, create, delete, listening, take, take_all, take_until
from tests.serving import Commands, statements


async def test_first_what_there_is_and_then_what_follows(listener: Listener) -> None:
    with listener.hub.watch(["algebra", "biology"]) as watch:
        assert sorted(await take_all(watch)) == [("algebra", 1), ("biology", 1)]
        assert await listener.change_and_tell("algebra") == 2
        assert await take(watch) == ("algebra", 2)
        assert await take_all(watch) == []


async def test_what_a_client_knows_is_not_repeated(listener: Listener) -> None:
    await listener.change_and_tell("algebra")
    with listener.hub.watch(["algebra", "biology"], {"algebra": 1, "biology": 1}) as watch:
        assert await take_all(watch) == [("algebra", 2)]
    with listener.hub.watch(["algebra"], {"algebra": 2}) as watch:
        assert await take_all(watch) == []
        await listener.change_and_tell("algebra")
        assert await take(watch) == ("algebra", 3)


async def test_of_an_unknown_class_one_is_told_once_and_of_its_record_when_there_is_one(listener: Listener) -> None:
    with listener.hub.watch(["chemistry"]) as watch, listener.hub.watch(["chemistry"]) as other:
        assert await take_all(watch) == [("chemistry", None)]
        await create(listener, "chemistry")
        assert await take(watch) == ("chemistry", 1)
        assert (await take_all(other))[-1] == ("chemistry", 1)


async def test_what_is_gone_is_told_once_and_if_it_comes_again_its_versions_go_on(listener: Listener) -> None:
    with listener.hub.watch(["biology"]) as watch:
        await listener.change_and_tell("biology")
        assert await take_until(watch, "biology", 2)
        await delete(listener, "biology")
        assert await take(watch) == ("biology", None)
        with listener.hub.watch(["biology"], {"biology": 2}) as other:
            assert await take_all(other) == [("biology", None)]
        await create(listener, "biology")
        (again,) = await take_all(watch)
        assert again[1] > 2


async def test_a_late_word_of_what_is_gone_wakes_nobody(listener: Listener) -> None:
    """Another relay read the record before it was deleted."""
    await listener.change("biology")
    (late,) = await Performance(listener.engine, Cache(Settings())).get_many(["biology"])
    with listener.hub.watch(["biology"]) as watch:
        await take_all(watch)
        await delete(listener, "biology")
        assert await take(watch) == ("biology", None)
        assert late is not None
        assert await listener.cache.put_many([late], publish=True)
        assert await take_all(watch) == []
        assert await listener.performance.get_many(["biology"]) == [None]


async def test_older_words_and_repetitions_change_nothing(listener: Listener) -> None:
    records: list[Record] = []
    for _ in range(4):
        await listener.change("algebra")
        records += await Performance(listener.engine, Cache(Settings())).get_many(["algebra"])  # type: ignore[arg-type]
    with listener.hub.watch(["algebra"]) as watch:
        for number in (2, 0, 2, 3, 1, 3, 0):
            await listener.cache.put_many([records[number]], publish=True)
        versions = [version for _, version in await take_all(watch)]
        assert versions == sorted(set(versions))  # type: ignore[type-var]
        assert versions[-1] == records[3].version


@pytest.mark.parametrize("cached", [True, False])
async def test_a_commit_at_any_moment_of_registration_is_not_missed(
    listener: Listener, redis: Redis, cached: bool
) -> None:
    for turns in range(40):
        if not cached:
            await redis.flushall()
        with listener.hub.watch(["algebra"]) as watch:
            told = asyncio.create_task(listener.change_and_tell("algebra"))
            for _ in range(turns):
                await asyncio.sleep(0)
            reading = asyncio.create_task(take_until(watch, "algebra", await listener.change("algebra")))
            await told
            await listener.tell()
            versions = await reading
            assert versions == sorted(set(versions))


@pytest.mark.parametrize("cached", [True, False])
async def test_whoever_comes_at_any_moment_of_a_commit_ends_with_the_newest(
    listener: Listener, redis: Redis, cached: bool
) -> None:
    for turns in range(40):
        if not cached:
            await redis.flushall()
        telling = asyncio.create_task(listener.change_and_tell("algebra"))
        for _ in range(turns):
            await asyncio.sleep(0)
        with listener.hub.watch(["algebra"]) as watch:
            early = asyncio.create_task(take(watch))
            versions = [(await early)[1]]
            version = await telling
            if versions != [version]:
                versions += await take_until(watch, "algebra", version)
            assert versions == sorted(set(versions))  # type: ignore[type-var]


async def test_whoever_comes_after_a_word_does_not_join_a_read_from_before_the_commit(
    listener: Listener, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader is held after its SELECT, with what is old by now."""
    has_read, may_land = asyncio.Event(), asyncio.Event()
    fill_many = listener.cache.fill_many

    async def held(*what: Any) -> None:
        has_read.set()
        await may_land.wait()
        await fill_many(*what)

    await redis.flushall()
    monkeypatch.setattr(listener.cache, "fill_many", held)
    early = asyncio.create_task(listener.performance.get_many(["algebra"]))
    await has_read.wait()
    monkeypatch.setattr(listener.cache, "fill_many", fill_many)
    await listener.change_and_tell("algebra")
    await redis.flushall()
    await asyncio.sleep(0.05)
    with listener.hub.watch(["algebra"]) as watch:
        assert await take(watch) == ("algebra", 2)
    may_land.set()
    await early


async def test_what_is_read_against_what_was_heard_is_asked_of_the_database(listener: Listener, redis: Redis) -> None:
    """The cache lost the newest; somebody puts an older record."""
    (old,) = await listener.performance.get_many(["algebra"])
    with listener.hub.watch(["algebra"]) as watch:
        await listener.change_and_tell("algebra")
        assert (await take_all(watch))[-1] == ("algebra", 2)
        for stale in ([old], []):
            await redis.flushall()
            await listener.cache.put_many(stale)  # type: ignore[arg-type]
            if not stale:
                await remember_unknown(listener.cache, ["algebra"])
            with listener.hub.watch(["algebra"]) as late:
                assert await take_all(late) == [("algebra", 2)]


async def test_a_slow_reader_gets_the_latest_of_each_class(listener: Listener) -> None:
    with listener.hub.watch(["algebra", "biology"]) as watch:
        await take_all(watch)
        for _ in range(20):
            await listener.change_and_tell("algebra")
        await listener.change_and_tell("biology")
        await asyncio.sleep(0.1)
        assert await take_all(watch) == [("algebra", 21), ("biology", 2)]


async def test_any_number_of_watches_is_one_subscription_and_one_record(
    listener: Listener, redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[bytes] = []
    from_json = Record.from_json
    monkeypatch.setattr(Record, "from_json", lambda data: decoded.append(data) or from_json(data))
    with ExitStack() as stack:
        watches = [stack.enter_context(listener.hub.watch(["algebra"])) for _ in range(200)]
        for watch in watches:
            await take(watch)
        decoded.clear()
        await listener.change_and_tell("algebra")
        records = {id((await anext(watch)).record) for watch in watches}
        await listener.change_and_tell("biology")
        assert (await listener.performance.get_many(["algebra"]))[0] is not None
        channel = Connections.to(Settings(redis_url=redis_url)).channel("")  # type: ignore[arg-type]
        assert await redis.pubsub_numsub(channel) == [(channel.encode(), 1)]
    assert len(records) == 1
    assert len(decoded) == 1


async def test_a_warm_snapshot_is_one_command_and_no_statement(listener: Listener, redis: Redis) -> None:
    await listener.performance.get_many(["algebra", "biology"])
    commands = Commands(redis)
    before = await commands.calls("mget")
    with statements() as seen, listener.hub.watch(["algebra", "biology"]) as watch:
        assert len(await take_all(watch)) == 2
    assert await commands.calls("mget") == before + 1
    assert seen == []


async def test_who_is_interrupted_while_waiting_loses_nothing(listener: Listener) -> None:
    with listener.hub.watch(["algebra"]) as watch:
        await take_all(watch)
        for turns in range(20):
            waiting = asyncio.create_task(anext(watch))
            telling = asyncio.create_task(listener.change_and_tell("algebra"))
            for _ in range(turns):
                await asyncio.sleep(0)
            waiting.cancel()
            (interrupted,) = await asyncio.gather(waiting, return_exceptions=True)
            version = await telling
            if isinstance(interrupted, asyncio.CancelledError):
                assert await take_until(watch, "algebra", version)


async def test_what_could_not_be_shown_is_given_again(listener: Listener) -> None:
    with listener.hub.watch(["algebra", "nowhere"]) as watch:
        await take_all(watch)
        watch.repeat(["algebra", "nowhere"])
        assert await take_all(watch) == [("algebra", 1)]


async def test_closing_ends_the_reader_and_the_hub_ends_all(settings: Settings, school: None, redis: Redis) -> None:
    async with listening(settings) as listener:
        closed, open_ = listener.hub.watch(["algebra"]), listener.hub.watch(["algebra"])
        reading = [asyncio.create_task(take_to_the_end(watch)) for watch in (closed, open_)]
        await asyncio.sleep(0.1)
        closed.close()
        assert await reading[0] == 1
        assert not reading[1].done()
    assert await reading[1] == 1
    assert await take_to_the_end(listener.hub.watch(["algebra"])) == 0


async def take_to_the_end(watch: Any) -> int:
    return len([update async for update in watch])
