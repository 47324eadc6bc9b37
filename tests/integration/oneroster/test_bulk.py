"""What a bulk file leaves out is gone, but nothing is erased, and not without a look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database import transaction
from app.gradebook import KINDS, record
from app.importers.oneroster.delivery import import_package
from app.importers.oneroster.options import Options
from app.importers.report import Report
from tests.csv_folder import dump, rows
from tests.oneroster import AZORES, FIRST, edited, large, package

NEXT_DAY = datetime(2024, 10, 2, 2, tzinfo=UTC)
DAY_AFTER = datetime(2024, 10, 3, 2, tzinfo=UTC)
ANY = replace(AZORES, most_removed=100.0)


@pytest.fixture
async def stored(engine: AsyncEngine, tmp_path: Path) -> AsyncEngine:
    await import_package(engine, package(tmp_path / "p", FIRST), AZORES)
    return engine


async def send(
    engine: AsyncEngine,
    tmp_path: Path,
    files: Mapping[str, str],
    at: datetime = NEXT_DAY,
    options: Options = ANY,
    **modes: str,
) -> Report:
    return await import_package(engine, package(tmp_path / "p", files, **modes), replace(options, recorded_at=at))


def without(name: str, *starts: str, files: Mapping[str, str] = FIRST) -> dict[str, str]:
    lines = [line for line in files[name].splitlines(keepends=True) if not line.startswith(starts)]
    assert len(lines) == files[name].count("\n") - len(starts)
    return {**files, name: "".join(lines)}


async def test_an_enrollment_that_is_absent_ends(stored: AsyncEngine, tmp_path: Path) -> None:
    report = await send(stored, tmp_path, without("enrollments", "e2"))
    assert await rows(stored, "SELECT id, ends FROM enrollment WHERE class_id = 'algebra' ORDER BY id") == [
        ("e1", None),
        ("e2", NEXT_DAY),
        ("e3", None),
    ]
    assert (report.files["enrollments.csv"].removed, report.class_ids) == (1, ["algebra"])


async def test_what_is_to_be_deleted_in_bulk_is_as_good_as_absent(stored: AsyncEngine, tmp_path: Path) -> None:
    report = await send(stored, tmp_path, edited(FIRST, "enrollments", "e2,,", "e2,tobedeleted,2024-09-01T00:00:00Z"))
    assert await rows(stored, "SELECT ends FROM enrollment WHERE id = 'e2'") == [(NEXT_DAY,)]
    assert report.files["enrollments.csv"].removed == 1


async def test_what_is_gone_is_gone_once(stored: AsyncEngine, tmp_path: Path) -> None:
    files = without("lineItems", "vase", files=without("enrollments", "e2"))
    await send(stored, tmp_path, files)
    before = await dump(stored)
    report = await send(stored, tmp_path, files)
    assert await dump(stored) == before
    report = await send(stored, tmp_path, files, DAY_AFTER, AZORES)
    assert (report.problems, report.class_ids) == ([], [])
    assert await rows(stored, "SELECT ends FROM enrollment WHERE id = 'e2'") == [(NEXT_DAY,)]
    assert await rows(stored, "SELECT deleted_at FROM activity WHERE id = 'vase'") == [(NEXT_DAY,)]


async def test_an_enrollment_of_days_to_come_that_is_absent_never_was(stored: AsyncEngine, tmp_path: Path) -> None:
    await send(stored, tmp_path, edited(FIRST, "enrollments", "2024-09-09", "2025-01-06"))
    await send(stored, tmp_path, without("enrollments", "e2"), DAY_AFTER)
    assert await rows(stored, "SELECT begins = ends FROM enrollment WHERE id = 'e2'") == [(True,)]


async def test_who_is_no_member_any_more_but_an_aide_is_enrolled_no_more(stored: AsyncEngine, tmp_path: Path) -> None:
    await send(stored, tmp_path, edited(FIRST, "enrollments", "tom,teacher", "tom,aide"))
    assert await rows(stored, "SELECT ends FROM enrollment WHERE id = 'e3'") == [(NEXT_DAY,)]


async def test_a_class_that_is_absent_is_archived_and_keeps_its_students_and_work(
    stored: AsyncEngine, tmp_path: Path
) -> None:
    files = without("lineItems", "quiz", "essay", files=without("results", "r1", "r2", "r3"))
    files = without("classes", "algebra", files=without("enrollments", "e1", "e2", "e3", files=files))
    before = await rows(stored, "SELECT average_grade FROM class_performance WHERE class_id = 'algebra'")
    report = await send(stored, tmp_path, files)
    assert await rows(stored, "SELECT status FROM class ORDER BY id") == [("ARCHIVED",), ("ACTIVE",)]
    assert await rows(stored, "SELECT count(*) FROM enrollment WHERE class_id = 'algebra' AND ends = begins") == [(0,)]
    assert await rows(stored, f"SELECT count(*) FROM enrollment WHERE ends = '{NEXT_DAY}'") == [(0,)]
    assert await rows(stored, "SELECT count(*) FROM activity WHERE deleted_at IS NOT NULL") == [(0,)]
    assert await rows(stored, "SELECT count(*) FROM submission WHERE score IS NOT NULL") == [(1,)]
    assert await rows(stored, "SELECT average_grade FROM class_performance WHERE class_id = 'algebra'") == before
    assert {name: tally.removed for name, tally in report.files.items() if tally.removed} == {"classes.csv": 1}


async def test_a_line_item_that_is_absent_is_deleted(stored: AsyncEngine, tmp_path: Path) -> None:
    await send(stored, tmp_path, without("lineItems", "essay", files=without("results", "r3")))
    assert await rows(stored, "SELECT deleted_at FROM activity WHERE id = 'essay'") == [(NEXT_DAY,)]
    assert await rows(stored, "SELECT activities_created FROM class_performance WHERE class_id = 'algebra'") == [(1,)]


async def test_a_result_that_is_absent_is_taken_back(stored: AsyncEngine, tmp_path: Path) -> None:
    await send(stored, tmp_path, without("results", "r1", "r2", "r3"))
    """But not what was handed in, which others tell, too."""
    assert await rows(stored, "SELECT DISTINCT score, graded_at, feedback FROM submission") == [(None, None, None)]
    assert await rows(stored, "SELECT count(*) FROM submission WHERE submitted_at IS NOT NULL") == [(1,)]
    assert await rows(stored, "SELECT excused FROM excusal") == [(False,)]


async def test_what_comes_back_is_there_again(stored: AsyncEngine, tmp_path: Path) -> None:
    before = await rows(stored, "SELECT status FROM class")
    gone = without("classes", "art", files=without("enrollments", "e2", "e4", "e5"))
    gone = without("lineItems", "essay", "vase", files=without("results", "r1", "r2", "r3", files=gone))
    await send(stored, tmp_path, gone)
    await send(stored, tmp_path, FIRST, DAY_AFTER)
    assert await rows(stored, "SELECT status FROM class") == before
    assert await rows(stored, "SELECT count(*) FROM activity WHERE deleted_at IS NULL") == [(3,)]
    assert await rows(stored, f"SELECT count(*) FROM enrollment WHERE ends < '{DAY_AFTER}'") == [(0,)]
    assert await rows(stored, "SELECT count(*) FROM submission WHERE score = 7.5") == [(1,)]
    assert await rows(stored, "SELECT excused FROM excusal") == [(True,)]


async def test_submissions_that_others_told_stay(stored: AsyncEngine, tmp_path: Path) -> None:
    """A system that knows of no result yet does not know of what was handed in either."""
    handed_in = datetime(2024, 9, 30, 9, tzinfo=UTC)
    key = {"class_id": "algebra", "activity_id": "essay", "student_id": "ann"}
    async with transaction(stored) as connection:
        fact = KINDS["submissions"].model_validate({**key, "submitted_at": handed_in, "recorded_at": handed_in})
        await record(connection, "submissions", [fact])
    await send(stored, tmp_path, FIRST)
    statement = "SELECT submitted_at FROM submission WHERE activity_id = 'essay' AND student_id = 'ann'"
    assert await rows(stored, statement) == [(handed_in,)]


async def test_what_was_recorded_after_the_export_stays(stored: AsyncEngine, tmp_path: Path) -> None:
    fact = {"class_id": "algebra", "id": "late", "title": "", "max_points": 5, "recorded_at": DAY_AFTER}
    async with transaction(stored) as connection:
        await record(connection, "activities", [KINDS["activities"].model_validate(fact)])
    report = await send(stored, tmp_path, FIRST, options=replace(ANY, most_removed=0.0))
    assert report.problems == []
    assert await rows(stored, "SELECT deleted_at FROM activity WHERE id = 'late'") == [(None,)]


async def test_other_schools_are_left_alone(stored: AsyncEngine, tmp_path: Path) -> None:
    other = {name: content.replace("hill", "dale") for name, content in FIRST.items()}
    other = {
        name: content.replace("algebra", "latin").replace("art,", "greek,").replace("quiz", "q").replace("essay", "s")
        for name, content in other.items()
    }
    before = await dump(stored)
    report = await send(stored, tmp_path, other)
    assert report.problems == []
    after = await dump(stored)
    for table in ("class", "enrollment", "activity", "submission"):
        assert set(before[table]) < set(after[table])


@pytest.mark.parametrize("name", ["enrollments", "lineItems", "results"])
async def test_a_file_alone_speaks_of_the_classes_that_are_stored(
    stored: AsyncEngine, tmp_path: Path, name: str
) -> None:
    files = {name: FIRST[name]}
    report = await send(stored, tmp_path, files, options=AZORES)
    assert (report.problems, report.class_ids) == ([], [])
    first = {"enrollments": "e1", "lineItems": "essay", "results": "r1"}[name]
    shorter = {name: without(name, first)[name]}
    report = await send(stored, tmp_path, shorter, DAY_AFTER)
    assert sum(tally.removed for tally in report.files.values()) == 1


@pytest.mark.parametrize(
    ("name", "thing", "held", "file"),
    [
        ("classes", "classes", 40, "classes.csv"),
        ("enrollments", "enrollments", 160, "enrollments.csv"),
        ("lineItems", "line items", 80, "lineItems.csv"),
        ("results", "results", 320, "results.csv"),
    ],
)
async def test_a_truncated_export_is_refused_unless_forced(
    engine: AsyncEngine, tmp_path: Path, name: str, thing: str, held: int, file: str
) -> None:
    whole = large(classes=40, students=4, items=2)
    assert (await import_package(engine, package(tmp_path / "p", whole), AZORES)).problems == []
    lines = whole[name].splitlines(keepends=True)
    rest = held * 3 // 4
    files = {**whole, name: "".join(lines[: rest + 1])}
    if name == "lineItems":
        kept = {line.split(",")[0] for line in lines[: rest + 1]}
        results = whole["results"].splitlines(keepends=True)
        files["results"] = "".join(line for line in results if line.split(",")[3] in kept | {"lineItemSourcedId"})
    before = await dump(engine)
    report = await send(engine, tmp_path, files, options=AZORES)
    assert await dump(engine) == before
    assert [f"{problem.code} {problem}" for problem in report.problems] == [
        f"TOO_MANY_REMOVED {file}: {held - rest:,} of the {held:,} {thing} stored are not in it (25.0 %), more than "
        "10 %. Is the export whole? If they are gone indeed, give --most-removed 25."
    ]
    assert (await send(engine, tmp_path, files, options=replace(AZORES, most_removed=25.0))).is_stored


async def test_an_export_cut_in_the_middle_of_a_row_is_refused(stored: AsyncEngine, tmp_path: Path) -> None:
    content = FIRST["results"].rsplit(",", 4)[0]
    report = await send(stored, tmp_path, {**FIRST, "results": content})
    assert [(problem.code, problem.line) for problem in report.problems] == [("ROW_LENGTH", 4)]
    assert not report.is_stored


async def test_an_empty_export_empties_no_school(stored: AsyncEngine, tmp_path: Path) -> None:
    headers = {name: content.splitlines()[0] + "\n" for name, content in FIRST.items()}
    files = {**headers, "orgs": FIRST["orgs"]}
    report = await send(stored, tmp_path, files, options=AZORES)
    assert [problem.code for problem in report.problems] == ["TOO_MANY_REMOVED"]
    assert not report.is_stored


async def test_classes_that_are_over_may_leave_the_export_unnoticed(stored: AsyncEngine, tmp_path: Path) -> None:
    after_the_year = datetime(2025, 8, 1, tzinfo=UTC)
    headers = {name: content.splitlines()[0] + "\n" for name, content in FIRST.items()}
    report = await send(
        stored, tmp_path, {**headers, "orgs": FIRST["orgs"]}, after_the_year, replace(AZORES, most_removed=0.0)
    )
    assert report.problems == []
    assert await rows(stored, "SELECT DISTINCT status FROM class") == [("ARCHIVED",)]


async def test_what_is_absent_is_kept_if_so_told(stored: AsyncEngine, tmp_path: Path) -> None:
    files = without("enrollments", "e2", files=without("lineItems", "vase"))
    report = await send(stored, tmp_path, files, options=replace(AZORES, keep_missing=True))
    assert (report.problems, report.class_ids) == ([], [])


async def test_a_dry_run_tells_what_would_be_gone(stored: AsyncEngine, tmp_path: Path) -> None:
    before = await dump(stored)
    files = without("enrollments", "e2")
    rehearsal = await send(stored, tmp_path, files, options=replace(ANY, dry_run=True))
    assert await dump(stored) == before
    report = await send(stored, tmp_path, files)
    assert (rehearsal.files, rehearsal.class_ids) == (report.files, report.class_ids)
    assert rehearsal.files["enrollments.csv"].removed == 1
