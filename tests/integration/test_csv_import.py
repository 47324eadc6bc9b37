"""Folders of CSV files that are stored."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database import create_engine, transaction
from app.importers.csv_folder import FILES, import_folder
from app.importers.report import Report, Tally
from app.performance import calculate_many
from app.settings import Settings
from tests.csv_folder import FOLDER, MONDAY, dump, edit, put, rows


async def test_a_folder_is_stored(engine: AsyncEngine, folder: Path) -> None:
    report = await import_folder(engine, folder)
    assert report.problems == []
    assert report.class_ids == ["algebra"]
    assert {name: tally.stored for name, tally in report.files.items()} == {
        name: content.count("\n") - 1 for name, content in FOLDER.items()
    }


async def test_a_second_run_changes_nothing(engine: AsyncEngine, folder: Path) -> None:
    first = await import_folder(engine, folder)
    before = await dump(engine)
    second = await import_folder(engine, folder)
    assert await dump(engine) == before
    assert second.class_ids == []
    assert second.files == {name: Tally(0, tally.stored, 0) for name, tally in first.files.items()}


async def test_two_imports_at_once_are_one(engine: AsyncEngine, folder: Path) -> None:
    reports = await asyncio.gather(*(import_folder(engine, folder) for _ in range(4)))
    assert all(report.problems == [] for report in reports)
    assert sum(report.files["submissions.csv"].stored for report in reports) == 2
    again = await import_folder(engine, folder)
    assert all(tally.stored == 0 for tally in again.files.values())


async def test_a_dry_run_says_what_would_change_and_changes_nothing(engine: AsyncEngine, folder: Path) -> None:
    rehearsal = await import_folder(engine, folder, dry_run=True)
    assert not any((await dump(engine)).values())
    report = await import_folder(engine, folder)
    assert (rehearsal.files, rehearsal.class_ids) == (report.files, report.class_ids)


async def test_any_file_may_be_absent(engine: AsyncEngine, folder: Path) -> None:
    await import_folder(engine, folder)
    for name in FOLDER:
        os.unlink(folder / name)
    put(folder, "attendance.csv", "class_id,student_id,session_date,status\nalgebra,ann,2024-09-03,ABSENT\n")
    assert (await import_folder(engine, folder)).files == {"attendance.csv": Tally(1, 0, 0)}


async def test_both_halves_of_a_submission_are_stored(engine: AsyncEngine, folder: Path) -> None:
    await import_folder(engine, folder)
    columns = "submitted_at, score, graded_at, graded_automatically, feedback, recorded_at, grade_recorded_at, attempt"
    assert await rows(engine, f"SELECT {columns} FROM submission ORDER BY student_id") == [
        (
            datetime(2024, 10, 1, 8, tzinfo=UTC),
            Decimal("7.5"),
            datetime(2024, 10, 2, 8, tzinfo=UTC),
            True,
            "Well done",
            MONDAY,
            MONDAY,
            1,
        ),
        (datetime(2024, 10, 1, 11, tzinfo=UTC), None, None, False, None, MONDAY, MONDAY, 1),
    ]


async def test_a_file_without_columns_of_grades_says_nothing_about_them(engine: AsyncEngine, folder: Path) -> None:
    await import_folder(engine, folder)
    key = "class_id,activity_id,student_id"
    put(folder, "submissions.csv", f"{key},submitted_at\nalgebra,quiz,ann,2024-10-03T10:00:00Z\n")
    await import_folder(engine, folder, recorded_at=datetime(2024, 9, 9, tzinfo=UTC))
    put(folder, "submissions.csv", f"{key},score,recorded_at\nalgebra,quiz,ann,9,2024-09-10\n")
    await import_folder(engine, folder)
    statement = "SELECT submitted_at, score FROM submission WHERE student_id = 'ann'"
    assert await rows(engine, statement) == [(datetime(2024, 10, 3, 10, tzinfo=UTC), Decimal(9))]


async def test_a_date_alone_is_a_day_of_the_school(engine: AsyncEngine, folder: Path) -> None:
    """The Azores are an hour behind UTC; in summer, until the clocks go back on 27 October at their midnight, not."""
    await import_folder(engine, folder)
    assert await rows(engine, "SELECT begins, ends FROM class") == [
        (datetime(2024, 9, 1, tzinfo=UTC), datetime(2025, 7, 1, tzinfo=UTC))
    ]
    assert await rows(engine, "SELECT due_at, published_at FROM activity ORDER BY id DESC") == [
        (datetime(2024, 10, 27, tzinfo=UTC), MONDAY),
        (None, datetime(2024, 9, 2, tzinfo=UTC)),
    ]


async def test_the_source_time_is_of_the_row_then_given_then_of_the_file(engine: AsyncEngine, folder: Path) -> None:
    put(folder, "people.csv", "id,school_id,recorded_at\nann,school,2024-01-31\nben,school,\ntom,school,\n")
    given = datetime(2024, 5, 1, tzinfo=UTC)
    await import_folder(engine, folder)
    await import_folder(engine, folder, recorded_at=given)
    statement = "SELECT id, recorded_at FROM person ORDER BY id"
    own = datetime(2024, 1, 31, 1, tzinfo=UTC)
    assert await rows(engine, statement) == [("ann", own), ("ben", MONDAY), ("tom", MONDAY)]


async def test_what_spreadsheets_do_to_a_file_is_no_matter(engine: AsyncEngine, folder: Path) -> None:
    content = '\ufeffid,school_id,title\r\nalgebra,school,"Algebra,\r\nthe ""first"""\r\n\r\nempty,school,\r\n'
    put(folder, "classes.csv", content)
    assert (await import_folder(engine, folder)).problems == []
    expected = [('Algebra,\r\nthe "first"',), ("",)]
    assert await rows(engine, "SELECT title FROM class ORDER BY id") == expected


