"""Who reaches what."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app import auth
from app.auth import PERMISSIONS, Action, Doorman, Reach, Viewer, ViewerRole
from app.errors import Forbidden
from tests.serving import statements, store
from tests.signing import configured, doorman


def viewer(role: str, schools: Any = None, *scopes: str, subject: str = "a") -> Viewer:
    named = None if schools is None else frozenset(schools)
    return Viewer(subject, ViewerRole(role), named, frozenset(scopes), None)  # type: ignore[arg-type]


async def test_reach_by_role() -> None:
    door, everything, nothing = doorman(), Reach(everything=True), Reach()
    north = Reach(schools=frozenset({"north"}))
    for action in Action:
        assert await door.reach(viewer("admin", ["north"]), action) == everything
        assert await door.reach(viewer("school_admin", ["north"]), action) == north
        assert await door.reach(viewer("school_admin", []), action) == nothing
        assert await door.reach(viewer("school_admin"), action) == nothing
        scope = PERMISSIONS[action][ViewerRole.SERVICE].scope
        assert await door.reach(viewer("service", None, scope), action) == everything
        assert await door.reach(viewer("service", ["north"], scope), action) == north
        assert await door.reach(viewer("service", [], scope), action) == nothing
        others = {"metrics:read", "metrics:write", "facts:write"} - {scope}
        with pytest.raises(Forbidden):
            await door.reach(viewer("service", None, *others), action)
    for action in (Action.REPORT, Action.ROSTER):
        with pytest.raises(Forbidden):
            await door.reach(viewer("teacher"), action)


def test_scopes_are_those_of_the_design() -> None:
    scopes = {action: rules[ViewerRole.SERVICE].scope for action, rules in PERMISSIONS.items()}
    assert scopes == {
        Action.READ: "metrics:read",
        Action.REPORT: "metrics:write",
        Action.RECALCULATE: "metrics:write",
        Action.RECORD: "facts:write",
        Action.ROSTER: "facts:write",
    }


def test_reach_covers_by_school_or_class() -> None:
    reach = Reach(schools=frozenset("s"), classes=frozenset("c"))
    assert reach.covers("x", "s")
    assert reach.covers("c", "x")
    assert not reach.covers("s", "c")
    assert Reach(everything=True).covers("x", "x")
    assert not Reach().covers("x", "x")
    assert reach.covers_school("s")
    assert not reach.covers_school("c")


@pytest.fixture
async def taught(engine: AsyncEngine) -> AsyncEngine:
    """What t teaches now: `now`, `open`, `twice`. The rest is over, to come, empty, or as a student."""
    long_ago, ahead = "2020-01-01T00:00:00Z", "2190-01-01T00:00:00Z"
    periods = {
        "now": (long_ago, ahead),
        "open": (None, None),
        "over": (None, "2021-01-01T00:00:00Z"),
        "ahead": (ahead, None),
        "empty": (long_ago, long_ago),
        "twice": (None, "2021-01-01T00:00:00Z"),
    }
    enroll = {"person_id": "t", "role": "TEACHER"}
    await store(
        engine,
        schools=[{"id": "s", "title": "S", "time_zone": "UTC"}],
        people=[{"id": "t", "school_id": "s"}],
        classes=[{"id": c, "school_id": "s", "title": c} for c in (*periods, "student")],
        enrollments=[
            *({**enroll, "class_id": c, "id": "1", "begins": b, "ends": e} for c, (b, e) in periods.items()),
            {**enroll, "class_id": "twice", "id": "2", "begins": long_ago, "ends": None},
            {**enroll, "class_id": "student", "id": "1", "role": "STUDENT"},
        ],
    )
    return engine


async def test_a_teacher_reaches_what_they_teach_now(taught: AsyncEngine) -> None:
    reach = await Doorman(configured(), taught).reach(viewer("teacher", ["s"], subject="t"), Action.READ)
    assert reach == Reach(classes=frozenset({"now", "open", "twice"}))


async def test_what_is_taught_is_read_once_for_all_who_ask_and_again_within_30_s(
    taught: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, door, teacher = [1000.0], Doorman(configured(), taught), viewer("teacher", subject="t")
    monkeypatch.setattr(auth.time, "monotonic", lambda: now[0])
    with statements() as seen:
        await asyncio.gather(*(door.reach(teacher, Action.READ) for _ in range(20)))
        await door.reach(teacher, Action.RECORD)
        assert len(seen) == 1
        async with taught.begin() as connection:
            await connection.execute(text("DELETE FROM enrollment WHERE class_id <> 'now'"))
        now[0] += auth.TAUGHT_SECONDS - 1
        assert len((await door.reach(teacher, Action.READ)).classes) == 3
        now[0] += 1
        assert (await door.reach(teacher, Action.READ)).classes == {"now"}
    assert len([s for s in seen if s.startswith("SELECT")]) == 2


async def test_one_who_gives_up_does_not_end_the_read_for_others(taught: AsyncEngine) -> None:
    door, teacher = Doorman(configured(), taught), viewer("teacher", subject="t")
    impatient = asyncio.create_task(door.reach(teacher, Action.READ))
    patient = asyncio.create_task(door.reach(teacher, Action.READ))
    await asyncio.sleep(0)
    impatient.cancel()
    assert len((await patient).classes) == 3


async def test_a_read_that_failed_is_tried_again(taught: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    door, teacher = Doorman(configured(), taught), viewer("teacher", subject="t")
    with monkeypatch.context() as patch:
        patch.setattr(auth, "TEACHES", text("SELECT nonsense WHERE :person_id = ''"))
        with pytest.raises(Exception, match="nonsense"):
            await door.reach(teacher, Action.READ)
    assert len((await door.reach(teacher, Action.READ)).classes) == 3


async def test_remembered_teachers_are_bounded(taught: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "MOST_VIEWERS", 2)
    door = Doorman(configured(), taught)
    for number in range(5):
        await door.reach(viewer("teacher", subject=str(number)), Action.READ)
    assert len(door._taught._known) == 2
