"""What a subscriber sees: everything that is theirs, from what they know on, and never anything else or older."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app import auth, views
from app.classes import Classes
from app.database import transaction
from app.errors import NotReady
from app.graphql import execution
from app.performance import recalculate_many
from tests.live import Live
from tests.serving import store
from tests.wires import seen

NESTED = """subscription ($ids: [ID!]!) {
  classPerformanceUpdated(classIds: $ids) { classPerformance { version class { title school { title } } } } }"""


async def test_first_what_there_is_then_whatever_changes(house: Live) -> None:
    async with house.socket() as wire:
        await wire.watch("n1", "n2", "n1")
        assert await wire.see_many(2) == {"n1": 1, "n2": 1}
        await house.change("n2")
        assert await wire.see() == ("n2", 2)
        await house.change("n1", "s1")
        assert await wire.see() == ("n1", 2)
        await wire.see_nothing()


async def test_what_is_known_is_not_sent_again(house: Live) -> None:
    await house.change("n2", times=3)
    async with house.socket() as wire:
        await wire.watch("n1", "n2", "s1", n1=1, n2=3)
        await wire.see_only(("n2", 4), ("s1", 1))
        await house.change("n1")
        assert await wire.see() == ("n1", 2)


async def test_a_class_that_does_not_exist_is_null_once_and_comes_when_it_is_made(house: Live) -> None:
    async with house.socket() as wire:
        await wire.watch("new", "a\0b", "x" * 300, "", "n1")
        assert await wire.see_many(5) == {"new": None, "a\0b": None, "x" * 300: None, "": None, "n1": 1}
        await store(house.engine, classes=[{"id": "new", "school_id": "north", "title": "New"}])
        await house.tell()
        assert await wire.see() == ("new", 1)


async def test_a_class_that_goes_is_null_and_may_come_back(house: Live) -> None:
    async with house.socket() as wire:
        watched = await wire.watch("n2")
        assert await wire.see() == ("n2", 1)
        followed = await wire.follow(snapshot=False)
        await wire.see_nothing()
        await house.change("n2")
        assert [await wire.see() for _ in range(2)] == [("n2", 2)] * 2
        await house.execute("DELETE FROM class_performance WHERE class_id = 'n2'")
        await house.tell()
        gone = [await wire.hear() for _ in range(2)]
        assert {message["id"] for message in gone} == {watched, followed}
        assert [seen(message["payload"]["data"]) for message in gone] == [("n2", None)] * 2
        async with transaction(house.engine) as connection:
            await recalculate_many(connection, ["n2"])
        await house.tell()
        back = [await wire.see() for _ in range(2)]
        assert {class_id for class_id, _ in back} == {"n2"}
        assert all(version and version > 2 for _, version in back)


async def test_what_is_out_of_reach_looks_as_if_it_did_not_exist(house: Live) -> None:
    async with house.socket(house.token("school_admin", schools=["north"])) as wire:
        await wire.watch("n1", "s1", "nowhere")
        assert await wire.see_many(3) == {"n1": 1, "s1": None, "nowhere": None}
        await house.change("s1", "n1")
        await wire.see_only(("n1", 2))


async def test_who_knew_what_is_out_of_reach_now_is_told_null(house: Live) -> None:
    async with house.socket(house.token("school_admin", schools=["north"])) as wire:
        await wire.watch("n1", "s1", n1=1, s1=1)
        await wire.see_only(("s1", None))


async def test_a_viewer_follows_what_is_theirs(house: Live) -> None:
    async with house.socket(house.token("school_admin", schools=["north"])) as wire:
        await wire.follow()
        assert await wire.see_many(2) == {"n1": 1, "n2": 1}
        await house.change("s1", "n2")
        await wire.see_only(("n2", 2))
        await store(house.engine, classes=[{"id": c, "school_id": s, "title": ""} for c, s in NEW.items()])
        await house.tell()
        await wire.see_only(("n3", 1))


NEW = {"n3": "north", "s3": "south"}


async def test_a_follower_may_ask_for_a_school(house: Live) -> None:
    async with house.socket() as wire:
        await wire.follow(school="south")
        assert await wire.see() == ("s1", 1)
        await house.change("n1", "s1")
        await wire.see_only(("s1", 2))


async def test_a_school_out_of_reach_is_silent(house: Live) -> None:
    async with house.socket(house.token("school_admin", schools=["north"])) as wire:
        await wire.follow(school="south")
        await house.change("n1", "s1")
        await wire.see_nothing()


async def test_a_follower_goes_on_from_what_they_know(house: Live) -> None:
    await house.change("n2")
    async with house.socket() as wire:
        await wire.follow(known={"n1": 1, "n2": 1, "gone": 7})
        await wire.see_only(("n2", 2), ("s1", 1), ("gone", None))
    async with house.socket() as wire:
        await wire.follow(known={"n1": 1, "n2": 1}, snapshot=False)
        await wire.see_only(("n2", 2))
        await house.change("s1")
        assert await wire.see() == ("s1", 2)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a teacher teaches is known for a moment only."""
    monkeypatch.setattr(auth, "TAUGHT_SECONDS", 0.1)
    monkeypatch.setattr(views, "RECHECK_SECONDS", 0.1)


