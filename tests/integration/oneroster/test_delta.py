"""Deltas: records that changed, each at its own time, in whatever order they come."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import permutations
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.importers.oneroster.delivery import import_package
from app.importers.oneroster.options import Options
from app.importers.report import Report, Tally
from tests.csv_folder import dump, rows
from tests.oneroster import AZORES, FIRST, delta, package

EARLY, NOON, EVENING = (f"2024-10-02T{hour}:00:00.000Z" for hour in ("08", "12", "18"))


@pytest.fixture
async def stored(engine: AsyncEngine, tmp_path: Path) -> AsyncEngine:
    await import_package(engine, package(tmp_path / "p", FIRST), AZORES)
    return engine


async def send(
    engine: AsyncEngine, tmp_path: Path, files: Mapping[str, str], options: Options | None = None, **modes: str
) -> Report:
    path = package(tmp_path / "d", files, "1.1", **(dict.fromkeys(files, "delta") | modes))
    report = await import_package(engine, path, options or Options())
    assert [str(problem) for problem in report.problems] == []
    return report


def at(instant: str) -> datetime:
    return datetime.fromisoformat(instant)


async def test_what_changed_is_stored_and_all_else_stays(stored: AsyncEngine, tmp_path: Path) -> None:
    report = await send(
        stored,
        tmp_path,
        delta(
            users=f"eve,active,{NOON},true,hill,student,eve,,Given,Family\n",
            enrollments=f"e6,active,{NOON},art,hill,eve,student,,2024-10-02,\n",
            lineItems=f"quiz,active,{NOON},Quiz!,,2024-09-10,2024-09-20,algebra,tests,autumn,0,15\n",
            results=f"r2,active,{NOON},quiz,ben,fully graded,6,2024-09-23,\n",
        ),
    )
    changed = {file: (tally.new, tally.stored, tally.removed) for file, tally in report.files.items()}
    assert changed == {
        "users.csv": (1, 1, 0),
        "enrollments.csv": (1, 1, 0),
        "lineItems.csv": (0, 1, 0),
        "results.csv (grades)": (0, 1, 0),
        "results.csv (excusals)": (1, 1, 0),
    }
    assert await rows(stored, "SELECT title, max_points FROM activity WHERE id = 'quiz'") == [("Quiz!", 15)]
    statement = "SELECT submitted_at, score FROM submission WHERE activity_id = 'quiz' AND student_id = 'ben'"
    assert await rows(stored, statement) == [(datetime(2024, 9, 19, tzinfo=UTC), 6)]
    assert await rows(stored, "SELECT average_grade FROM class_performance WHERE class_id = 'algebra'") == [(50.0,)]
    assert await rows(stored, "SELECT count(*) FROM enrollment WHERE ends IS NULL") == [(4,)]


async def test_a_second_run_changes_nothing(stored: AsyncEngine, tmp_path: Path) -> None:
    files = delta(
        users=f"ben,tobedeleted,{NOON},true,hill,student,ben,,,\n",
        classes=f"art,tobedeleted,{NOON},Art,7,maths,,scheduled,,hill,autumn,\n",
        enrollments=f"e1,tobedeleted,{NOON},algebra,hill,ann,student,,,\n",
        lineItems=f"essay,tobedeleted,{NOON},Essay,,2024-09-16,2024-10-26,algebra,work,autumn,0,20\n",
        results=f"r1,tobedeleted,{NOON},quiz,ann,fully graded,7.5,2024-09-20,\n",
    )
    await send(stored, tmp_path, files)
    before = await dump(stored)
    report = await send(stored, tmp_path, files)
    assert await dump(stored) == before
    assert {(tally.stored, tally.removed) for tally in report.files.values()} == {(0, 0)}
    assert report.class_ids == []


async def test_what_is_to_be_deleted_is_gone_but_not_erased(stored: AsyncEngine, tmp_path: Path) -> None:
    report = await send(
        stored,
        tmp_path,
        delta(
            classes=f"art,tobedeleted,{NOON},Art,7,maths,,scheduled,,hill,autumn,\n",
            enrollments=f"e2,ToBeDeleted,{NOON},algebra,hill,ben,student,,2024-09-09,2025-06-01\n",
            lineItems=f"essay,tobedeleted,{NOON},Essay,,2024-09-16,2024-10-26,algebra,work,autumn,0,20\n",
            results=f"r1,tobedeleted,{NOON},quiz,ann,fully graded,7.5,2024-09-20,\n",
        ),
    )
    assert await rows(stored, "SELECT status FROM class WHERE id = 'art'") == [("ARCHIVED",)]
    begins = datetime(2024, 9, 9, tzinfo=UTC)
    assert await rows(stored, "SELECT begins, ends FROM enrollment WHERE id = 'e2'") == [(begins, at(NOON))]
    assert await rows(stored, "SELECT deleted_at FROM activity WHERE id = 'essay'") == [(at(NOON),)]
    assert await rows(stored, "SELECT score, graded_at FROM submission WHERE student_id = 'ann'") == [(None, None)]
    assert [tally.removed for tally in report.files.values() if tally.removed] == [1, 1, 1, 1]
    assert await rows(stored, "SELECT count(*) FROM enrollment WHERE class_id = 'art' AND ends IS NULL") == [(1,)]


async def test_who_takes_away_need_say_no_more_than_what(stored: AsyncEngine, tmp_path: Path) -> None:
    await send(
        stored,
        tmp_path,
        delta(
            classes=f"art,tobedeleted,{NOON},,,,,,,,,\n",
            users=f"tom,tobedeleted,{NOON},,,,,,,\n",
            enrollments=f"e2,tobedeleted,{NOON},algebra,,,,,,\n",
            lineItems=f"essay,tobedeleted,{NOON},,,,,,,,,\n",
            results=f"r1,tobedeleted,{NOON},quiz,ann,,,,\n",
        ),
    )
    assert await rows(stored, "SELECT status FROM class WHERE id = 'art'") == [("ARCHIVED",)]
    ended = await rows(stored, "SELECT id FROM enrollment WHERE ends = '2024-10-02 12:00Z' ORDER BY id")
    assert ended == [("e2",), ("e3",)]
    assert await rows(stored, "SELECT id FROM activity WHERE deleted_at IS NOT NULL") == [("essay",)]
    assert await rows(stored, "SELECT count(*) FROM submission WHERE score IS NOT NULL") == [(0,)]


async def test_a_user_who_is_gone_is_enrolled_no_more(stored: AsyncEngine, tmp_path: Path) -> None:
    files = delta(users=f"ann,tobedeleted,{NOON},true,hill,student,ann,,Given,Family\n")
    report = await send(stored, tmp_path, files)
    assert await rows(stored, "SELECT DISTINCT ends FROM enrollment WHERE person_id = 'ann'") == [(at(NOON),)]
    assert report.files["enrollments.csv"] == Tally(stored=2, removed=2)


async def test_a_member_who_becomes_an_aide_is_enrolled_no_more(stored: AsyncEngine, tmp_path: Path) -> None:
    await send(stored, tmp_path, delta(enrollments=f"e3,active,{NOON},algebra,hill,tom,aide,,,\n"))
    assert await rows(stored, "SELECT ends FROM enrollment WHERE id = 'e3'") == [(at(NOON),)]


CHANGES = [
    delta(
        users=f"eve,active,{EARLY},true,hill,student,eve,,Given,Family\n",
        classes=f"music,active,{EARLY},Music,7,maths,,scheduled,,hill,autumn,\n"
        f"art,active,{EARLY},Fine art,7,maths,,scheduled,,hill,autumn,\n",
        enrollments=f"e6,active,{EARLY},art,hill,ben,student,,,\ne1,active,{EARLY},algebra,hill,ann,student,,,\n",
        lineItems=f"test,active,{EARLY},Test,,2024-10-01,2024-10-02,algebra,,autumn,0,10\n",
        results=f"r1,active,{EARLY},quiz,ann,exempt,,2024-09-20,\n"
        f"r2,active,{EARLY},quiz,ben,fully graded,3,2024-09-24,\n",
    ),
    delta(
        classes=f"music,tobedeleted,{NOON},Music,7,maths,,scheduled,,hill,autumn,\n"
        f"art,active,{NOON},Arts,7,maths,,scheduled,,hill,autumn,\n",
        enrollments=f"e6,tobedeleted,{NOON},art,hill,ben,student,,,\n"
        f"e1,active,{NOON},algebra,hill,ann,student,,,2025-01-01\n",
        lineItems=f"test,tobedeleted,{NOON},Test,,2024-10-01,2024-10-02,algebra,,autumn,0,10\n",
        results=f"r1,active,{NOON},quiz,ann,fully graded,9,2024-09-20,\n"
        f"r2,tobedeleted,{NOON},quiz,ben,fully graded,3,2024-09-24,\n",
    ),
    delta(
        enrollments=f"e1,tobedeleted,{EVENING},algebra,hill,ann,student,,,2025-01-01\n",
        results=f"r1,active,{EVENING},quiz,ann,fully graded,8,2024-09-20,\n",
    ),
]


async def test_deltas_in_any_order_come_to_the_same(stored: AsyncEngine, tmp_path: Path) -> None:
    """Every fact, and every number."""
    ends: list[dict[str, list[object]]] = []
    original = await dump(stored)
    for order in permutations(range(3)):
        for number in order:
            sessions = {"academicSessions": FIRST["academicSessions"]}
            await send(stored, tmp_path, CHANGES[number] | sessions, academicSessions="bulk")
        facts = {table: [row for _, row in found] for table, found in (await dump(stored)).items()}
        numbers = await rows(stored, "SELECT class_id, average_grade, activities_created FROM class_performance")
        ends.append({**facts, "numbers": sorted(numbers)})
        await restore(stored, tmp_path)
        assert {table: len(found) for table, found in (await dump(stored)).items()} == {
            table: len(found) for table, found in original.items()
        }
    for end in ends[1:]:
        for table, found in end.items():
            assert found == ends[0][table], table
    assert '(algebra,quiz,ann,1,,"1900-01-01 00:00:00+00",8,' in str(ends[0]["submission"])


async def restore(engine: AsyncEngine, tmp_path: Path) -> None:
    tables = "school, person, class, enrollment, category, activity, submission, excusal, class_performance"
    async with engine.begin() as connection:
        await connection.execute(text(f"TRUNCATE {tables}, class_performance_history, attendance, points_award"))
    await import_package(engine, package(tmp_path / "p", FIRST), AZORES)


async def test_what_is_older_than_the_stored_is_told(stored: AsyncEngine, tmp_path: Path) -> None:
    late = "2024-09-30T12:00:00Z"
    report = await send(
        stored, tmp_path, delta(classes=f"art,active,{late},Old art,7,maths,,scheduled,,hill,autumn,\n")
    )
    assert report.files["classes.csv"] == Tally(unchanged=1, older=1)
    assert await rows(stored, "SELECT title FROM class WHERE id = 'art'") == [("Art",)]


async def test_of_a_record_told_twice_the_newest_counts(stored: AsyncEngine, tmp_path: Path) -> None:
    line = "art,active,{},{},7,maths,,scheduled,,hill,autumn,\n"
    await send(stored, tmp_path, delta(classes=line.format(NOON, "New") + line.format(EARLY, "Old")))
    assert await rows(stored, "SELECT title FROM class WHERE id = 'art'") == [("New",)]


async def test_terms_of_another_package_leave_the_dates_as_they_are_and_are_told(
    stored: AsyncEngine, tmp_path: Path
) -> None:
    line = "{},active,{},Title,7,maths,,scheduled,,hill,{},\n"
    files = delta(classes=line.format("art", NOON, "spring") + line.format("new", NOON, "spring"))
    report = await send(stored, tmp_path, files)
    assert [str(note) for note in report.notes] == [
        "classes.csv: 2 of the classes have terms that this package does not tell, and terms are not kept: stored "
        "classes keep their dates, new ones have none. Send academicSessions.csv along."
    ]
    dates = await rows(stored, "SELECT begins::date, ends::date FROM class WHERE id IN ('art', 'new') ORDER BY id")
    assert [tuple(map(str, row)) for row in dates] == [("2024-09-02", "2024-12-21"), ("None", "None")]


async def test_sessions_in_bulk_date_classes_of_a_delta(stored: AsyncEngine, tmp_path: Path) -> None:
    classes = delta(classes=f"art,active,{NOON},Art,7,maths,,scheduled,,hill,spring,\n")
    sessions = {"academicSessions": FIRST["academicSessions"]}
    report = await send(stored, tmp_path, classes | sessions, academicSessions="bulk")
    assert report.notes == []
    dates = await rows(stored, "SELECT begins::date, ends::date FROM class WHERE id = 'art'")
    assert [tuple(map(str, row)) for row in dates] == [("2025-01-06", "2025-06-28")]


async def test_a_category_of_another_class_need_not_be_told_again(stored: AsyncEngine, tmp_path: Path) -> None:
    await send(
        stored, tmp_path, delta(lineItems=f"bowl,active,{NOON},Bowl,,2024-10-01,2024-10-08,art,tests,autumn,0,5\n")
    )
    assert await rows(stored, "SELECT title FROM category WHERE class_id = 'art' AND id = 'tests'") == [("Tests",)]


async def test_a_category_that_changes_changes_in_every_class(stored: AsyncEngine, tmp_path: Path) -> None:
    await send(stored, tmp_path, delta(categories=f"work,active,{NOON},Homework\n"))
    assert await rows(stored, "SELECT title FROM category WHERE id = 'work'") == [("Homework",)] * 2


async def test_a_dry_run_reports_what_the_run_does(stored: AsyncEngine, tmp_path: Path) -> None:
    files = CHANGES[0]
    before = await dump(stored)
    rehearsal = await send(stored, tmp_path, files, Options(dry_run=True))
    assert await dump(stored) == before
    report = await send(stored, tmp_path, files)
    assert (rehearsal.files, rehearsal.class_ids, rehearsal.notes) == (report.files, report.class_ids, report.notes)
