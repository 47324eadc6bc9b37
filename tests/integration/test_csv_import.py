from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.errors import BadInput
from app.importers.csv_folder import FILES, import_folder
from app.importers.report import Report, Tally
from app.performance import calculate_many
from app.shelf import TABLES

MONDAY = datetime(2024, 9, 2, 8, tzinfo=UTC)
FOLDER = {
    "schools.csv": "id,title,time_zone\nschool,Our School,Atlantic/Azores\n",
    "people.csv": "id,school_id\nann,school\nben,school\ntom,school\n",
    "classes.csv": "id,school_id,title,begins,ends,weighted\nalgebra,school,Algebra,2024-09-01,2025-06-30,yes\n",
    "enrollments.csv": "class_id,id,person_id,role\n"
    "algebra,1,ann,STUDENT\nalgebra,2,ben,STUDENT\nalgebra,3,tom,TEACHER\n",
    "categories.csv": "class_id,id,title,weight\nalgebra,tests,Tests,40\n",
    "activities.csv": "class_id,id,category_id,title,max_points,due_at,published_at\n"
    "algebra,quiz,tests,Quiz,10,2024-10-26,2024-09-02T08:00:00Z\n"
    "algebra,essay,,Essay,20,,2024-09-02\n",
    "submissions.csv": "class_id,activity_id,student_id,submitted_at,score,graded_at,graded_automatically,feedback\n"
    "algebra,quiz,ann,2024-10-01T10:00:00+02:00,7.50,2024-10-02T08:00:00Z,TRUE,Well done\n"
    "algebra,quiz,ben,2024-10-01T11:00:00Z,,,,\n",
    "excusals.csv": "class_id,activity_id,student_id\nalgebra,essay,ben\n",
    "attendance.csv": "class_id,student_id,session_date,status\n"
    "algebra,ann,2024-09-02,PRESENT\nalgebra,ben,2024-09-02,LATE\n",
    "points_awards.csv": "class_id,id,student_id,points,awarded_at\nalgebra,p1,ann,5,2024-09-03T08:00:00Z\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FOLDER.items():
        put(tmp_path, name, content)
    return tmp_path


def put(folder: Path, name: str, content: str | bytes) -> None:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    os.utime(path, (MONDAY.timestamp(), MONDAY.timestamp()))


def edit(folder: Path, name: str, old: str, new: str) -> None:
    assert old in FOLDER[name]
    put(folder, name, FOLDER[name].replace(old, new))


async def rows(engine: AsyncEngine, statement: str) -> list[tuple[Any, ...]]:
    async with engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(text(statement))]


async def dump(engine: AsyncEngine) -> dict[str, list[tuple[Any, ...]]]:
    """Everything, and which transaction wrote it."""
    tables = dict.fromkeys(str(table.__tablename__) for table in TABLES.values())
    return {table: await rows(engine, f'SELECT xmin::text, t::text FROM "{table}" t ORDER BY 2') for table in tables}


