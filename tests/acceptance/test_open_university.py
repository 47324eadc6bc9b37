"""Real records of a university: converted, imported, and calculated twice, by the product and by the definitions."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.importers.csv_folder import import_folder
from app.importers.report import Tally
from app.metrics import METRIC_NAMES
from app.performance import READ, calculate_many
from app.records import Record
from examples.open_university import convert
from tests import independent

ROOT = Path(__file__).parents[2]
DATASET = ROOT.parent / "shared" / "data" / "open-university"
CLASSES = ("AAA-2013J", "AAA-2014J", "EEE-2014B")
LENGTHS = dict(zip(CLASSES, (268, 269, 241), strict=True))

pytestmark = pytest.mark.skipif(not DATASET.is_dir(), reason=f"the Open University dataset is not at {DATASET}")

T = TypeVar("T")


def source(name: str) -> list[dict[str, str]]:
    with (DATASET / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def course(row: dict[str, str]) -> str:
    return f"{row['code_module']}-{row['code_presentation']}"


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    convert(DATASET, tmp_path / "converted")
    return tmp_path / "converted"


async def rows(engine: AsyncEngine, statement: str) -> list[tuple[Any, ...]]:
    async with engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(text(statement))]


async def test_every_record_arrives(engine: AsyncEngine, folder: Path) -> None:
    report = await import_folder(engine, folder)
    assert report.problems == []
    assert {name.removesuffix(".csv"): tally.stored for name, tally in report.files.items()} == {
        "schools": 1,
        "people": len({row["id_student"] for row in source("studentInfo")}),
        "classes": 3,
        "enrollments": len(source("studentRegistration")),
        "categories": len(source("assessments")),
        "activities": len(source("assessments")),
        "submissions": len(source("studentAssessment")),
    }


def test_a_conversion_says_what_it_wrote_and_is_repeatable(tmp_path: Path) -> None:
    """Everything was recorded when the newest file of the dataset was modified."""
    dataset = tmp_path / "dataset"
    shutil.copytree(DATASET, dataset, copy_function=shutil.copyfile)
    dataset.chmod(0o755)
    for age, path in enumerate(sorted(dataset.glob("*.csv"))):
        os.utime(path, (1_500_000_000 - age, 1_500_000_000 - age))
    first = run(dataset, tmp_path / "first")
    assert first.returncode == 0, first.stderr
    assert "schools.csv: 1 row\n" in first.stdout
    assert "classes.csv: 3 rows\n" in first.stdout
    run(dataset, tmp_path / "second")
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()
        with path.open(newline="") as file:
            assert {row["recorded_at"] for row in csv.DictReader(file)} == {"2017-07-14T02:40:00+00:00"}


def test_a_folder_that_is_not_the_datasets_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "courses.csv").touch()
    done = run(tmp_path, tmp_path / "converted")
    assert done.returncode == 1
    assert done.stderr == (
        f"{tmp_path} is not a folder of the dataset: it has no assessments.csv, studentInfo.csv, "
        "studentRegistration.csv, studentAssessment.csv.\n"
    )
    assert not (tmp_path / "converted").exists()


def run(dataset: Path, target: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "examples" / "open_university.py", dataset, target]
    return subprocess.run(command, capture_output=True, text=True)


async def test_blanks_stay_blank_and_zeros_zero(engine: AsyncEngine, folder: Path) -> None:
    await import_folder(engine, folder)
    scores = Counter(row["score"] for row in source("studentAssessment"))
    assert await rows(
        engine, "SELECT count(*) FILTER (WHERE score IS NULL), count(*) FILTER (WHERE score = 0) FROM submission"
    ) == [(scores["?"] + scores[""], scores["0"])]


async def test_a_second_import_or_conversion_changes_nothing(engine: AsyncEngine, folder: Path) -> None:
    tables = ("school", "person", "class", "enrollment", "category", "activity", "submission")
    statements = [f'SELECT xmin::text, t::text FROM "{table}" t ORDER BY 2' for table in tables]
    first = await import_folder(engine, folder)
    before = [await rows(engine, statement) for statement in statements]
    convert(DATASET, folder)
    second = await import_folder(engine, folder)
    assert [await rows(engine, statement) for statement in statements] == before
    assert second.files == {name: Tally(0, tally.stored, 0) for name, tally in first.files.items()}


async def test_the_numbers_are_those_of_the_definitions(engine: AsyncEngine, folder: Path) -> None:
    """Long after, as a term ends, and in the midst of each."""
    await import_folder(engine, folder)
    async with engine.connect() as connection:
        for class_id in CLASSES:
            facts = await load(connection, class_id)
            assert facts.klass.begins
            days = (-30, 0, 20, 100, 150, LENGTHS[class_id], 4000)
            for at in (facts.klass.begins + timedelta(days=day, hours=9) for day in days):
                row = (await calculate_many(connection, [class_id], at))[class_id]
                assert {name: row[name] for name in METRIC_NAMES} == independent.calculate(facts, at), (class_id, at)


async def test_the_numbers_can_be_counted_in_the_source(engine: AsyncEngine, folder: Path) -> None:
    """By a shorter way than the definitions': what they come to for classes that ended long ago."""
    await import_folder(engine, folder)
    async with engine.connect() as connection:
        rows = await connection.execute(READ, {"ids": list(CLASSES)})
        records = {row["class_id"]: Record.from_row(row) for row in rows.mappings()}
    for class_id in CLASSES:
        stayed = students_of(class_id)
        grades = grades_of(class_id, stayed)
        record = records[class_id]
        assert record.explanation["students"] == len(stayed)
        assert record.activities_created == sum(course(row) == class_id for row in source("assessments"))
        assert record.average_grade == pytest.approx(sum(grades.values()) / len(grades), abs=0.006)
        assert record.passing_rate == pytest.approx(
            100 * sum(grade >= 40 for grade in grades.values()) / len(grades), abs=0.006
        )
        assert record.attendance_rate is None
        assert record.teacher_feedback_rate == 0


