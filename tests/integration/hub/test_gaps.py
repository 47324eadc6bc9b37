"""What is lost between PostgreSQL, Redis and here is made up for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy import text

from app.auth import Reach
from app.cache import Cache
from app.database import transaction
from app.relay import Relay
from app.settings import Settings
from tests.faults import Proxy, Server
from tests.listening import Listener, create, delete, listening, take, take_all, take_until
from tests.serving import statements
from tests.working import until

BRISK = {"redis_retry_after": 0.1}


@dataclass(frozen=True)
class Place:
    """The listener hears through the proxy. The relay has a line of its own."""

    server: Server
    between: Proxy
    listener: Listener
    elsewhere: Relay

    async def change_and_tell(self, class_id: str) -> int:
        version = await self.listener.change(class_id)
        while await self.elsewhere.run_once():
            pass
        return version


@pytest.fixture
async def place(settings: Settings, school: None, server: Server, proxy: tuple[Proxy, str]) -> AsyncIterator[Place]:
    between, url = proxy
    async with placed(settings, server, between, url) as place:
        yield place


@asynccontextmanager
async def placed(settings: Settings, server: Server, between: Proxy, url: str) -> AsyncIterator[Place]:
    cache = Cache(settings.model_copy(update={"redis_url": SecretStr(server.url)}), patience=1.0)
    async with listening(settings.model_copy(update={"redis_url": SecretStr(url), **BRISK})) as listener:
        await listener.tell()
        yield Place(server, between, listener, Relay(listener.engine, cache))
    await cache.close()


async def test_after_a_cut_the_newest_arrives_though_nobody_repeats_it(place: Place) -> None:
    with place.listener.hub.watch(["algebra", "biology"]) as watch:
        await take_all(watch)
        for _ in range(3):
            place.between.refuse()
            place.between.cut()
            await place.listener.until_connected(False)
            version = await place.change_and_tell("algebra")
            place.between.accept()
            assert await take_until(watch, "algebra", version) == [version]
        await place.listener.until_connected()
        assert await take_all(watch) == []


async def test_a_line_that_is_half_open_is_noticed_and_renewed_in_seconds(place: Place) -> None:
    with place.listener.hub.watch(["algebra"]) as watch:
        await take_all(watch)
        place.between.lose()
        version = await place.change_and_tell("algebra")
        place.between.pass_on()
        began = time.monotonic()
        assert await take_until(watch, "algebra", version)
        assert time.monotonic() - began < 4 + 2  # a busy machine
        await place.listener.until_connected()
        version = await place.change_and_tell("algebra")
        assert await take_until(watch, "algebra", version)


async def test_while_redis_is_stopped_the_database_is_asked(place: Place) -> None:
    with place.listener.hub.watch(["algebra"]) as watch:
        await take_all(watch)
        place.server.pause()
        version = await place.listener.change("algebra")
        try:
            assert await take_until(watch, "algebra", version) == [version]
        finally:
            place.server.resume()
        await place.listener.until_connected()
        assert await take_until(watch, "algebra", await place.change_and_tell("algebra"))


@pytest.mark.parametrize("empty", [True, False])
async def test_after_redis_was_killed_or_emptied_everybody_has_the_newest(place: Place, empty: bool) -> None:
    everything = Reach(everything=True)
    with place.listener.hub.watch(["algebra"]) as watch, place.listener.hub.follow(everything) as follower:
        await take_all(watch)
        await take_all(follower)
        if empty:
            async with place.server.client() as client:
                await client.flushall()
        else:
            place.server.kill()
            await place.listener.until_connected(False)
        await place.listener.change("algebra")
        version = await place.listener.change("algebra")
        await place.elsewhere.run_once()
        if not empty:
            place.server.restart()
        for each in (watch, follower):
            assert (await take_until(each, "algebra", version))[-1] == version
        await place.listener.until_connected()
        assert await take_until(watch, "algebra", await untold(place))


async def untold(place: Place) -> int:
    """A version that arrives in the ordinary way, when the relay has found Redis again."""
    version = await place.listener.change("algebra")
    await until(place.elsewhere.run_once)
    return version


async def test_what_redis_may_not_store_is_heard_and_nothing_older_is_read(place: Place) -> None:
    """It cannot save its data to disk, say, and refuses all writes."""
    await place.listener.performance.get_many(["algebra"])
    async with place.server.client() as client:
        with place.listener.hub.watch(["algebra"]) as watch:
            await take_all(watch)
            await client.replicaof("127.0.0.1", "1")
            version = await place.listener.change("algebra")
            assert await place.elsewhere.run_once() == 0
            assert await take(watch) == ("algebra", version)
        (record,) = await place.listener.performance.get_many(["algebra"])
        assert record is not None
        assert record.version == version
        await client.replicaof("NO", "ONE")
    await until(place.elsewhere.run_once)


async def test_classes_that_came_and_went_meanwhile_are_told_to_those_who_follow(place: Place) -> None:
    reach = Reach(schools=frozenset(["north"]))
    with place.listener.hub.follow(reach) as watch, place.listener.hub.watch(["biology", "drama"]) as named:
        await take_all(watch)
        await take_all(named)
        place.between.refuse()
        place.between.cut()
        await place.listener.until_connected(False)
        await create(place.listener, "drama")
        await delete(place.listener, "biology")
        place.between.accept()
        for each in (watch, named):
            assert {await take(each), await take(each)} == {("drama", 1), ("biology", None)}
        await place.listener.until_connected()
        assert await take_all(watch) == []


async def test_while_the_database_is_away_one_waits_and_then_gets_all(
    settings: Settings, school: None, redis: Redis
) -> None:
    """Not away, but as good as: it does not answer in time."""
    impatient = settings.model_copy(update={"database_timeout": 0.2, **BRISK})
    async with listening(settings) as other, listening(impatient) as listener, transaction(other.engine) as blocker:
        await blocker.execute(text("LOCK TABLE class_performance IN ACCESS EXCLUSIVE MODE"))
        with listener.hub.watch(["algebra"]) as watch, listener.hub.follow(Reach(everything=True)) as follower:
            first = asyncio.create_task(take(watch))
            second = asyncio.create_task(take_until(follower, "biology", 1))
            await asyncio.sleep(1)
            assert not first.done()
            assert not second.done()
            await blocker.rollback()
            assert await first == ("algebra", 1)
            assert await second


async def test_without_redis_the_database_is_asked_for_what_is_newer(settings: Settings, school: None) -> None:
    alone = settings.model_copy(update={"redis_url": SecretStr(""), **BRISK})
    async with listening(alone, connected=False) as listener:
        with (
            listener.hub.watch(["algebra", "nowhere"]) as watch,
            listener.hub.follow(Reach(everything=True)) as follower,
        ):
            await take_all(watch)
            await take_all(follower)
            for each in (watch, follower):
                version = await listener.change("algebra")
                assert (await take_until(each, "algebra", version))[-1] == version
            await create(listener, "drama")
            await delete(listener, "biology")
            await create(listener, "nowhere")
            told = {await take(follower) for _ in range(3)}
            assert told == {("drama", 1), ("biology", None), ("nowhere", 1)}
            assert await take_until(watch, "nowhere", 1)


async def test_questions_to_the_database_are_few_whatever_the_number_of_watches(
    settings: Settings, school: None
) -> None:
    alone = settings.model_copy(update={"redis_url": SecretStr(""), "redis_retry_after": 0.2})
    async with listening(alone, connected=False) as listener:
        watches = [listener.hub.watch(["algebra", "biology"]) for _ in range(100)]
        watches += [listener.hub.follow(Reach(everything=True)) for _ in range(100)]
        for watch in watches:
            await take_all(watch, 0.02)
        began = time.monotonic()
        with statements() as seen:
            await asyncio.sleep(2)
        turns = (time.monotonic() - began) / 0.2
        assert len(seen) <= 2 * (turns + 2)
        assert listener.hub._news.versions().keys() == {"algebra", "biology"}


async def test_where_nobody_watches_nothing_is_asked(settings: Settings, school: None) -> None:
    alone = settings.model_copy(update={"redis_url": SecretStr(""), "redis_retry_after": 0.05})
    async with listening(alone, connected=False) as listener:
        with listener.hub.watch(["algebra"]) as watch:
            await take_all(watch)
        await asyncio.sleep(0.3)
        with statements() as seen:
            await asyncio.sleep(0.5)
        assert seen == []
