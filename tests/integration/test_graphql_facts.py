"""Facts that arrive by mutation: all of them or none."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.classes import get_places
from app.graphql.facts import FACT_MUTATIONS
from app.graphql.problems import camel
from tests.serving import Client, settle

ANSWER = """__typename ... on RecordFactsSuccess { stored unchanged classPerformances { classId version presentCount } }
    ... on ValidationProblem { code message path problems { code message path } }"""
SPRING = "2026-03-02T08:00:00Z"


async def record(api: Client, name: str, *items: Any, token: str | None = None) -> Any:
    kind = name[0].upper() + name[1:]
    query = f"mutation ($items: {kind}Input!) {{ {name}(input: $items) {{ {ANSWER} }} }}"
    return (await api.ask(query, {"items": {"items": items}}, token=token))[name]


def attendance(student: str = "sam", class_id: str = "n1", **more: Any) -> dict[str, Any]:
    return {"classId": class_id, "studentId": student, "sessionDate": "2026-03-02", "status": "PRESENT", **more}


async def test_facts_are_stored_at_once_and_counted_soon(api: Client, world: AsyncEngine) -> None:
    await api.ask('{ classPerformance(classId: "n1") { version } }')
    found = await record(api, "recordAttendance", attendance(recordedAt=SPRING))
    assert (found["stored"], found["unchanged"]) == (1, 0)
    assert found["classPerformances"] == [{"classId": "n1", "version": 1, "presentCount": 0}]
    await settle(api.settings)
    again = await api.ask('{ classPerformance(classId: "n1") { version presentCount } }')
    assert again["classPerformance"] == {"version": 2, "presentCount": 1}
    repeated = await record(api, "recordAttendance", attendance(recordedAt=SPRING))
    assert (repeated["stored"], repeated["unchanged"]) == (0, 1)


async def test_a_school_is_loaded_from_nothing(api: Client, redis: Redis) -> None:
    for name, *items in (
        ("recordSchools", {"id": "new", "title": "New", "timeZone": "Asia/Kathmandu"}),
        ("recordPeople", {"id": "t", "schoolId": "new"}, {"id": "s", "schoolId": "new"}),
        ("recordClasses", {"id": "c", "schoolId": "new", "title": "C", "status": "ACTIVE"}),
        (
            "recordEnrollments",
            {"classId": "c", "id": "e1", "personId": "t", "role": "TEACHER"},
            {"classId": "c", "id": "e2", "personId": "s", "role": "STUDENT", "begins": "2026-01-01T00:00:00Z"},
        ),
        ("recordCategories", {"classId": "c", "id": "k", "title": "K", "weight": 0.1}),
        (
            "recordActivities",
            {"classId": "c", "id": "a", "categoryId": "k", "title": "A", "maxPoints": 10, "publishedAt": SPRING},
        ),
        ("recordSubmissions", {"classId": "c", "activityId": "a", "studentId": "s", "submittedAt": SPRING}),
        (
            "recordGrades",
            {"classId": "c", "activityId": "a", "studentId": "s", "score": 7.25, "gradedAt": SPRING, "feedback": "ok"},
        ),
        ("recordExcusals", {"classId": "c", "activityId": "a", "studentId": "s", "excused": False}),
        ("recordAttendance", attendance("s", "c")),
        (
            "awardPoints",
            {"classId": "c", "id": "p", "studentId": "s", "points": -5, "awardedAt": SPRING},
        ),
    ):
        found = await record(api, name, *items)
        assert found["__typename"] == "RecordFactsSuccess", (name, found)
    await settle(api.settings)
    query = '{ classPerformance(classId: "c") { averageGrade teacherFeedbackRate totalPoints presentCount } }'
    assert (await api.ask(query))["classPerformance"] == {
        "averageGrade": 72.5,
        "teacherFeedbackRate": 100,
        "totalPoints": -5,
        "presentCount": 1,
    }


async def test_one_bad_item_keeps_all_out_and_every_problem_is_named(api: Client, world: AsyncEngine) -> None:
    award = {"classId": "n1", "id": "p", "studentId": "sam", "points": 5, "awardedAt": SPRING}
    bad = {**award, "id": "q", "studentId": "", "awardedAt": "1800-01-01T00:00:00Z"}
    found = await record(api, "awardPoints", award, bad, {**award, "id": ""})
    assert found["code"] == "INVALID_VALUE"
    assert sorted(p["path"] for p in found["problems"]) == [
        ["items", "1", "awardedAt"],
        ["items", "1", "studentId"],
        ["items", "2", "id"],
    ]
    async with world.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM points_award")) == 0


async def test_what_does_not_exist_is_named_in_camel_case(api: Client, world: AsyncEngine) -> None:
    found = await record(api, "recordAttendance", attendance(), attendance("nobody"))
    assert (found["code"], found["path"]) == ("PERSON_NOT_FOUND", ["items", "1", "studentId"])


@pytest.mark.parametrize("token", [("teacher", "tina", None), ("school_admin", "head", ["north"])])
async def test_a_class_out_of_reach_is_not_found_in_the_same_words(
    api: Client, world: AsyncEngine, token: tuple[str, str, Any]
) -> None:
    role, subject, schools = token
    bearer = api.token(role, subject, schools=schools)
    assert (await record(api, "recordAttendance", attendance(), token=bearer))["stored"] == 1
    answers = [
        await record(api, "recordAttendance", attendance(), attendance(class_id=c), token=bearer)
        for c in ("s1", "nobody")
    ]
    assert [(a["code"], a["path"]) for a in answers] == [("CLASS_NOT_FOUND", ["items", "1", "classId"])] * 2
    assert answers[0]["message"].replace("s1", "nobody") == answers[1]["message"]
    admin = await record(api, "recordAttendance", attendance(), attendance(class_id="nobody"))
    assert admin["message"] == answers[1]["message"]


async def test_a_school_out_of_reach_is_not_found(api: Client, world: AsyncEngine) -> None:
    token = api.token("school_admin", schools=["north"])
    for name, item, path in (
        ("recordSchools", {"id": "south", "title": "x", "timeZone": "UTC"}, "id"),
        ("recordPeople", {"id": "new", "schoolId": "south"}, "schoolId"),
        ("recordClasses", {"id": "new", "schoolId": "south", "title": "x"}, "schoolId"),
    ):
        found = await record(api, name, item, token=token)
        assert (found["code"], found["path"]) == ("SCHOOL_NOT_FOUND", ["items", "0", path]), name


async def test_what_belongs_to_another_school_cannot_be_taken_over(api: Client, world: AsyncEngine) -> None:
    token = api.token("school_admin", schools=["north"])
    await record(api, "recordPeople", {"id": "pat", "schoolId": "south"})
    taken = await record(api, "recordPeople", {"id": "pat", "schoolId": "north"}, token=token)
    assert (taken["code"], taken["path"]) == ("PERSON_NOT_FOUND", ["items", "0", "id"])
    taken = await record(api, "recordClasses", {"id": "s1", "schoolId": "north", "title": "x"}, token=token)
    assert (taken["code"], taken["path"]) == ("CLASS_NOT_FOUND", ["items", "0", "id"])


def activity(**more: Any) -> dict[str, Any]:
    return {"classId": "n1", "id": "a", "title": "A", "maxPoints": 10, **more}


@pytest.mark.parametrize(
    ("day", "due"),
    [("2026-03-28", "2026-03-29 00:00:00+00:00"), ("2026-03-29", "2026-03-29 23:00:00+00:00")],
)
async def test_due_on_a_day_is_due_at_its_end_at_the_school(
    api: Client, world: AsyncEngine, day: str, due: str
) -> None:
    found = await record(api, "recordActivities", activity(dueOn=day))
    assert found["__typename"] == "RecordFactsSuccess"
    async with world.connect() as connection:
        assert str(await connection.scalar(text("SELECT due_at FROM activity"))) == due


async def test_due_at_and_due_on_together_are_a_problem(api: Client, world: AsyncEngine) -> None:
    found = await record(api, "recordActivities", activity(dueOn="2026-03-28", dueAt=SPRING))
    assert found["path"] == ["items", "0", "dueOn"]
    for day in ("0001-01-01", "9999-12-31", "2199-12-31"):
        assert (await record(api, "recordActivities", activity(dueOn=day)))["path"] == ["items", "0", "dueOn"]
    assert (await record(api, "recordActivities", activity(classId="x", dueOn=day)))["code"] == "CLASS_NOT_FOUND"


async def test_none_and_too_many_are_problems(api: Client, world: AsyncEngine) -> None:
    assert (await record(api, "recordAttendance"))["path"] == ["items"]
    people = [{"id": str(n), "schoolId": "north"} for n in range(5_001)]
    assert (await record(api, "recordPeople", *people))["path"] == ["items"]
    assert (await record(api, "recordPeople", *people[:5_000]))["stored"] == 5_000


HOSTILE = ["", "\0", "x" * 300, "class-performance:x", "a\u202eb", "'; DROP TABLE class; --", "☃"]


@pytest.mark.parametrize("mutation", FACT_MUTATIONS, ids=lambda m: m.name)
async def test_hostile_ids_are_problems_or_stored_but_never_faults(
    api: Client, world: AsyncEngine, mutation: Any
) -> None:
    examples: dict[str, Any] = {
        "time_zone": "UTC", "title": "x", "role": "STUDENT", "max_points": 1, "points": 1, "awarded_at": SPRING,
        "session_date": "2026-03-02", "status": "PRESENT",
    }  # fmt: skip
    from app.gradebook import KINDS

    names = [name for name, field in KINDS[mutation.kind].model_fields.items() if field.is_required()]
    for role in ("admin", "school_admin"):
        token = api.token(role, schools=["north"])
        for hostile in HOSTILE:
            item = {camel(name): examples.get(name, hostile) for name in names}
            if mutation.kind == "classes":
                item["status"] = "ACTIVE"
            found = await record(api, camel(mutation.name), item, token=token)
            assert found["__typename"] in ("RecordFactsSuccess", "ValidationProblem")


async def test_places_of_classes(world: AsyncEngine) -> None:
    async with world.connect() as connection:
        assert await get_places(connection, ["n1", "no", "\0"]) == {"n1": ("north", "Europe/London")}


async def test_of_several_mutations_in_one_operation_each_sees_its_own_result(api: Client, world: AsyncEngine) -> None:
    item = '{classId: "n1", studentId: "sam", sessionDate: "2026-03-0%d", status: PRESENT}'
    fields = " ".join(
        f"f{n}: recordAttendance(input: {{items: [{item % n}]}}) {{ __typename }} "
        'm%d: recalculateMetrics(input: {classIds: ["n1"]}) '
        "{ ... on RecalculateMetricsSuccess { classPerformances { version class { performance { version } } } } }" % n
        for n in (1, 2, 3)
    )
    found = await api.ask(f"mutation {{ {fields} }}")
    for number in (1, 2, 3):
        (record,) = found[f"m{number}"]["classPerformances"]
        assert record["version"] == record["class"]["performance"]["version"] == number + 1


async def test_the_classes_that_facts_touch_are_named_and_the_first_hundred_shown(
    api: Client, world: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.graphql.facts.MOST_PERFORMANCES", 1)
    query = """mutation ($items: RecordAttendanceInput!) { recordAttendance(input: $items) {
        ... on RecordFactsSuccess { classIds classPerformances { classId } } } }"""
    items = {"items": [attendance(class_id="n2"), attendance(class_id="n1")]}
    found = (await api.ask(query, {"items": items}))["recordAttendance"]
    assert found == {"classIds": ["n1", "n2"], "classPerformances": [{"classId": "n1"}]}
    writer = api.token("service", scopes=["facts:write"])
    found = (await api.send(query, {"items": items}, token=writer)).json()
    assert found["data"]["recordAttendance"]["classPerformances"] is None
    assert [error["extensions"]["code"] for error in found["errors"]] == ["FORBIDDEN"]
