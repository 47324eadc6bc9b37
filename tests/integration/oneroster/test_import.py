"""OneRoster packages that are stored."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from zipfile import ZipFile

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from app.errors import BadInput
from app.importers.oneroster.delivery import import_package
from app.importers.oneroster.options import NewSchools, Options
from app.importers.report import Tally
from tests.csv_folder import dump, rows
from tests.oneroster import AZORES, EXPORTED, FIRST, PACKAGES, SECOND, delta, edited, large, package, zipped

VERSIONS = pytest.mark.parametrize("version", PACKAGES)


def at(month: int, day: int, hour: int = 0, year: int = 2024) -> datetime:
    return datetime(year, month, day, hour, tzinfo=UTC)


@VERSIONS
async def test_a_package_becomes_facts(engine: AsyncEngine, tmp_path: Path, version: str) -> None:
    """The Azores are an hour behind UTC; in summer, until the clocks go back on 27 October at their midnight, not."""
    report = await import_package(engine, package(tmp_path / "p", PACKAGES[version], version), AZORES)
    assert (report.problems, report.notes, report.class_ids) == ([], [], ["algebra", "art"])
    assert await rows(engine, "SELECT id, title, time_zone FROM school") == [("hill", "Hill School", "Atlantic/Azores")]
    assert await rows(engine, "SELECT id, school_id FROM person ORDER BY id") == [
        (person, "hill") for person in ("ann", "ben", "tom")
    ]
    assert await rows(engine, "SELECT id, title, status, begins, ends, weighted FROM class ORDER BY id") == [
        ("algebra", "Algebra", "ACTIVE", at(9, 2), at(6, 28, year=2025), version == "1.2"),
        ("art", "Art", "ACTIVE", at(9, 2), at(12, 21, 1), False),
    ]
    assert await rows(engine, "SELECT class_id, id, person_id, role, begins, ends FROM enrollment ORDER BY id") == [
        ("algebra", "e1", "ann", "STUDENT", None, None),
        ("algebra", "e2", "ben", "STUDENT", at(9, 9), at(6, 1, year=2025)),
        ("algebra", "e3", "tom", "TEACHER", None, None),
        ("art", "e4", "ann", "STUDENT", None, None),
    ]
    assert await rows(engine, "SELECT class_id, id, title, weight FROM category ORDER BY 1, 2") == [
        ("algebra", "tests", "Tests", Decimal(40 if version == "1.2" else 0)),
        ("algebra", "work", "Work", 0),
        ("art", "work", "Work", 0),
    ]


@VERSIONS
async def test_line_items_and_results_become_activities_and_grades(
    engine: AsyncEngine, tmp_path: Path, version: str
) -> None:
    await import_package(engine, package(tmp_path / "p", PACKAGES[version], version), AZORES)
    columns = "id, category_id, max_points, published_at, due_at, expects_submission, counts_toward_grade, deleted_at"
    assert await rows(engine, f"SELECT {columns} FROM activity ORDER BY id") == [
        ("essay", "work", 20, at(9, 16), at(10, 27), False, True, None),
        ("quiz", "tests", 10, at(9, 10), at(9, 21), False, True, None),
        ("vase", "work", 100, at(9, 16), at(9, 28), False, True, None),
    ]
    columns = "activity_id, student_id, attempt, submitted_at, score, graded_at, feedback"
    assert await rows(engine, f"SELECT {columns} FROM submission ORDER BY 1 DESC, 2") == [
        ("quiz", "ann", 1, None, Decimal("7.5"), at(9, 20), "Well done"),
        ("quiz", "ben", 1, at(9, 19), None, None, None),
        ("essay", "ben", 1, None, None, None, None),
    ]
    assert await rows(engine, "SELECT activity_id, student_id, excused FROM excusal") == [("essay", "ben", True)]


@VERSIONS
async def test_numbers_are_stored_with_the_facts_they_follow_from(
    engine: AsyncEngine, tmp_path: Path, version: str
) -> None:
    await import_package(engine, package(tmp_path / "p", PACKAGES[version], version), AZORES)
    found = await rows(engine, "SELECT class_id, version, average_grade, activities_created FROM class_performance")
    assert sorted(found) == [("algebra", 1, 75.0, 2), ("art", 1, None, 1)]


@VERSIONS
async def test_a_second_run_changes_nothing(engine: AsyncEngine, tmp_path: Path, version: str) -> None:
    path = package(tmp_path / "p", PACKAGES[version], version)
    await import_package(engine, path, AZORES)
    before = await dump(engine)
    report = await import_package(engine, path, Options())
    assert await dump(engine) == before
    assert report.class_ids == []
    assert {tally.stored for tally in report.files.values()} == {0}
    assert report.files["enrollments.csv"] == Tally(0, 4)


async def test_a_newer_export_of_the_same_is_no_change(engine: AsyncEngine, tmp_path: Path) -> None:
    """It is stored, so that nothing older undoes it, but nothing is calculated and nothing is reported."""
    path = package(tmp_path / "p", FIRST)
    await import_package(engine, path, AZORES)
    newer = replace(AZORES, recorded_at=at(10, 2))
    report = await import_package(engine, path, newer)
    assert (report.class_ids, {tally.stored for tally in report.files.values()}) == ([], {0})
    assert await rows(engine, "SELECT DISTINCT recorded_at FROM enrollment") == [(at(10, 2),)]
    assert await rows(engine, "SELECT DISTINCT version FROM class_performance") == [(1,)]


@VERSIONS
async def test_a_dry_run_reports_what_the_run_does_and_leaves_nothing(
    engine: AsyncEngine, tmp_path: Path, version: str
) -> None:
    path = package(tmp_path / "p", PACKAGES[version], version)
    rehearsal = await import_package(engine, path, replace(AZORES, dry_run=True))
    assert not any((await dump(engine)).values())
    assert await rows(engine, "SELECT count(*) FROM class_performance") == [(0,)]
    report = await import_package(engine, path, AZORES)
    assert (rehearsal.files, rehearsal.class_ids, rehearsal.notes) == (report.files, report.class_ids, report.notes)
    assert report.files["classes.csv"] == Tally(stored=2, new=2)
    assert report.files["results.csv (grades)"].stored == 2


async def test_two_imports_at_once_are_one(engine: AsyncEngine, tmp_path: Path) -> None:
    path = package(tmp_path / "p", FIRST)
    reports = await asyncio.gather(*(import_package(engine, path, AZORES) for _ in range(3)))
    assert all(report.is_stored for report in reports)
    again = await import_package(engine, path, AZORES)
    assert {tally.stored for tally in again.files.values()} == {0}


async def test_a_zip_in_a_folder_of_its_own_with_other_capitals_is_the_same(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    """As spreadsheets and other systems leave it: byte order marks, CRLF, a system's own files beside it."""
    path = package(tmp_path / "p", FIRST)
    for file in path.iterdir():
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    (path / "lineItems.csv").rename(path / "LINEITEMS.CSV")
    archive = zipped(path, "Export 2024/")
    with ZipFile(archive, "a") as file_:
        file_.writestr("__MACOSX/Export 2024/._users.csv", b"\0\1")
        file_.writestr("Export 2024/README.txt", "Hello")
    report = await import_package(engine, archive, AZORES)
    assert report.problems == []
    assert (report.files["LINEITEMS.CSV"].stored, report.files["users.csv"].stored) == (3, 3)