def students_of(class_id: str) -> set[str]:
    """Who had not unregistered when the last day was over."""
    return {
        row["id_student"]
        for row in source("studentRegistration")
        if course(row) == class_id
        and (row["date_unregistration"] in ("?", "") or int(row["date_unregistration"]) >= LENGTHS[class_id])
    }


def grades_of(class_id: str, students: set[str]) -> dict[str, float]:
    """Each assessment is out of 100 and a category of its own: a grade is the mean of scores by weight."""
    weights = {row["id_assessment"]: float(row["weight"]) for row in source("assessments") if course(row) == class_id}
    totals: dict[str, float] = {}
    weight_of: dict[str, float] = {}
    for row in source("studentAssessment"):
        student, weight = row["id_student"], weights.get(row["id_assessment"], 0)
        if weight and student in students and row["score"] not in ("?", ""):
            totals[student] = totals.get(student, 0) + weight * float(row["score"])
            weight_of[student] = weight_of.get(student, 0) + weight
    return {student: total / weight_of[student] for student, total in totals.items()}


async def load(connection: AsyncConnection, class_id: str) -> independent.Facts:
    (school,) = await all_of(connection, independent.School, "school", "true", class_id)
    (klass,) = await all_of(connection, independent.Class, "class", "id = :class_id", class_id)
    own = "class_id = :class_id"
    return independent.Facts(
        school=school,
        klass=klass,
        enrollments=await all_of(connection, independent.Enrollment, "enrollment", own, class_id),
        categories=await all_of(connection, independent.Category, "category", own, class_id),
        activities=await all_of(connection, independent.Activity, "activity", own, class_id),
        submissions=await all_of(connection, independent.Submission, "submission", own, class_id),
    )


async def all_of(connection: AsyncConnection, kind: type[T], table: str, which: str, class_id: str) -> list[T]:
    columns = ", ".join(field.name for field in fields(kind))  # type: ignore[arg-type]
    found = await connection.execute(
        text(f'SELECT {columns} FROM "{table}" WHERE {which}').bindparams(
            **({"class_id": class_id} if ":" in which else {})
        )
    )
    return [kind(**row) for row in found.mappings()]