async def problems(engine: AsyncEngine, folder: Path) -> list[str]:
    """What is wrong with a folder; in which case nothing is stored."""
    report = await import_folder(engine, folder)
    assert not any((await dump(engine)).values())
    assert report.class_ids == []
    assert all(tally.stored == 0 for tally in report.files.values())
    return [f"{problem.code} {problem}" for problem in report.problems]


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


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        (
            "people.csv",
            "id,school_id",
            "id,School_id",
            [
                "COLUMN_UNKNOWN people.csv:1: School_id: This is not a column that is read; did you mean school_id?",
                "COLUMN_MISSING people.csv:1: school_id: This column is required.",
            ],
        ),
        ("people.csv", "id,school_id", "id,school_id,id", ["COLUMN_REPEATED"]),
        (
            "people.csv",
            "id,school_id",
            "id,salary,school_id",
            ["COLUMN_UNKNOWN people.csv:1: salary: This is not a column that is read; these are: id, school"],
        ),
        (
            "people.csv",
            FOLDER["people.csv"],
            "",
            ["FILE_NOT_CSV people.csv:1: The file is empty; the first line names the columns."],
        ),
        ("people.csv", "id,school_id", '"id,school_id', ["FILE_NOT_CSV people.csv:1: This cannot be read"]),
        ("people.csv", "id,school_id", "\nid,school_id", ["FILE_NOT_CSV people.csv:1: The first line is empty; the "]),
        (
            "people.csv",
            "ben,school",
            "ben,school,x",
            ["ROW_LENGTH people.csv:3: Expected 2 cells, as in the header; found 3."],
        ),
        ("people.csv", "ben,school", "ben", ["ROW_LENGTH people.csv:3: Expected 2 cells, as in the header; found 1."]),
        ("people.csv", "tom,school", ",school", ["CELL_INVALID people.csv:4: id: This is required."]),
        (
            "attendance.csv",
            "LATE",
            "tardy",
            ["CELL_INVALID attendance.csv:3: status: Expected one of PRESENT, ABSENT, LATE, EXCUSED; found 'tardy'."],
        ),
        (
            "attendance.csv",
            "ben,2024-09-02",
            "ben,02.09.2024",
            ["CELL_INVALID attendance.csv:3: session_date: Expected a date, such as 2024-09-02; found '02.09.2024'."],
        ),
        (
            "submissions.csv",
            "7.50",
            '"7,5"',
            ["CELL_INVALID submissions.csv:2: score: Expected a number, such as 7.5; found '7,5'."],
        ),
        (
            "submissions.csv",
            "7.50",
            "-1",
            ["CELL_INVALID submissions.csv:2: score: Must be greater than or equal to 0; found '-1'."],
        ),
        ("submissions.csv", "2024-10-01T11:00:00Z", "1727780400", ["CELL_INVALID submissions.csv:3: submitted_at"]),
        ("submissions.csv", "2024-10-01T11:00:00Z", "2024-10-01T11:00:00", ["CELL_INVALID submissions.csv:3: sub"]),
        ("submissions.csv", "TRUE", "si", ["CELL_INVALID submissions.csv:2: graded_automatically: Expected true or"]),
        ("schools.csv", "Atlantic/Azores", "Azores", ["CELL_INVALID schools.csv:2: time_zone: Must be an IANA time"]),
        (
            "classes.csv",
            "2025-06-30",
            "2024-08-30",
            ["CELL_INVALID classes.csv:2: ends: Must not be before begins; found '2024-08-30'."],
        ),
        (
            "classes.csv",
            ",school,",
            ",skool,",
            ["SCHOOL_NOT_FOUND classes.csv:2: school_id: There is no school 'skool'."],
        ),
        ("enrollments.csv", "3,tom", "3,tim", ["PERSON_NOT_FOUND enrollments.csv:4: person_id"]),
        ("activities.csv", "quiz,tests", "quiz,texts", ["CATEGORY_NOT_FOUND activities.csv:2: category_id"]),
        ("excusals.csv", "essay", "poem", ["ACTIVITY_NOT_FOUND excusals.csv:2: activity_id"]),
        ("points_awards.csv", "algebra,p1", "biology,p1", ["CLASS_NOT_FOUND points_awards.csv:2: class_id"]),
    ],
)
async def test_a_problem_is_named_where_it_is_and_nothing_is_stored(
    engine: AsyncEngine, folder: Path, name: str, old: str, new: str, expected: list[str]
) -> None:
    edit(folder, name, old, new)
    found = await problems(engine, folder)
    assert len(found) == len(expected)
    assert all(problem.startswith(start) for problem, start in zip(found, expected, strict=True)), found


async def test_all_problems_of_all_files_are_reported_at_once(engine: AsyncEngine, folder: Path) -> None:
    edit(folder, "people.csv", "ben,school", "ben,skool")
    edit(folder, "attendance.csv", "LATE", "TARDY")
    edit(folder, "points_awards.csv", "ann,5", "nobody,5.5")
    assert [problem.split()[1:3] for problem in await problems(engine, folder)] == [
        ["people.csv:3:", "school_id:"],
        ["attendance.csv:3:", "status:"],
        ["points_awards.csv:2:", "points:"],
        ["points_awards.csv:2:", "student_id:"],
    ]


