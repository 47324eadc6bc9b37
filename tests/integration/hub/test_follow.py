"""Following all classes of a school, of a teacher, or of everybody, as they come and go."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest
from redis.asyncio import Redis

from app.auth import Reach
from tests.listening import Listener, create, delete, take, take_all, take_until
from tests.serving import statements
from tests.working import until

EVERYTHING = Reach(everything=True)
NORTH = Reach(schools=frozenset(["north"]))


def classes(*class_ids: str) -> Reach:
    return Reach(classes=frozenset(class_ids))


@pytest.fixture(autouse=True)
async def _a_school_in_the_south(listener: Listener) -> None:
    await listener.execute("INSERT INTO school (id, title, time_zone) VALUES ('south', 'South', 'UTC')")
    await create(listener, "chemistry", "south")


@pytest.mark.parametrize(
    ("reach", "school_id", "expected"),
    [
        (EVERYTHING, None, {"algebra", "biology", "chemistry"}),
        (EVERYTHING, "south", {"chemistry"}),
        (EVERYTHING, "east", set()),
        (NORTH, None, {"algebra", "biology"}),
        (NORTH, "north", {"algebra", "biology"}),
        (NORTH, "south", set()),
        (classes("algebra", "chemistry", "nowhere"), None, {"algebra", "chemistry"}),
        (classes("algebra", "chemistry", "nowhere"), "south", {"chemistry"}),
        (Reach(), None, set()),
    ],
)
async def test_what_is_in_reach_is_given_and_then_followed(
    listener: Listener, reach: Reach, school_id: str | None, expected: set[str]
) -> None:
    with listener.hub.follow(reach, school_id=school_id) as watch:
        assert sorted(await take_all(watch)) == sorted((class_id, 1) for class_id in expected)
        for class_id in ("algebra", "biology", "chemistry"):
            await listener.change(class_id)
        await listener.tell()
        assert sorted(await take_all(watch)) == sorted((class_id, 2) for class_id in expected)


@pytest.mark.parametrize("reach", [EVERYTHING, NORTH, classes("drama", "algebra")])
async def test_classes_come_and_go(listener: Listener, reach: Reach) -> None:
    with listener.hub.follow(reach) as watch:
        await take_all(watch)
        await create(listener, "drama")
        assert await take(watch) == ("drama", 1)
        await create(listener, "east-asian-studies", "south")
        await delete(listener, "drama")
        assert await take_until_gone(watch, "drama")
        await delete(listener, "biology")
        await take_all(watch)


async def take_until_gone(watch: object, class_id: str) -> bool:
    while True:
        if await take(watch) == (class_id, None):  # type: ignore[arg-type]
            return True


async def test_only_what_is_newer_than_known_is_given_and_what_is_gone_is_told(listener: Listener) -> None:
    await listener.change_and_tell("algebra")
    known = {"algebra": 1, "biology": 1, "vanished": 7, "chemistry": 1}
    with listener.hub.follow(NORTH, known=known) as watch:
        assert sorted(await take_all(watch), key=str) == [("algebra", 2), ("chemistry", None), ("vanished", None)]


async def test_without_a_snapshot_only_what_happens_from_now_on_is_given(listener: Listener) -> None:
    await listener.change_and_tell("algebra")
    with listener.hub.follow(EVERYTHING, known={"algebra": 1}, snapshot=False) as watch:
        assert await take_all(watch) == [("algebra", 2)]
        await listener.cache.put_many(await listener.performance.get_many(["biology"]), publish=True)  # type: ignore[arg-type]
        assert await take_all(watch) == []
        await listener.change_and_tell("biology")
        assert await take(watch) == ("biology", 2)


async def test_a_teacher_takes_over_classes_and_gives_up_others(listener: Listener) -> None:
    with listener.hub.follow(classes("algebra", "biology")) as watch:
        await take_all(watch)
        watch.aim(classes("biology", "chemistry"))
        assert sorted(await take_all(watch), key=str) == [("algebra", None), ("chemistry", 1)]
        await listener.change_and_tell("algebra")
        assert await take_all(watch) == []
        watch.aim(classes("algebra", "chemistry"))
        assert sorted(await take_all(watch), key=str) == [("algebra", 2), ("biology", None)]
        watch.aim(classes("algebra", "biology"))
        assert sorted(await take_all(watch), key=str) == [("biology", 1), ("chemistry", None)]


async def test_what_is_given_up_before_it_was_read_is_not_shown(listener: Listener) -> None:
    with listener.hub.follow(classes("algebra", "biology")) as watch:
        await take_all(watch)
        await listener.change_and_tell("algebra")
        await asyncio.sleep(0.05)
        watch.aim(classes("biology"))
        assert await take_all(watch) == [("algebra", None)]


async def test_a_crowd_that_comes_at_once_shares_the_statements(listener: Listener) -> None:
    with ExitStack() as stack:
        with statements() as seen:
            watches = [stack.enter_context(listener.hub.follow(reach)) for reach in (EVERYTHING, NORTH) * 50]
            for watch in watches:
                assert len(await take_all(watch, 0.02)) in (2, 3)
        assert len(seen) <= 3
        await listener.change_and_tell("algebra")
        for watch in watches:
            assert await take(watch) == ("algebra", 2)


async def test_whoever_comes_at_any_moment_of_a_commit_ends_with_the_newest(listener: Listener, redis: Redis) -> None:
    with listener.hub.follow(EVERYTHING) as first:
        for number in range(25):
            class_id = f"new-{number}"
            creating = asyncio.create_task(create(listener, class_id))
            for _ in range(number * 3):
                await asyncio.sleep(0)
            with listener.hub.follow(NORTH) as watch:
                assert await take_until(watch, class_id, 1)
                assert await take_until(first, class_id, 1)
                await creating


async def test_what_nobody_follows_is_decoded_once_at_the_most(listener: Listener) -> None:
    with listener.hub.follow(Reach(schools=frozenset(["south"]))) as watch:
        await take_all(watch)
        await listener.change_and_tell("algebra")
        await asyncio.sleep(0.1)
        known = dict(listener.cache._decoded)
        await listener.change_and_tell("algebra")
        await listener.change_and_tell("chemistry")
        assert await take(watch) == ("chemistry", 2)
        assert listener.cache._decoded["algebra"] is known["algebra"]


async def test_the_hub_forgets_what_nobody_watches_any_more(listener: Listener) -> None:
    with listener.hub.follow(EVERYTHING), listener.hub.watch(["algebra"]) as watch:
        await take_all(watch)

    async def no_versions() -> bool:
        return not listener.hub._news.versions()

    await until(no_versions)
