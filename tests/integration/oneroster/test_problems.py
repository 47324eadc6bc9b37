"""What is told of packages in which something is wrong: the file, the line, the column, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from app.errors import BadInput
from app.importers.oneroster.delivery import import_package
from app.importers.oneroster.options import Options
from tests.csv_folder import dump, rows
from tests.oneroster import AZORES, FIRST, PACKAGES, delta, edited, package

SKIPPING = replace(AZORES, skip_bad_rows=True)
ADD = "Add it, or correct this."


async def problems(
    engine: AsyncEngine,
    tmp_path: Path,
    files: Mapping[str, str],
    version: str = "1.1",
    options: Options = AZORES,
    **modes: str,
) -> list[str]:
    """What is wrong with a package; in which case nothing is stored."""
    before = await dump(engine)
    report = await import_package(engine, package(tmp_path / "p", files, version, **modes), options)
    assert await dump(engine) == before
    assert report.class_ids == []
    return [f"{problem.code} {problem}" for problem in report.problems]


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        (
            "orgs",
            "Hill School,school",
            "Hill School,skool",
            "CELL_INVALID orgs.csv:3: type: Must be one of school, dep",
        ),
        (
            "academicSessions",
            "2024-12-21",
            "12/21/2024",
            "CELL_INVALID academicSessions.csv:2: endDate: Expected a date, such as 2024-09-02; found '12/21/2024'.",
        ),
        (
            "academicSessions",
            "2024-12-21",
            "2024-08-21",
            "CELL_INVALID academicSessions.csv:2: endDate: Must not be be",
        ),
        ("academicSessions", "2024-12-21", "2201-08-21", "CELL_INVALID academicSessions.csv:2: endDate: Must lie in"),
        (
            "classes",
            ",scheduled,,hill",
            ",scheduled,,",
            "CELL_INVALID classes.csv:3: schoolSourcedId: This is required.",
        ),
        (
            "classes",
            ",scheduled,,hill",
            ",scheduled,,dale",
            f"SCHOOL_NOT_FOUND classes.csv:3: schoolSourcedId: There is no school 'dale', "
            f"neither in orgs.csv nor stored. {ADD}",
        ),
        (
            "classes",
            ",scheduled,,hill",
            ",scheduled,,district",
            "SCHOOL_NOT_FOUND classes.csv:3: schoolSourcedId: There is no school 'district', ",
        ),
        (
            "classes",
            '"autumn, spring"',
            '"autumn, summer"',
            "ACADEMIC_SESSION_NOT_FOUND classes.csv:2: termSourcedIds: There is no academic session 'summer', ",
        ),
        (
            "users",
            "ben,,,true,hill",
            "ben,,,true,dale",
            "ORG_NOT_FOUND users.csv:3: orgSourcedIds: There is no org 'dale'",
        ),
        ("users", "hill,teacher", "hill,tutor", "CELL_INVALID users.csv:4: role: Must be one of student, teacher, "),
        (
            "enrollments",
            "algebra,hill,tom",
            "algebra,hill,tim",
            f"USER_NOT_FOUND enrollments.csv:4: userSourcedId: There is no user 'tim', "
            f"neither in users.csv nor stored. {ADD}",
        ),
        (
            "enrollments",
            "algebra,hill,tom",
            "algebr,hill,tom",
            "CLASS_NOT_FOUND enrollments.csv:4: classSourcedId: There is no class 'algebr'",
        ),
        (
            "enrollments",
            "2024-09-09",
            "9.9.2024",
            "CELL_INVALID enrollments.csv:3: beginDate: Expected a date, such as ",
        ),
        (
            "enrollments",
            "e4,,,art",
            "e4,,,art,",
            "ROW_LENGTH enrollments.csv:5: Expected 10 cells, as in the header; f",
        ),
        (
            "enrollments",
            "e4,,,art,hill",
            "e4,,,art",
            "ROW_LENGTH enrollments.csv:5: Expected 10 cells, as in the header",
        ),
        (
            "lineItems",
            "art,work,autumn",
            "art,play,autumn",
            "CATEGORY_NOT_FOUND lineItems.csv:4: categorySourcedId: There is no category 'play'",
        ),
        (
            "lineItems",
            "autumn,0,20",
            "autumn,0,many",
            "CELL_INVALID lineItems.csv:3: resultValueMax: Expected a number",
        ),
        (
            "lineItems",
            "autumn,0,20",
            "autumn,0,-1",
            "CELL_INVALID lineItems.csv:3: resultValueMax: Must be greater than",
        ),
        (
            "results",
            "essay,ben",
            "poem,ben",
            "LINE_ITEM_NOT_FOUND results.csv:4: lineItemSourcedId: There is no line item 'poem'",
        ),
        ("results", "essay,ben", "essay,bob", "USER_NOT_FOUND results.csv:4: studentSourcedId: There is no user 'bob'"),
        (
            "results",
            "fully graded",
            "graded",
            "CELL_INVALID results.csv:2: scoreStatus: Expected one of exempt, fully graded, not submitted, partially",
        ),
        (
            "results",
            "7.5,2024",
            "A-,2024",
            "CELL_INVALID results.csv:2: score: Expected a number, such as 7.5; found 'A-'",
        ),
        ("results", "r3,,,", ",,,", "CELL_INVALID results.csv:4: sourcedId: This is required."),
        (
            "results",
            "Well done\n",
            "Well done\nr1,,,essay,ann,fully graded,5,2024-09-20,\n",
            "RECORD_REPEATED results.csv:3: sourcedId: A row above has the sourcedId 'r1', too, and ",
        ),
        (
            "results",
            "Well done",
            "Well \0 done",
            "CELL_INVALID results.csv:2: comment: Must not contain a NUL character",
        ),
        (
            "categories",
            "title",
            "Title",
            "COLUMN_UNKNOWN categories.csv:1: Title: This is not a column of the standard; ",
        ),
        (
            "enrollments",
            "endDate",
            "enddate",
            "COLUMN_UNKNOWN enrollments.csv:1: enddate: This is not a column of the st",
        ),
        (
            "users",
            "orgSourcedIds",
            "organisation",
            "COLUMN_MISSING users.csv:1: orgSourcedIds: This column is required.",
        ),
        ("users", "enabledUser", "role", "COLUMN_REPEATED users.csv:1: role: This column stands in the header twice."),
        (
            "results",
            FIRST["results"],
            "",
            "FILE_NOT_CSV results.csv:1: The file is empty; the first line names the colu",
        ),
        ("results", "Well done", '"Well done', "FILE_NOT_CSV results.csv:2: This cannot be read from here on: "),
    ],
)
async def test_a_problem_is_named_where_it_is_and_nothing_is_stored(
    engine: AsyncEngine, tmp_path: Path, name: str, old: str, new: str, expected: str
) -> None:
    found = await problems(engine, tmp_path, edited(FIRST, name, old, new))
    found = [problem for problem in found if "COLUMN_MISSING" not in problem or "COLUMN_MISSING" in expected]
    assert len(found) == 1, found
    assert found[0].startswith(expected), found


async def test_a_row_twice_that_says_the_same_is_no_problem(engine: AsyncEngine, tmp_path: Path) -> None:
    files = edited(FIRST, "enrollments", "e1,,,algebra,hill,ann,student,,,\n", "e1,,,algebra,hill,ann,student,,,\n" * 3)
    report = await import_package(engine, package(tmp_path / "p", files), AZORES)
    assert (report.problems, report.files["enrollments.csv"].new) == ([], 4)


async def test_all_problems_of_all_files_are_reported_at_once(engine: AsyncEngine, tmp_path: Path) -> None:
    files = edited(FIRST, "classes", ",scheduled,,hill,autumn", ",scheduled,,dale,winter")
    files = edited(files, "enrollments", "algebra,hill,ben", "history,hill,bob")
    files = edited(files, "results", "fully graded,7.5", "graded,A")
    found = await problems(engine, tmp_path, files)
    assert [problem.split()[1:3] for problem in found] == [
        ["classes.csv:3:", "schoolSourcedId:"],
        ["classes.csv:3:", "termSourcedIds:"],
        ["enrollments.csv:3:", "classSourcedId:"],
        ["enrollments.csv:3:", "userSourcedId:"],
        ["results.csv:2:", "score:"],
        ["results.csv:2:", "scoreStatus:"],
    ]


async def test_a_row_that_is_not_understood_does_not_blame_those_that_refer_to_it(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    files = edited(FIRST, "orgs", "Hill School,school", "Hill School,skool")
    files = edited(files, "users", "ben,,,true,hill", ",,,true,hill")
    found = await problems(engine, tmp_path, files)
    assert [problem.split()[1] for problem in found] == ["orgs.csv:3:", "users.csv:3:"]


async def test_schools_that_are_new_need_a_time_zone(engine: AsyncEngine, tmp_path: Path) -> None:
    assert await problems(engine, tmp_path, FIRST, options=Options()) == [
        "TIME_ZONE_MISSING orgs.csv:3: sourcedId: School 'hill' is new, and the package has no time zones: give it "
        "with --time-zone."
    ]


async def test_a_class_stays_in_its_school(engine: AsyncEngine, tmp_path: Path) -> None:
    await import_package(engine, package(tmp_path / "p", FIRST), AZORES)
    files = edited(
        FIRST, "orgs", "hill,,,Hill School,school,,district\n", "hill,,,Hill School,school,,\ndale,,,D,school,,\n"
    )
    files = edited(files, "classes", ",scheduled,,hill", ",scheduled,,dale")
    assert await problems(engine, tmp_path, files) == [
        "SCHOOL_IS_FIXED classes.csv:3: schoolSourcedId: The class belongs to school 'hill', and stays there. Give it "
        "another sourcedId."
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("e9,,2024-10-02T08:00:00Z", "CELL_INVALID enrollments.csv:2: status: This is required in a delta file."),
        ("e9,active,", "CELL_INVALID enrollments.csv:2: dateLastModified: This is required."),
        ("e9,gone,2024-10-02T08:00:00Z", "CELL_INVALID enrollments.csv:2: status: Expected one of active, tobedeleted"),
        (
            "e9,active,2.10.2024",
            "CELL_INVALID enrollments.csv:2: dateLastModified: Expected an instant with its offset",
        ),
        ("e9,active,2024-10-02T08:00:00", "CELL_INVALID enrollments.csv:2: dateLastModified: Expected an instant with"),
        ("e9,active,2190-10-02T08:00:00Z", "RECORDED_IN_FUTURE enrollments.csv:2: dateLastModified: 2190-10-02 08:00"),
        ("e9,tobedeleted,", "CELL_INVALID enrollments.csv:2: dateLastModified: This is required."),
    ],
)
async def test_rows_of_a_delta_need_a_status_and_a_time(
    engine: AsyncEngine, tmp_path: Path, line: str, expected: str
) -> None:
    await import_package(engine, package(tmp_path / "p", FIRST), AZORES)
    files = delta(enrollments=f"{line},algebra,hill,ann,student,,,\n")
    (found,) = await problems(engine, tmp_path, files, enrollments="delta")
    assert found.startswith(expected)


async def test_a_delta_without_its_columns_is_a_problem(engine: AsyncEngine, tmp_path: Path) -> None:
    files = {"categories": "sourcedId,title\ntests,Tests\n"}
    assert [problem.split(":")[2] for problem in await problems(engine, tmp_path, files, categories="delta")] == [
        " status",
        " dateLastModified",
    ]


async def test_columns_that_are_not_read_may_be_anything(engine: AsyncEngine, tmp_path: Path) -> None:
    files = edited(FIRST, "users", "enabledUser", "metadata.role")
    files = edited(files, "users", "givenName", "shoeSize")
    assert (await import_package(engine, package(tmp_path / "p", files), AZORES)).problems == []


async def test_columns_of_the_other_version_are_not_read(engine: AsyncEngine, tmp_path: Path) -> None:
    files = edited(PACKAGES["1.2"], "users", "username", "role")
    assert (await import_package(engine, package(tmp_path / "p", files, "1.2"), AZORES)).problems == []


async def test_problems_are_all_counted_and_the_first_thousand_kept(engine: AsyncEngine, tmp_path: Path) -> None:
    lines = "".join(f"x{number},,,nowhere,hill,nobody,student,,,\n" for number in range(1_500))
    files = {**FIRST, "enrollments": FIRST["enrollments"] + lines}
    report = await import_package(engine, package(tmp_path / "p", files), AZORES)
    assert (len(report.problems), report.problem_count, report.blocking) == (1_000, 3_000, 3_000)


async def test_bad_rows_are_left_out_if_so_told_and_what_refers_to_them(engine: AsyncEngine, tmp_path: Path) -> None:
    files = edited(FIRST, "classes", ",scheduled,,hill,autumn", ",scheduled,,dale,autumn")
    files = edited(files, "results", "7.5,2024", "A-,2024")
    report = await import_package(engine, package(tmp_path / "p", files), SKIPPING)
    assert report.is_stored
    assert [(problem.code, problem.file, problem.line) for problem in report.problems] == [
        ("SCHOOL_NOT_FOUND", "classes.csv", 3),
        ("CLASS_NOT_FOUND", "enrollments.csv", 5),
        ("CLASS_NOT_FOUND", "lineItems.csv", 4),
        ("CELL_INVALID", "results.csv", 2),
    ]
    assert await rows(engine, "SELECT id FROM class") == [("algebra",)]
    assert await rows(engine, "SELECT count(*) FROM enrollment") == [(3,)]
    assert await rows(engine, "SELECT count(*) FROM submission WHERE score IS NOT NULL") == [(0,)]


async def test_a_bad_row_that_is_left_out_is_not_taken_for_absent(engine: AsyncEngine, tmp_path: Path) -> None:
    await import_package(engine, package(tmp_path / "p", FIRST), AZORES)
    files = edited(FIRST, "enrollments", "2024-09-09", "9.9.2024")
    files = edited(files, "lineItems", "autumn,0,20", "autumn,0,many")
    files = edited(files, "results", "7.5,2024", "A-,2024")
    later = replace(SKIPPING, recorded_at=datetime(2024, 10, 2, tzinfo=UTC), most_removed=0.0)
    report = await import_package(engine, package(tmp_path / "p", files), later)
    assert (report.is_stored, report.class_ids) == (True, [])
    assert {tally.removed for tally in report.files.values()} == {0}


async def test_what_could_not_be_read_at_all_is_not_taken_for_absent(engine: AsyncEngine, tmp_path: Path) -> None:
    await import_package(engine, package(tmp_path / "p", FIRST), AZORES)
    files = edited(FIRST, "enrollments", "e2,,,algebra,hill,ben,Student,,2024-09-09,2025-06-01\n", "e2,,,algebra\n")
    later = replace(SKIPPING, recorded_at=datetime(2024, 10, 2, tzinfo=UTC))
    report = await import_package(engine, package(tmp_path / "p", files), later)
    assert (report.is_stored, report.class_ids) == (True, [])
    assert [str(note) for note in report.notes] == [
        "enrollments.csv: Not all of it could be read, so nothing is gone for not being in it."
    ]


@pytest.mark.parametrize("code", ["COLUMN_MISSING", "FILE_NOT_CSV"])
async def test_a_bad_file_is_not_left_out(engine: AsyncEngine, tmp_path: Path, code: str) -> None:
    content = FIRST["results"].replace("scoreStatus", "state") if code == "COLUMN_MISSING" else ""
    found = await problems(engine, tmp_path, {**FIRST, "results": content}, options=SKIPPING)
    assert code in {problem.split()[0] for problem in found}


@pytest.mark.parametrize("version", PACKAGES)
async def test_what_a_manifest_and_its_package_must_agree_on(engine: AsyncEngine, tmp_path: Path, version: str) -> None:
    path = package(tmp_path / "p", PACKAGES[version], version, results="absent")
    (path / "users.csv").unlink()
    report = await import_package(engine, path, AZORES)
    assert [str(problem) for problem in report.problems] == [
        "users.csv: manifest.csv says bulk, but the package has no such file. Add it, or say absent.",
        "results.csv: manifest.csv says that this file is absent. Say bulk or delta there, or take the file out.",
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("version,1.1", "version,1.0", "manifest.csv:3: value: OneRoster 1.1 and 1.2 are read; this is '1.0'."),
        ("oneroster.version,1.1\n", "", "manifest.csv: There is no row oneroster.version, which says 1.1 or 1.2."),
        ("users,bulk", "users,full", "manifest.csv:7: value: Expected one of absent, bulk, delta; found 'full'."),
        (
            "propertyName,value",
            "property,value",
            "manifest.csv:1: property: This is not a column that is read; did you ",
        ),
        ("users,bulk", "users", "manifest.csv:7: Expected 2 cells, as in the header; found 1."),
    ],
)
async def test_a_manifest_that_is_not_understood(
    engine: AsyncEngine, tmp_path: Path, old: str, new: str, expected: str
) -> None:
    path = package(tmp_path / "p", FIRST)
    written = (path / "manifest.csv").read_text()
    assert old in written
    (path / "manifest.csv").write_text(written.replace(old, new))
    report = await import_package(engine, path, AZORES)
    assert not report.is_stored
    assert str(report.problems[0]).startswith(expected)


async def test_a_package_without_a_manifest_is_bad_input(engine: AsyncEngine, tmp_path: Path) -> None:
    path = package(tmp_path / "p", FIRST)
    (path / "manifest.csv").unlink()
    with pytest.raises(BadInput, match=r"has no manifest\.csv, which a package begins with"):
        await import_package(engine, path, AZORES)
