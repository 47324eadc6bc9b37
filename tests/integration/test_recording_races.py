"""Two schools that claim one id at the same moment: the first keeps it, and the other learns nothing."""

from __future__ import annotations

import asyncio
from datetime import date

import pytest
from sqlalchemy import text

from app.auth import Reach
from app.errors import Rejected
from app.graphql.context import Services

pytestmark = pytest.mark.usefixtures("world")

NORTH, SOUTH = Reach(schools=frozenset({"north"})), Reach(schools=frozenset({"south"}))


async def claim(services: Services, reach: Reach, kind: str, item: dict[str, object]) -> str:
    try:
        await services.recording.record(reach, kind, [item])
    except Rejected as rejected:
        (problem,) = rejected.problems
        return problem.code
    return "stored"


@pytest.mark.parametrize(("kind", "refusal"), [("people", "PERSON_NOT_FOUND"), ("classes", "CLASS_NOT_FOUND")])
async def test_of_two_schools_that_record_one_new_id_one_gets_it(services: Services, kind: str, refusal: str) -> None:
    for number in range(20):
        item = {"id": f"new-{number}", "title": "New"} if kind == "classes" else {"id": f"new-{number}"}
        outcomes = await asyncio.gather(
            claim(services, NORTH, kind, {**item, "school_id": "north"}),
            claim(services, SOUTH, kind, {**item, "school_id": "south"}),
        )
        assert sorted(outcomes) == sorted(["stored", refusal])
    async with services.engine.connect() as connection:
        table = "class" if kind == "classes" else "person"
        rows = await connection.execute(text(f"SELECT count(*) FROM {table} WHERE id LIKE 'new-%'"))
        assert rows.scalar_one() == 20


@pytest.mark.parametrize(
    "wrong",
    [
        {"due_on": date(2199, 12, 31)},
        {"due_on": date(2026, 1, 1), "due_at": "2026-01-01T00:00:00Z"},
        {"max_points": -1},
        {},
    ],
)
async def test_what_is_wrong_with_an_item_does_not_tell_whether_its_class_exists(
    services: Services, wrong: dict[str, object]
) -> None:
    told = []
    for class_id in ("s1", "xx"):
        item = {"class_id": class_id, "id": "e", "title": "x", "max_points": 1, **wrong}
        with pytest.raises(Rejected) as refused:
            await services.recording.record(NORTH, "activities", [item])
        told.append([(p.code, p.message.replace(class_id, "?"), p.path) for p in refused.value.problems])
    assert told[0] == told[1]
