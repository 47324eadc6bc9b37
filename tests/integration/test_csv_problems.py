"""What is told of folders of CSV files in which something is wrong."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from app.errors import BadInput
from app.importers.csv_folder import FILES, import_folder
from tests.csv_folder import FOLDER, dump, edit, put, rows


async def problems(engine: AsyncEngine, folder: Path) -> list[str]:
    """What is wrong with a folder; in which case nothing is stored."""
    report = await import_folder(engine, folder)
    assert not any((await dump(engine)).values())
    assert report.class_ids == []
    assert all(tally.stored == 0 for tally in report.files.values())
    return [f"{problem.code} {problem}" for problem in report.problems]


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