async def test_words_of_a_list_may_be_in_small_letters(engine: AsyncEngine, folder: Path) -> None:
    edit(folder, "attendance.csv", "LATE", "late")
    edit(folder, "enrollments.csv", "TEACHER", "Teacher")
    assert (await import_folder(engine, folder)).problems == []
    assert await rows(engine, "SELECT status FROM attendance WHERE student_id = 'ben'") == [("LATE",)]
    assert await rows(engine, "SELECT role FROM enrollment WHERE person_id = 'tom'") == [("TEACHER",)]


async def test_progress_is_told_by_file_and_rows(engine: AsyncEngine, folder: Path) -> None:
    heard: list[tuple[str, int]] = []
    await import_folder(engine, folder, progress=lambda file, count: heard.append((file, count)))
    assert heard == [*((name, FOLDER[name].count("\n") - 1) for name in FILES), ("Calculating", 1)]


async def test_numbers_are_stored_with_the_facts_they_follow_from(engine: AsyncEngine, folder: Path) -> None:
    await import_folder(engine, folder, dry_run=True)
    assert await rows(engine, "SELECT count(*) FROM class_performance") == [(0,)]
    await import_folder(engine, folder)
    counts = await rows(engine, "SELECT class_id, version, present_count + late_count > 0 FROM class_performance")
    assert [row[1:] for row in counts] == [(1, True)]


async def test_an_import_corrects_and_is_corrected(engine: AsyncEngine, folder: Path) -> None:
    await import_folder(engine, folder)
    edit(folder, "attendance.csv", "LATE", "ABSENT")
    report: Report = await import_folder(engine, folder, recorded_at=datetime(2024, 9, 3, tzinfo=UTC))
    assert report.files["attendance.csv"] == Tally(2, 0, 0)
    edit(folder, "attendance.csv", "LATE", "PRESENT")
    report = await import_folder(engine, folder)
    assert report.files["attendance.csv"] == Tally(0, 2, 0)
    assert await rows(engine, "SELECT status FROM attendance ORDER BY student_id") == [("PRESENT",), ("ABSENT",)]


