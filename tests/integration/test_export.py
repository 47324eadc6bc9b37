"""Records and their history as CSV and Parquet."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.errors import BadInput
from app.exporters import destination, formats, tables
from app.exporters.exporting import export
from app.exporters.formats import Format
from app.exporters.tables import Export
from app.exporters.words import RANGE_WORDS, WORDS, read_filter
from app.graphql.connection import ClassPerformanceFilter, MetricRange
from app.performance import Performance
from app.recording import Recording
from app.reports import Reports
from tests.serving import Client, store

FORMATS = pytest.mark.parametrize("format_", list(Format))


async def read(engine: AsyncEngine, what: Export, format_: Format, path: Path) -> list[dict[str, Any]]:
    count = await export(engine, what, format_, path)
    found = written(format_, path)
    assert count == len(found)
    return found


def written(format_: Format, path: Path) -> list[dict[str, Any]]:
    if format_ is Format.CSV:
        return list(csv.DictReader(io.StringIO(path.read_bytes().decode(), newline="")))
    found: list[dict[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
    return found


async def ids(engine: AsyncEngine, tmp_path: Path, written: str | None) -> list[str]:
    found = await read(engine, tables.records(read_filter(written)), Format.CSV, tmp_path / "ids.csv")
    return [row["classId"] for row in found]


async def test_a_record_is_exported_whole_as_csv(engine: AsyncEngine, school: None, tmp_path: Path) -> None:
    algebra, biology = await read(engine, tables.records(read_filter(None)), Format.CSV, tmp_path / "r.csv")
    expected = {
        "classId": "algebra",
        "schoolId": "north",
        "title": "Algebra",
        "status": "ACTIVE",
        "version": "1",
        "averageGrade": "80.0",
        "presentCount": "1",
        "participationRate": "0.0",
        "gradingTimeliness": "",
        "pinnedMetrics": "[]",
        "custom": "",
    }
    assert {name: algebra[name] for name in expected} == expected
    assert (biology["classId"], biology["averageGrade"], biology["activitiesCreated"]) == ("biology", "", "0")
    assert orjson.loads(algebra["explanation"])["averageGrade"]
    assert algebra["lastUpdated"].endswith("Z")


async def test_a_record_is_exported_whole_as_parquet(engine: AsyncEngine, school: None, tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    algebra, biology = await read(engine, tables.records(read_filter(None)), Format.PARQUET, path)
    assert (algebra["averageGrade"], algebra["presentCount"], algebra["pinnedMetrics"]) == (80.0, 1, [])
    assert (biology["averageGrade"], biology["custom"]) == (None, None)
    assert (datetime.now(UTC) - algebra["lastUpdated"]).total_seconds() < 600
    types = {field.name: str(field.type) for field in pyarrow.parquet.read_schema(path)}
    assert types["averageGrade"] == "double"
    assert types["presentCount"] == "int64"
    assert types["lastUpdated"] == "timestamp[us, tz=UTC]"
    assert types["explanation"] == "string"


async def test_numbers_are_those_of_the_api(world: AsyncEngine, api: Client, tmp_path: Path) -> None:
    """Under their own names, and for every field of a record."""
    exported = await read(world, tables.records(read_filter(None)), Format.PARQUET, tmp_path / "r.parquet")
    names = [name for name in exported[0] if name not in ("schoolId", "title", "status", "explanation", "custom")]
    query = f"{{ classPerformanceConnection {{ nodes {{ {' '.join(names)} }} }} }}"
    served = (await api.ask(query))["classPerformanceConnection"]["nodes"]
    for record, node in zip(exported, served, strict=True):
        instants = {name: value for name, value in record.items() if isinstance(value, datetime)}
        written = {name: value.isoformat(timespec="milliseconds")[:-6] + "Z" for name, value in instants.items()}
        assert {name: record[name] for name in names} | written == node


async def test_every_version_is_exported(
    engine: AsyncEngine, school: None, reports: Reports, performance: Performance, tmp_path: Path
) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE submission SET score = 9"))
    await Recording(engine, performance).recalculate(["algebra"])
    found = await read(engine, tables.history(read_filter('{"classIds": ["algebra"]}')), Format.CSV, tmp_path / "h.csv")
    assert [(row["version"], row["averageGrade"], row["cause"]) for row in found] == [
        ("1", "80.0", "CALCULATED"),
        ("2", "90.0", "CALCULATED"),
    ]
    second = datetime.fromisoformat(found[1]["at"])
    async with engine.connect() as connection:
        exact = (await connection.execute(text("SELECT at FROM class_performance_history WHERE version = 2"))).scalar()
    spans = {(None, None): 2, (exact, None): 1, (None, exact): 1, (exact, exact): 0}
    for span, count in spans.items():
        what = tables.history(read_filter('{"schoolIds": ["north"], "classIds": ["algebra"]}'), *span)
        assert len(await read(engine, what, Format.PARQUET, tmp_path / "h.parquet")) == count
    assert second.tzinfo is not None


async def test_the_filter_is_that_of_the_connection(world: AsyncEngine, api: Client, tmp_path: Path) -> None:
    """Word by word the same classes pass."""
    statement = "UPDATE class_performance SET average_grade = 80 WHERE class_id = 'n1'"
    async with world.begin() as connection:
        await connection.execute(text(statement))
    filters: list[dict[str, Any]] = [
        {},
        {"schoolIds": ["north"]},
        {"schoolIds": "south"},
        {"schoolIds": []},
        {"classIds": ["n2", "s1", "nowhere"]},
        {"statuses": ["ARCHIVED"]},
        {"statuses": ["ACTIVE"], "teacherId": None},
        {"teacherId": "tina"},
        {"averageGrade": {"atLeast": 80, "atMost": 80.5}},
        {"averageGrade": {"isNull": True}},
        {"averageGrade": {"isNull": False}, "presentCount": {"atMost": 0}},
        {"averageGrade": {"atLeast": 80.1}},
    ]
    query = (
        "query($filter: ClassPerformanceFilter) { classPerformanceConnection(filter: $filter) { nodes { classId } } }"
    )
    for given in filters:
        served = await api.ask(query, {"filter": given})
        expected = [node["classId"] for node in served["classPerformanceConnection"]["nodes"]]
        assert await ids(world, tmp_path, orjson.dumps(given).decode()) == expected, given


def test_the_words_of_the_filter_are_those_of_the_api() -> None:
    for input_, words in ((ClassPerformanceFilter, WORDS), (MetricRange, RANGE_WORDS)):
        fields = input_.__strawberry_definition__.fields  # type: ignore[attr-defined]
        names = [field.python_name.split("_") for field in fields]
        assert sorted(words) == sorted(head + "".join(map(str.capitalize, tail)) for head, *tail in names)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("schoolIds=north", "--filter is not JSON, such as "),
        ("[]", "--filter must be an object, such as "),
        ('{"schoolId": ["north"]}', "--filter: there is no 'schoolId'; did you mean schoolIds?"),
        ('{"colour": 1}', "--filter: there is no 'colour'; these are: schoolIds, classIds, "),
        ('{"schoolIds": [1]}', "--filter: schoolIds must be text"),
        ('{"statuses": ["OPEN"]}', "--filter: statuses must be of ACTIVE, ARCHIVED; 'OPEN' is not"),
        ('{"averageGrade": 80}', "--filter: averageGrade must be an object, such as "),
        ('{"averageGrade": {"least": 80}}', "--filter: there is no 'averageGrade.least'; "),
        ('{"averageGrade": {"atLeast": "80"}}', "--filter: averageGrade.atLeast must be a number"),
        ('{"averageGrade": {"atLeast": true}}', "--filter: averageGrade.atLeast must be a number"),
        ('{"averageGrade": {"isNull": 1}}', "--filter: averageGrade.isNull must be true or false"),
    ],
)
def test_a_filter_that_is_not_understood_is_bad_input(written: str, told: str) -> None:
    with pytest.raises(BadInput) as refused:
        read_filter(written)
    assert str(refused.value).startswith(told)


@FORMATS
async def test_text_comes_back_as_it_was(engine: AsyncEngine, tmp_path: Path, format_: Format) -> None:
    title = 'One, "two",\r\nthree; =1+1 – ʼn'
    await store(
        engine,
        schools=[{"id": "s", "title": "S", "time_zone": "UTC"}],
        classes=[{"id": "ä,b", "school_id": "s", "title": title}],
    )
    (row,) = await read(engine, tables.records(read_filter(None)), format_, tmp_path / "file")
    assert (row["classId"], row["title"]) == ("ä,b", title)


@FORMATS
async def test_no_rows_are_a_file_with_columns(engine: AsyncEngine, tmp_path: Path, format_: Format) -> None:
    what = tables.records(read_filter(None))
    assert await read(engine, what, format_, tmp_path / "file") == []
    if format_ is Format.PARQUET:
        names = pyarrow.parquet.read_schema(tmp_path / "file").names
    else:
        names = (tmp_path / "file").read_text().strip().split(",")
    assert names == [column.name for column in what.columns]


def write_half(path: Path) -> None:
    with destination.opened(path) as stream:
        stream.write(b"half")
        raise RuntimeError


def test_a_file_is_there_when_it_is_whole_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_text("old")
    with destination.opened(path) as stream:
        stream.write(b"new")
        stream.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    with pytest.raises(RuntimeError):
        write_half(path)
    assert path.read_text() == "new"
    assert [each.name for each in tmp_path.iterdir()] == ["file.csv"]


def test_a_link_is_written_through_and_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    with destination.opened(tmp_path / "link.csv") as stream:
        stream.write(b"new")
    assert (tmp_path / "real.csv").read_text() == "new"
    assert (tmp_path / "link.csv").is_symlink()
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(BadInput, match="is not a file"), destination.opened(path):
            pass


async def test_without_pyarrow_parquet_is_a_clear_refusal_and_csv_goes_on(
    engine: AsyncEngine, school: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    what = tables.records(read_filter(None))
    with pytest.raises(BadInput, match=r"Parquet needs pyarrow: pip install 'class-performance\[export\]'"):
        await export(engine, what, Format.PARQUET, tmp_path / "r.parquet")
    assert os.listdir(tmp_path) == []
    assert await export(engine, what, Format.CSV, tmp_path / "r.csv") == 2


async def test_rows_are_of_one_moment_however_long_it_takes(
    engine: AsyncEngine, school: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "CHUNK", 1)
    what = tables.records(read_filter(None))
    found = []
    async for rows in what.rows(engine):
        async with engine.begin() as connection:
            await connection.execute(text("UPDATE class SET title = 'Other'"))
        found += [row.title for row in rows]
    assert found == ["Algebra", "Biology"]


MEASURED = """
import asyncio, sys
from pathlib import Path
from app.database import create_engine
from app.exporters import tables
from app.exporters.exporting import export
from app.exporters.formats import Format
from app.exporters.words import RANGE_WORDS, WORDS, read_filter
from app.settings import Settings

def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])

async def measure(url, format_, path):
    engine = create_engine(Settings(environment="development", database_url=url))
    early = []
    count = await export(engine, tables.history(read_filter(None)), Format(format_), Path(path),
                         progress=lambda rows: rows == 20_000 and early.append(peak()))
    await engine.dispose()
    print(count, peak() - early[0])

asyncio.run(measure(*sys.argv[1:]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peaks of memory are read from /proc")
@FORMATS
async def test_memory_does_not_grow_with_the_export(
    engine: AsyncEngine, school: None, database_url: str, tmp_path: Path, format_: Format
) -> None:
    """In a process of its own: 100,000 rows take no more than a few megabytes beyond the first 20,000."""
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO class_performance_history (class_id, version, cause) "
                "SELECT 'biology', number, 'calculated' FROM generate_series(2, 100000) AS number"
            )
        )
    arguments = (sys.executable, "-c", MEASURED, database_url, format_.value, str(tmp_path / "file"))
    process = await asyncio.create_subprocess_exec(*arguments, stdout=subprocess.PIPE)
    count, kilobytes = map(int, (await process.communicate())[0].split())
    assert count == 100_001
    assert kilobytes < 20_000
    assert formats.ROW_GROUP < 20_000