async def test_problems_are_told_in_order_of_file_and_line(engine: AsyncEngine, folder: Path) -> None:
    """Though references are looked at when all is read."""
    put(folder, "people.csv", "id,school_id,recorded_at\nann,skool,\nben,school,soon\ntom,skool,\n")
    edit(folder, "classes.csv", ",school,", ",skool,")
    put(folder, "homework.csv", "")
    assert [problem.split()[1] for problem in await problems(engine, folder)] == [
        "homework.csv:",
        "people.csv:2:",
        "people.csv:3:",
        "people.csv:4:",
        "classes.csv:2:",
    ]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        pytest.param("schools.csv", "Azores", "Azure", id="a school without its time zone"),
        pytest.param("classes.csv", "yes", "perhaps", id="a class with its key"),
        pytest.param("classes.csv", "algebra,", ",", id="a class without its key"),
        pytest.param("categories.csv", ",40", ",much", id="a category with its key"),
        pytest.param("categories.csv", "tests,Tests,40", "tests,40", id="a category of two cells"),
        pytest.param("activities.csv", "algebra,essay", ",essay", id="an activity without its class"),
        pytest.param("people.csv", "ben,", "b\0n,", id="a person with an impossible key"),
        pytest.param("people.csv", "school_id", "shool_id", id="people under a header that is not understood"),
    ],
)
async def test_a_row_that_is_not_understood_does_not_blame_those_that_refer_to_it(
    engine: AsyncEngine, folder: Path, name: str, old: str, new: str
) -> None:
    edit(folder, name, old, new)
    found = [problem for problem in await problems(engine, folder) if "COLUMN_MISSING" not in problem]
    assert [problem.split()[1].split(":")[0] for problem in found] == [name]


async def test_a_file_that_is_not_read_does_not_blame_those_that_refer_to_it(engine: AsyncEngine, folder: Path) -> None:
    (folder / "people.csv").rename(folder / "persons.csv")
    edit(folder, "classes.csv", ",school,", ",skool,")
    assert [problem.split(":")[0] for problem in await problems(engine, folder)] == [
        "FILE_UNKNOWN persons.csv",
        "SCHOOL_NOT_FOUND classes.csv",
    ]


async def test_what_is_in_no_file_is_told_though_others_are_not_understood(engine: AsyncEngine, folder: Path) -> None:
    """The row that is not understood has a key, so that it is known what it does not speak of."""
    put(folder, "people.csv", "id,school_id,recorded_at\nann,school,\nben,school,soon\n")
    assert [problem.split(":")[0:2] for problem in await problems(engine, folder)] == [
        ["CELL_INVALID people.csv", "3"],
        ["PERSON_NOT_FOUND enrollments.csv", "4"],
    ]


async def test_a_line_that_is_not_utf8_is_not_told_to_refer_to_nothing(engine: AsyncEngine, folder: Path) -> None:
    put(folder, "people.csv", "id,school_id\nann,school\nben,school\ntom,school\nzoë,school\n")
    put(folder, "enrollments.csv", FOLDER["enrollments.csv"].encode() + "algebra,4,zoë,STUDENT\n".encode("latin-1"))
    (problem,) = await problems(engine, folder)
    assert problem.startswith("FILE_NOT_UTF8 enrollments.csv:5: ")


@pytest.mark.parametrize(
    ("separator", "told"), [(";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars"), ('";"', "semicolons")]
)
async def test_a_file_with_other_separators_is_one_problem(
    engine: AsyncEngine, folder: Path, separator: str, told: str
) -> None:
    lines = FOLDER["people.csv"].replace(",", separator)
    put(folder, "people.csv", lines if len(separator) == 1 else "".join(f'"{line}"\n' for line in lines.splitlines()))
    assert await problems(engine, folder) == [
        f"FILE_NOT_CSV people.csv:1: The file is separated by {told}; commas are needed."
    ]


async def test_words_of_a_list_may_be_in_small_letters(engine: AsyncEngine, folder: Path) -> None:
    edit(folder, "attendance.csv", "LATE", "late")
    edit(folder, "enrollments.csv", "TEACHER", "Teacher")
    assert (await import_folder(engine, folder)).problems == []
    assert await rows(engine, "SELECT status FROM attendance WHERE student_id = 'ben'") == [("LATE",)]
    assert await rows(engine, "SELECT role FROM enrollment WHERE person_id = 'tom'") == [("TEACHER",)]


async def test_lines_are_counted_as_an_editor_shows_them(engine: AsyncEngine, folder: Path) -> None:
    put(folder, "schools.csv", 'id,title,time_zone\nschool,"Our\n\nSchool",UTC\n\nother,Other,Nowhere\n')
    assert (await problems(engine, folder))[0].startswith("CELL_INVALID schools.csv:6: time_zone")