async def test_the_time_of_an_archive_is_that_of_its_files_whenever_it_was_copied(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    archive = zipped(package(tmp_path / "p", FIRST))
    await import_package(engine, archive, AZORES)
    assert await rows(engine, "SELECT DISTINCT recorded_at FROM activity") == [(EXPORTED,)]
    undated = zipped(package(tmp_path / "q", FIRST), at=datetime(1980, 1, 1, tzinfo=UTC))
    await import_package(engine, undated, AZORES)
    ((recorded_at,),) = await rows(engine, "SELECT DISTINCT recorded_at FROM activity")
    assert (datetime.now(UTC) - recorded_at).total_seconds() < 600


@VERSIONS
async def test_no_name_of_a_person_is_kept(engine: AsyncEngine, tmp_path: Path, version: str) -> None:
    report = await import_package(engine, package(tmp_path / "p", PACKAGES[version], version), AZORES)
    stored = str(await dump(engine)) + str(report)
    assert re.findall(r"Given-Name|Family-Name", PACKAGES[version]["users"])
    assert re.findall(r"Given-Name|Family-Name", stored) == []


async def test_a_package_may_hold_rosters_alone(engine: AsyncEngine, tmp_path: Path) -> None:
    rosters = {name: FIRST[name] for name in ("orgs", "academicSessions", "classes", "users", "enrollments")}
    report = await import_package(engine, package(tmp_path / "p", rosters), AZORES)
    assert report.class_ids == ["algebra", "art"]
    assert await rows(engine, "SELECT count(*) FROM activity") == [(0,)]


async def test_the_policy_of_new_schools_is_given_and_that_of_others_stays(engine: AsyncEngine, tmp_path: Path) -> None:
    strict = replace(AZORES, new_schools=NewSchools("Europe/Paris", Decimal("62.5"), 24, 7, 10, False))
    await import_package(engine, package(tmp_path / "p", FIRST), strict)
    policy = "time_zone, pass_mark, feedback_hours, active_days, improvement_days, excused_counts"
    expected = [("Europe/Paris", Decimal("62.5"), 24, 7, 10, False)]
    assert await rows(engine, f"SELECT {policy} FROM school") == expected
    renamed = package(tmp_path / "p", edited(FIRST, "orgs", "Hill School", "Hill High"))
    await import_package(engine, renamed, replace(AZORES, recorded_at=at(10, 2)))
    assert await rows(engine, f"SELECT title, {policy} FROM school") == [("Hill High", *expected[0])]


@pytest.mark.parametrize(
    ("schools", "told"),
    [
        (NewSchools("Mars/Olympus"), "--time-zone: must be an IANA time zone"),
        (NewSchools("UTC", active_days=0), "--active-days: Input should be greater than or equal to 1"),
        (NewSchools("UTC", Decimal("nan")), "--pass-mark: "),
    ],
)
async def test_a_policy_that_cannot_be_is_bad_input(
    engine: AsyncEngine, tmp_path: Path, schools: NewSchools, told: str
) -> None:
    with pytest.raises(BadInput, match=told):
        await import_package(engine, package(tmp_path / "p", FIRST), Options(schools))


async def test_what_a_package_cannot_say_stays_unless_the_command_says_it(engine: AsyncEngine, tmp_path: Path) -> None:
    path = package(tmp_path / "p", FIRST)
    await import_package(engine, path, replace(AZORES, expects_submission=True))
    expects = "SELECT DISTINCT expects_submission FROM activity"
    assert await rows(engine, expects) == [(True,)]
    await import_package(engine, path, replace(AZORES, recorded_at=at(10, 2)))
    assert await rows(engine, expects) == [(True,)]
    await import_package(engine, path, replace(AZORES, recorded_at=at(10, 3), expects_submission=False))
    assert await rows(engine, expects) == [(False,)]


async def test_results_may_leave_submissions_to_others(engine: AsyncEngine, tmp_path: Path) -> None:
    await import_package(engine, package(tmp_path / "p", FIRST), replace(AZORES, grades_only=True))
    assert await rows(engine, "SELECT count(*) FROM submission WHERE submitted_at IS NOT NULL") == [(0,)]
    assert await rows(engine, "SELECT count(*) FROM submission WHERE score IS NOT NULL") == [(1,)]


@pytest.mark.parametrize(
    ("status", "submitted", "score", "graded", "excused"),
    [
        ("Fully Graded", False, Decimal(5), True, False),
        ("partially graded", True, None, False, False),
        ("SUBMITTED", True, None, False, False),
        ("not submitted", False, None, False, False),
        ("exempt", False, Decimal(5), True, True),
    ],
)
async def test_what_each_status_of_a_result_means(
    engine: AsyncEngine, tmp_path: Path, status: str, submitted: bool, score: Decimal, graded: bool, excused: bool
) -> None:
    """Over facts that say the contrary, in so far as the status says something of it."""
    first = edited(FIRST, "results", "r2,,,quiz,ben,submitted,,", "r2,,,quiz,ben,submitted,,")
    await import_package(engine, package(tmp_path / "p", first), AZORES)
    path = package(tmp_path / "p", edited(FIRST, "results", "ben,submitted,", f"ben,{status},5"))
    await import_package(engine, path, replace(AZORES, recorded_at=at(10, 2)))
    statement = (
        "SELECT submitted_at, score, graded_at FROM submission WHERE activity_id = 'quiz' AND student_id = 'ben'"
    )
    day, kept = at(9, 19), status in ("Fully Graded", "exempt")
    assert await rows(engine, statement) == [(day if submitted or kept else None, score, day if graded else None)]
    assert await rows(engine, "SELECT count(*) FROM excusal WHERE activity_id = 'quiz'") == [(int(excused),)]


async def test_a_blank_score_is_not_a_zero(engine: AsyncEngine, tmp_path: Path) -> None:
    files = edited(FIRST, "results", "ann,fully graded,7.5", "ann,fully graded,")
    await import_package(engine, package(tmp_path / "p", files), AZORES)
    statement = "SELECT score, graded_at FROM submission WHERE student_id = 'ann'"
    assert await rows(engine, statement) == [(None, at(9, 20))]


async def test_weights_that_the_package_does_not_tell_stay(engine: AsyncEngine, tmp_path: Path) -> None:
    await import_package(engine, package(tmp_path / "p", SECOND, "1.2"), AZORES)
    await import_package(engine, package(tmp_path / "p", FIRST), replace(AZORES, recorded_at=at(10, 2)))
    assert await rows(engine, "SELECT weight FROM category WHERE id = 'tests'") == [(40,)]
    assert await rows(engine, "SELECT weighted FROM class WHERE id = 'algebra'") == [(True,)]


async def test_a_class_is_weighted_while_a_category_in_use_has_a_weight(engine: AsyncEngine, tmp_path: Path) -> None:
    await import_package(engine, package(tmp_path / "p", SECOND, "1.2"), AZORES)
    weighted = "SELECT id, weighted FROM class ORDER BY id"
    changed = delta(categories="").pop("categories").replace("\n", ",weight\n")
    for hour, weights, expected in ((3, (0, 5), (True, True)), (4, (0, 0), (False, False)), (5, (1, 0), (True, False))):
        lines = (
            f"{name},active,2024-10-02T0{hour}:00:00Z,{name},{weight}\n"
            for name, weight in zip(("tests", "work"), weights, strict=True)
        )
        path = package(tmp_path / "d", {"categories": changed + "".join(lines)}, "1.2", categories="delta")
        report = await import_package(engine, path, Options())
        assert report.problems == []
        assert await rows(engine, weighted) == [("algebra", expected[0]), ("art", expected[1])]


async def test_a_person_without_a_school_has_that_of_their_class(engine: AsyncEngine, tmp_path: Path) -> None:
    files = edited(FIRST, "users", 'ann,,,true,"district,hill"', "ann,,,true,district")
    files = edited(files, "users", "tom,,,true,hill,teacher", "tom,,,true,district,parent")
    await import_package(engine, package(tmp_path / "p", files), AZORES)
    assert await rows(engine, "SELECT id, school_id FROM person ORDER BY id") == [
        ("ann", "hill"),
        ("ben", "hill"),
        ("tom", "hill"),
    ]


PROGRAM = """
import asyncio, sys, time
from pathlib import Path
from app.database import create_engine
from app.importers.oneroster.delivery import import_package
from app.importers.oneroster.options import NewSchools, Options
from app.settings import Settings

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])

async def run(url, path, act):
    engine = create_engine(Settings(environment="development", database_url=url))
    report = await import_package(engine, path, Options(NewSchools(time_zone="UTC")), progress=act)
    await engine.dispose()
    return report

early = []
def watch(file, rows):
    if (file, rows) == ("results.csv", 10_000):
        early.append(peak())

def hang(file, rows):
    if file == sys.argv[3]:
        print("there", flush=True)
        time.sleep(600)

if len(sys.argv) > 3:
    asyncio.run(run(sys.argv[1], Path(sys.argv[2]), hang))
else:
    report = asyncio.run(run(sys.argv[1], Path(sys.argv[2]), watch))
    print(report.problem_count, report.files["results.csv (grades)"].stored, peak() - early[0])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peaks of memory are read from /proc")
def test_memory_does_not_grow_with_the_package(database_url: str, tmp_path: Path) -> None:
    """In a process of its own: 55,000 rows take no more than a few megabytes beyond the first 10,000 results."""
    archive = zipped(package(tmp_path / "p", large(classes=150)))
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, database_url, archive], capture_output=True, text=True, check=True, timeout=300
    )
    problems, stored, kilobytes = map(int, run.stdout.split())
    assert (problems, stored) == (0, 45_000)
    assert kilobytes < 10_000


@pytest.mark.parametrize("file", ["results.csv", "Calculating"])
async def test_an_import_killed_in_the_middle_leaves_nothing(
    engine: AsyncEngine, database_url: str, tmp_path: Path, file: str
) -> None:
    path = package(tmp_path / "p", FIRST)
    arguments = (sys.executable, "-c", PROGRAM, database_url, str(path), file)
    process = await asyncio.create_subprocess_exec(*arguments, stdout=subprocess.PIPE)
    assert process.stdout
    assert await process.stdout.readline() == b"there\n"
    process.kill()
    await process.wait()
    report = await import_package(engine, path, replace(AZORES, dry_run=True))
    assert report.files["results.csv (grades)"].new == 2
    assert not any((await dump(engine)).values())
