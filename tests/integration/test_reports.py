"""Reported values: pinned, checked, in conflict only where people were, and never applied twice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.cache import Cache
from app.database import transaction
from app.errors import Rejected
from app.performance import Performance, recalculate_many
from app.records import Record
from app.reports import Report, Reports, VersionConflict
from app.settings import Settings

pytestmark = pytest.mark.usefixtures("school")


def report(expected: int | None = None, key: str | None = None, class_id: str = "algebra", **values: Any) -> Report:
    return Report(class_id, values, expected, key)


async def grade(engine: AsyncEngine, score: float) -> Record:
    async with transaction(engine) as connection:
        await connection.execute(text("UPDATE submission SET score = :score"), {"score": score})
        (record,) = await recalculate_many(connection, ["algebra"])
    return record


async def history(engine: AsyncEngine) -> list[tuple[Any, ...]]:
    columns = "version, cause, actor, fields, pinned_metrics"
    async with engine.connect() as connection:
        rows = await connection.execute(
            text(f"SELECT {columns} FROM class_performance_history WHERE class_id = 'algebra' ORDER BY version")
        )
        return [tuple(row) for row in rows]


async def test_a_reported_metric_stays_while_the_others_are_calculated_on(
    engine: AsyncEngine, reports: Reports, performance: Performance
) -> None:
    record = await reports.update("head", report(passing_rate=50, total_points=7))
    assert (record.version, record.passing_rate, record.total_points) == (2, 50.0, 7)
    assert record.pinned_metrics == ["passing_rate", "total_points"]
    assert (await performance.get_many(["algebra"])) == [record]

    changed = await grade(engine, 3)
    assert (changed.version, changed.average_grade, changed.passing_rate) == (3, 30.0, 50.0)
    assert changed.explanation["passingRate"] == {"numerator": 0, "denominator": 1}
    assert await history(engine) == [
        (1, "calculated", None, [], []),
        (2, "reported", "head", ["passing_rate", "total_points"], ["passing_rate", "total_points"]),
        (3, "calculated", None, [], ["passing_rate", "total_points"]),
    ]


async def test_unpinning_restores_what_is_calculated_in_one_version(engine: AsyncEngine, reports: Reports) -> None:
    await reports.update("head", report(passing_rate=50, average_grade=1))
    record = await reports.unpin("head", report(passing_rate=None, late_count=None))
    assert (record.version, record.passing_rate, record.average_grade) == (3, 100.0, 1.0)
    assert record.pinned_metrics == ["average_grade"]
    assert (await history(engine))[-1] == (3, "unpinned", "head", ["passing_rate"], ["average_grade"])
    assert (await reports.unpin("head", report(passing_rate=None))).version == 3


async def test_unpinning_raises_the_version_even_when_the_value_was_right(reports: Reports) -> None:
    await reports.update("head", report(average_grade=80))
    record = await reports.unpin("head", report(average_grade=None))
    assert (record.version, record.average_grade, record.pinned_metrics) == (3, 80.0, [])


async def test_reporting_the_same_again_changes_nothing(reports: Reports) -> None:
    first = await reports.update("head", report(passing_rate=50, custom={"a": 1}))
    assert await reports.update("head", report(passing_rate=50, custom={"a": 1})) == first


@pytest.mark.parametrize("other", [True, 1.0, "1", [1], None])
async def test_custom_metadata_of_another_type_is_another_value(reports: Reports, other: Any) -> None:
    await reports.update("lms", report(custom={"a": 1}))
    record = await reports.update("lms", report(custom={"a": other}))
    assert record.version == 3
    assert repr(record.custom) == repr({"a": other})


SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(-1e15, 1e15) | st.text(max_size=9)
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(custom=st.dictionaries(st.text(max_size=5), st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3))))
async def test_any_custom_metadata_is_refused_or_comes_back_as_it_was(
    reports: Reports, performance: Performance, engine: AsyncEngine, custom: dict[str, Any]
) -> None:
    try:
        record = await reports.update("lms", report(custom=custom))
    except Rejected:
        return
    assert record.custom == custom
    assert await performance.get_many(["algebra"]) == [record]
    fresh = Performance(engine, Cache(Settings()))
    assert await fresh.get_many(["algebra"]) == [record]


async def test_a_key_kept_by_a_release_with_other_fields_gives_the_record_as_it_is(
    engine: AsyncEngine, reports: Reports
) -> None:
    first = await reports.update("head", report(1, "k", passing_rate=50))
    async with transaction(engine) as connection:
        await connection.execute(text("UPDATE idempotency_key SET result = result - 'late_count'"))
    assert await reports.update("head", report(1, "k", passing_rate=50)) == first


async def test_custom_metadata_is_replaced_as_a_whole_and_cleared_by_null(reports: Reports) -> None:
    assert (await reports.update("lms", report(custom={"room": "4b", "π": [1.5, None]}))).custom == {
        "room": "4b",
        "π": [1.5, None],
    }
    assert (await reports.update("lms", report(custom={"floor": 2}))).custom == {"floor": 2}
    cleared = await reports.update("lms", report(custom=None))
    assert (cleared.custom, cleared.version, cleared.pinned_metrics) == (None, 4, [])


@pytest.mark.parametrize(
    ("values", "path", "says"),
    [
        ({"average_grade": -0.01}, ("data", "averageGrade"), "between 0 and 1,000"),
        ({"average_grade": 1000.01}, ("data", "averageGrade"), "between 0 and 1,000"),
        ({"passing_rate": 100.5}, ("data", "passingRate"), "between 0 and 100"),
        ({"passing_rate": float("nan")}, ("data", "passingRate"), "between 0 and 100"),
        ({"average_points": float("inf")}, ("data", "averagePoints"), "between -1,000,000,000"),
        ({"late_count": 1.5}, ("data", "lateCount"), "whole number"),
        ({"late_count": 2**31}, ("data", "lateCount"), "between 0 and 2,147,483,647"),
        ({"total_points": -(2**31) - 1}, ("data", "totalPoints"), "between -2,147,483,648"),
        ({"grade_improvement": None}, ("data", "gradeImprovement"), "cannot be null"),
        ({"custom": [1]}, ("data", "metadata", "custom"), "an object"),
        ({"custom": {"a": "x" * 16_384}}, ("data", "metadata", "custom"), "at most 16,384 bytes"),
        ({"custom": {"a": ["\0"]}}, ("data", "metadata", "custom"), "NUL"),
        ({"custom": {"\ud800": 1}}, ("data", "metadata", "custom"), "surrogate"),
        ({"custom": {"a": 2**70}}, ("data", "metadata", "custom"), "64 bits"),
        ({"custom": {"a": [1e20]}}, ("data", "metadata", "custom"), "number beyond"),
        ({}, ("data",), "at least one"),
    ],
)
async def test_a_value_out_of_range_is_refused_by_name_and_nothing_is_stored(
    reports: Reports, performance: Performance, values: dict[str, Any], path: tuple[str, ...], says: str
) -> None:
    with pytest.raises(Rejected) as refused:
        await reports.update("head", report(**{**values, **({"present_count": 3} if values else {})}))
    (problem,) = refused.value.problems
    assert problem.path == path
    assert says in problem.message
    (record,) = await performance.get_many(["algebra"])
    assert record is not None
    assert record.version == 1


async def test_every_bad_value_is_named_at_once(reports: Reports) -> None:
    with pytest.raises(Rejected) as refused:
        await reports.update("head", report(late_count=-1, passing_rate=101))
    assert [problem.path[-1] for problem in refused.value.problems] == ["lateCount", "passingRate"]


@pytest.mark.parametrize(("value", "stored"), [(72.345, 72.35), (72.344999, 72.34), (0.005, 0.01), (100, 100.0)])
async def test_a_reported_rate_is_rounded_like_a_calculated_one(reports: Reports, value: float, stored: float) -> None:
    assert (await reports.update("head", report(passing_rate=value))).passing_rate == stored


async def test_the_ends_of_every_range_are_within_it(reports: Reports) -> None:
    lowest = await reports.update("head", report(average_points=-1e9, total_points=-(2**31), grade_improvement=-1000))
    assert (lowest.average_points, lowest.total_points, lowest.grade_improvement) == (-1e9, -(2**31), -1000.0)
    highest = await reports.update("head", report(average_points=1e9, total_points=2**31 - 1, highest_grade=1000))
    assert (highest.average_points, highest.total_points, highest.highest_grade) == (1e9, 2**31 - 1, 1000.0)


async def test_a_negative_value_that_rounds_to_zero_is_zero(reports: Reports) -> None:
    assert str((await reports.update("head", report(grade_improvement=-0.001))).grade_improvement) == "0.0"


async def test_an_unknown_class_is_a_problem(reports: Reports) -> None:
    with pytest.raises(Rejected) as refused:
        await reports.update("head", report(class_id="nowhere", passing_rate=1))
    assert [(problem.code, problem.path) for problem in refused.value.problems] == [("CLASS_NOT_FOUND", ("classId",))]


async def test_only_the_same_field_conflicts(reports: Reports) -> None:
    await reports.update("ann", report(1, passing_rate=50, late_count=4))
    merged = await reports.update("bob", report(1, average_grade=70, custom={"by": "bob"}))
    assert (merged.version, merged.passing_rate, merged.average_grade) == (3, 50.0, 70.0)
    with pytest.raises(VersionConflict) as conflict:
        await reports.update("bob", report(1, passing_rate=60, present_count=1, custom={}))
    assert conflict.value.fields == ["custom", "passing_rate"]
    assert conflict.value.record == merged


async def test_recalculation_alone_never_conflicts(engine: AsyncEngine, reports: Reports) -> None:
    await grade(engine, 5)
    await grade(engine, 6)
    record = await reports.update("head", report(1, average_grade=70))
    assert (record.version, record.average_grade) == (4, 70.0)


async def test_an_unpinned_field_conflicts(reports: Reports) -> None:
    await reports.update("ann", report(passing_rate=50))
    await reports.unpin("ann", report(passing_rate=None))
    with pytest.raises(VersionConflict) as conflict:
        await reports.unpin("bob", report(2, passing_rate=None))
    assert conflict.value.fields == ["passing_rate"]


async def test_a_version_older_than_the_history_conflicts_on_all(engine: AsyncEngine, reports: Reports) -> None:
    await grade(engine, 5)
    await grade(engine, 6)
    async with transaction(engine) as connection:
        await connection.execute(text("DELETE FROM class_performance_history WHERE version <= 2"))
    assert (await reports.update("head", report(2, passing_rate=50))).version == 4
    with pytest.raises(VersionConflict) as conflict:
        await reports.update("head", report(1, late_count=1, average_grade=2))
    assert conflict.value.fields == ["average_grade", "late_count"]


@pytest.mark.parametrize("version", [0, -1, 2])
async def test_a_version_that_never_was_is_a_problem(reports: Reports, version: int) -> None:
    with pytest.raises(Rejected) as refused:
        await reports.update("head", report(version, passing_rate=50))
    assert refused.value.problems[0].path == ("expectedVersion",)


async def test_of_a_hundred_concurrent_writers_who_expect_one_version_one_wins(
    engine: AsyncEngine, reports: Reports
) -> None:
    async def attempt(number: int) -> bool:
        try:
            await reports.update(f"writer-{number}", report(1, passing_rate=number))
        except VersionConflict:
            return False
        return True

    outcomes = await asyncio.gather(*(attempt(number) for number in range(100)))
    assert sum(outcomes) == 1
    assert len(await history(engine)) == 2


async def test_a_hundred_concurrent_writers_of_their_own_fields_all_succeed(
    engine: AsyncEngine, reports: Reports
) -> None:
    names = ["passing_rate", "average_grade", "late_count", "present_count"]
    await asyncio.gather(*(reports.update("w", report(None, **{names[n % 4]: n % 100})) for n in range(100)))
    versions = [row[0] for row in await history(engine)]
    assert versions == list(range(1, len(versions) + 1))


async def test_a_hundred_copies_of_one_request_are_applied_once(engine: AsyncEngine, reports: Reports) -> None:
    answers = await asyncio.gather(*(reports.update("head", report(1, "k", passing_rate=50)) for _ in range(100)))
    assert {answer.version for answer in answers} == {2}
    assert len(await history(engine)) == 2


async def test_a_key_replays_the_result_even_when_the_record_moved_on(engine: AsyncEngine, reports: Reports) -> None:
    first = await reports.update("head", report(1, "k", passing_rate=50, custom={"a": 1}))
    await grade(engine, 1)
    assert await reports.update("head", report(1, "k", passing_rate=50, custom={"a": 1})) == first


async def test_a_key_belongs_to_its_viewer_and_its_mutation(reports: Reports) -> None:
    await reports.update("ann", report(None, "k", passing_rate=50))
    assert (await reports.update("bob", report(None, "k", passing_rate=60))).passing_rate == 60.0
    assert (await reports.unpin("ann", report(None, "k", passing_rate=None))).passing_rate == 100.0


@pytest.mark.parametrize("other", [{"passing_rate": 51}, {"late_count": 50}, {"passing_rate": 50, "custom": None}])
async def test_a_key_with_another_input_is_a_problem(reports: Reports, other: dict[str, Any]) -> None:
    await reports.update("head", report(None, "k", passing_rate=50))
    with pytest.raises(Rejected) as refused:
        await reports.update("head", report(None, "k", **other))
    assert [problem.code for problem in refused.value.problems] == ["IDEMPOTENCY_KEY_REUSED"]


async def test_a_problem_is_not_kept_under_its_key(reports: Reports) -> None:
    await reports.update("ann", report(1, passing_rate=50))
    with pytest.raises(VersionConflict):
        await reports.update("bob", report(1, "k", passing_rate=60))
    assert (await reports.update("bob", report(2, "k", passing_rate=60))).version == 3


@pytest.mark.parametrize("key", ["", "k" * 256, "a\nb", "\ud800"])
async def test_a_key_is_short_and_printable(reports: Reports, key: str) -> None:
    with pytest.raises(Rejected) as refused:
        await reports.update("head", report(None, key, passing_rate=50))
    assert refused.value.problems[0].path == ("idempotencyKey",)