async def test_bytes_that_are_not_utf8_are_named(engine: AsyncEngine, folder: Path) -> None:
    put(folder, "schools.csv", "id,title,time_zone\nschool,École,UTC\n".encode("latin-1"))
    assert (await problems(engine, folder))[0].startswith("FILE_NOT_UTF8 schools.csv:2: This is not UTF-8 (byte 8 ")
    put(folder, "schools.csv", "id,title,time_zone\nschool,School,UTC\n".encode("utf-16"))
    (problem,) = await problems(engine, folder)
    assert problem.startswith("FILE_NOT_UTF8 schools.csv:1: ")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param('id,school_id\nann,"school\nben,school\n', id="a quotation mark left open"),
        pytest.param('id,school_id\nann,"sch"ool\n', id="a quotation mark not doubled"),
        pytest.param('id,school_id\nann,"' + "x" * 200_000 + '"\n', id="a cell without bound"),
        pytest.param("id,school_id\nann," + "x" * 2_000_000, id="a line without bound"),
    ],
)
async def test_a_file_that_cannot_be_parsed_is_a_problem(engine: AsyncEngine, folder: Path, content: str) -> None:
    put(folder, "people.csv", content)
    assert (await problems(engine, folder))[0].startswith("FILE_NOT_CSV people.csv:2: This cannot be read from here on")


@pytest.mark.parametrize("text", ["a\0b", "=1+1", "a\tb\\N", "\\.", "'; DROP TABLE person; --"])
async def test_cells_are_only_ever_text(engine: AsyncEngine, folder: Path, text: str) -> None:
    put(folder, "schools.csv", f"id,title,time_zone\nschool,{text},UTC\n")
    if "\0" in text:
        assert "Must not contain a NUL" in (await problems(engine, folder))[0]
    else:
        await import_folder(engine, folder)
        assert await rows(engine, "SELECT title FROM school") == [(text,)]


async def test_a_file_with_another_name_is_a_problem(engine: AsyncEngine, folder: Path) -> None:
    for name in ("enrolments.csv", "grade.csv", "notes.csv"):
        put(folder, name, "")
    assert await problems(engine, folder) == [
        "FILE_UNKNOWN enrolments.csv: This is not a file that is read; did you mean enrollments.csv?",
        "FILE_UNKNOWN grade.csv: This is not a file that is read; did you mean submissions.csv?",
        f"FILE_UNKNOWN notes.csv: This is not a file that is read; these are: {', '.join(FILES)}.",
    ]


async def test_links_and_folders_are_not_followed(engine: AsyncEngine, folder: Path, tmp_path: Path) -> None:
    (folder / "people.csv").rename(tmp_path / "elsewhere.txt")
    (folder / "people.csv").symlink_to(tmp_path / "elsewhere.txt")
    (folder / "excusals.csv").unlink()
    (folder / "excusals.csv").mkdir()
    assert [problem.split(":")[0] for problem in await problems(engine, folder)] == [
        "FILE_NOT_PLAIN excusals.csv",
        "FILE_NOT_PLAIN people.csv",
    ]


async def test_a_file_from_the_future_is_a_problem(engine: AsyncEngine, folder: Path) -> None:
    os.utime(folder / "people.csv", (4e9, 4e9))
    assert await problems(engine, folder) == [
        "RECORDED_IN_FUTURE people.csv: The file was modified in the future; `touch` it, or give --recorded-at."
    ]


@pytest.mark.parametrize(("year", "told"), [(2190, "2190-01-01.* is in the future"), (1890, "is before 1900")])
async def test_a_source_time_that_cannot_be_is_one_problem(
    engine: AsyncEngine, folder: Path, year: int, told: str
) -> None:
    with pytest.raises(BadInput, match=f"--recorded-at: .*{told}"):
        await import_folder(engine, folder, recorded_at=datetime(year, 1, 1, tzinfo=UTC))
    assert not any((await dump(engine)).values())


async def test_problems_are_all_counted_and_the_first_thousand_kept(engine: AsyncEngine, folder: Path) -> None:
    put(folder, "people.csv", FOLDER["people.csv"] + "x,nowhere\n" * 1500)
    put(folder, "excusals.csv", "class_id,activity_id,student_id\n" + "nowhere,x,x\n" * 1500)
    put(folder, "attendance.csv", "class_id,student_id,session_date,status\n" + ",,,\n" * 100)
    report = await import_folder(engine, folder)
    assert len(report.problems) == 1000
    assert report.problem_count == 1500 + 1500 + 400


@pytest.mark.parametrize("content", [None, "no files"])
async def test_a_folder_without_files_is_bad_input(engine: AsyncEngine, tmp_path: Path, content: str | None) -> None:
    with pytest.raises(BadInput, match="is not a folder" if content is None else "has no CSV files"):
        await import_folder(engine, tmp_path / "nowhere" if content is None else tmp_path)


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