ENROL = "INSERT INTO enrollment (class_id, id, person_id, role) VALUES (:id, 'new', 'tina', 'TEACHER')"
LEAVE = "DELETE FROM enrollment WHERE class_id = :id AND person_id = 'tina'"


async def test_a_teacher_who_teaches_it_no_more_gets_null_and_nothing_else(house: Live, quick: None) -> None:
    async with house.socket(house.token("teacher", "tina")) as wire:
        watched, followed = await wire.watch("n1", "n2"), await wire.follow()
        assert sorted([await wire.see() for _ in range(3)], key=str) == [("n1", 1), ("n1", 1), ("n2", None)]
        await house.execute(LEAVE, id="n1")
        assert [await wire.see() for _ in range(2)] == [("n1", None)] * 2
        await house.change("n1")
        await wire.see_nothing()
        await house.execute(ENROL, id="n1")
        back = [await wire.hear() for _ in range(2)]
        assert {message["id"] for message in back} == {watched, followed}
        assert all(message["payload"]["data"].popitem()[1]["classPerformance"] == {"version": 2} for message in back)


async def test_classes_of_a_teacher_come_and_go(house: Live, quick: None) -> None:
    async with house.socket(house.token("teacher", "tina")) as wire:
        await wire.follow()
        assert await wire.see() == ("n1", 1)
        await house.execute(ENROL, id="s1")
        assert await wire.see() == ("s1", 1)
        await house.change("s1", "n2")
        assert await wire.see() == ("s1", 2)
        await house.execute(LEAVE, id="n1")
        assert await wire.see() == ("n1", None)
        await house.change("n1", "s1")
        await wire.see_only(("s1", 3))


async def test_a_teacher_who_looks_at_one_school_is_shown_no_other(house: Live, quick: None) -> None:
    async with house.socket(house.token("teacher", "tina")) as wire:
        await wire.follow(school="north")
        assert await wire.see() == ("n1", 1)
        await house.execute(ENROL, id="s1")
        await house.change("s1", "n1")
        await wire.see_only(("n1", 2))


async def test_versions_only_rise_and_the_newest_comes(house: Live) -> None:
    async with house.socket() as wire:
        await wire.watch("n1", "n2")
        for _ in range(40):
            await house.change("n1", "n2")
        last: dict[str, int] = {}
        while last != {"n1": 41, "n2": 41}:
            class_id, version = await wire.see()
            assert version
            assert version > last.get(class_id, 0)
            last[class_id] = version


async def test_there_is_no_gap_between_what_there_is_and_what_comes(house: Live) -> None:
    """Whoever comes while much changes ends with the newest too."""
    async with house.socket() as wire:
        changing = asyncio.create_task(house.change("n1", times=30))
        ids = [await wire.watch("n1") for _ in range(10)]
        await changing
        last = dict.fromkeys(ids, 0)
        while set(last.values()) != {31}:
            message = await wire.hear()
            version = message["payload"]["data"]["classPerformanceUpdated"]["classPerformance"]["version"]
            assert version > last[message["id"]]
            last[message["id"]] = version


async def test_more_than_plain_fields_are_loaded_afresh_for_each_event(house: Live) -> None:
    async with house.socket() as wire:
        await wire.start(NESTED, {"ids": ["n1"]})
        found = (await wire.next())["classPerformanceUpdated"]["classPerformance"]
        assert found == {"version": 1, "class": {"title": "Class n1", "school": {"title": "North"}}}
        await house.execute("UPDATE class SET title = 'Another' WHERE id = 'n1'")
        await house.change("n1")
        found = (await wire.next())["classPerformanceUpdated"]["classPerformance"]
        assert found == {"version": 2, "class": {"title": "Another", "school": {"title": "North"}}}


async def test_an_event_that_could_not_be_made_is_made_when_the_database_is_back(
    house: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "PAUSES", (0.05,))
    away = True
    load = Classes.get_many

    async def get_many(self: Classes, ids: Any) -> Any:
        if away:
            raise NotReady
        return await load(self, ids)

    monkeypatch.setattr(Classes, "get_many", get_many)
    async with house.socket() as wire:
        await wire.start(NESTED, {"ids": ["n1"]})
        await wire.see_nothing()
        away = False
        found = (await wire.next())["classPerformanceUpdated"]["classPerformance"]
        assert found["class"]["title"] == "Class n1"


async def test_ten_thousand_known_versions_are_taken_and_no_more(house: Live) -> None:
    async with house.socket() as wire:
        await wire.follow(known={"n1": 1, "n2": 1, "s1": 1} | {f"gone-{n}": 1 for n in range(9_997)})
        gone = await wire.see_many(9_997)
        assert set(gone.values()) == {None}
        await wire.follow(known={f"gone-{n}": 1 for n in range(10_001)})
        message = await wire.hear()
        assert (message["type"], message["payload"][0]["extensions"]["code"]) == ("error", "BAD_USER_INPUT")