async def test_the_example_of_the_document_is_imported_and_comes_to_what_it_says(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    document = (Path(__file__).parents[2] / "docs" / "csv.md").read_text()
    example = dict(re.findall(r"^`(\w+\.csv)`\n\n```csv\n(.*?)^```", document, re.MULTILINE | re.DOTALL))
    for name, content in example.items():
        put(tmp_path, name, content)
    report = await import_folder(engine, tmp_path)
    assert report.problems == []
    assert {name: tally.stored for name, tally in report.files.items()} == {
        name: content.count("\n") - 1 for name, content in example.items()
    }
    async with engine.connect() as connection:
        row = (await calculate_many(connection, report.class_ids, datetime(2026, 1, 1, tzinfo=UTC)))["algebra-7"]
    told = f"Its average grade is {row['average_grade']:.0f} and its attendance rate {row['attendance_rate']:.0f}."
    assert told in document
    assert document.count("```csv") == len(example)


async def test_facts_of_who_is_not_enrolled_or_of_a_day_to_come_are_kept_until_they_apply(
    engine: AsyncEngine, folder: Path
) -> None:
    put(folder, "people.csv", FOLDER["people.csv"] + "zoe,school\n")
    put(
        folder,
        "attendance.csv",
        FOLDER["attendance.csv"] + "algebra,zoe,2024-09-02,LATE\nalgebra,ann,2025-03-03,LATE\n",
    )
    assert (await import_folder(engine, folder)).problems == []

    async def late_on(*day: int) -> int:
        async with engine.connect() as connection:
            found = await calculate_many(connection, ["algebra"], datetime(*day, 12, tzinfo=UTC))  # type: ignore[misc,arg-type]
        count: int = found["algebra"]["late_count"]
        return count

    assert (await late_on(2025, 3, 2), await late_on(2025, 3, 3)) == (1, 2)
    put(folder, "enrollments.csv", FOLDER["enrollments.csv"] + "algebra,4,zoe,STUDENT\n")
    await import_folder(engine, folder, recorded_at=datetime(2025, 3, 3, tzinfo=UTC))
    assert await late_on(2025, 3, 3) == 3


MEASURED = """
import asyncio, sys
from pathlib import Path
from app.database import create_engine
from app.importers.csv_folder import import_folder
from app.settings import Settings

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])

async def measure(url, folder):
    engine = create_engine(Settings(environment="development", database_url=url))
    early = []
    report = await import_folder(engine, folder, progress=lambda file, rows: rows == 20_000 and early.append(peak()))
    await engine.dispose()
    print(report.problem_count, report.files["submissions.csv"].stored, peak() - early[0])

asyncio.run(measure(sys.argv[1], Path(sys.argv[2])))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peaks of memory are read from /proc")
def test_memory_does_not_grow_with_the_file(database_url: str, folder: Path) -> None:
    """In a process of its own: 240,000 rows take no more than a few megabytes beyond the first 20,000."""
    header = FOLDER["submissions.csv"].splitlines()[0] + ",attempt"
    lines = (
        f"algebra,{activity},{student},2024-10-01,7.5,2024-10-02,no,Well done,{attempt}"
        for activity in ("quiz", "essay")
        for student in ("ann", "ben", "tom")
        for attempt in range(1, 10_001)
        for _ in range(4)
    )
    put(folder, "submissions.csv", "\n".join([header, *lines]))
    run = subprocess.run(
        [sys.executable, "-c", MEASURED, database_url, folder], capture_output=True, text=True, check=True
    )
    problems, stored, kilobytes = map(int, run.stdout.split())
    assert (problems, stored) == (0, 60_000)
    assert kilobytes < 10_000


async def test_an_import_waits_for_what_is_in_its_way_however_long(settings: Settings, folder: Path) -> None:
    """Longer than a request may wait for its database, and longer than the driver waits for a silent one."""
    hurried = create_engine(settings.model_copy(update={"database_timeout": 0.5}))
    async with transaction(hurried) as blocker:
        await blocker.execute(text("LOCK TABLE school IN ACCESS EXCLUSIVE MODE"))
        importing = asyncio.create_task(import_folder(hurried, folder))
        await asyncio.sleep(2.5)
        assert not importing.done()
    report = await importing
    assert report.is_stored
    await hurried.dispose()
