"""Loading packages and writing exports with the real program."""

from __future__ import annotations

import csv
import io
import os
import subprocess
from pathlib import Path

import psycopg
import pyarrow.parquet
import pytest

from tests.acceptance.test_command_line import PROGRAM, classperf, environment
from tests.oneroster import FIRST, SECOND, edited, package, zipped


@pytest.fixture
def urls(database_url: str, redis_url: str) -> dict[str, str]:
    return {"DATABASE_URL": database_url, "REDIS_URL": redis_url}


def test_a_package_is_rehearsed_imported_and_the_second_time_changes_nothing(
    tmp_path: Path, urls: dict[str, str]
) -> None:
    archive = str(zipped(package(tmp_path / "p", SECOND, "1.2")))
    given = ("import", "oneroster", archive, "--time-zone", "Europe/London")
    rehearsed = classperf(tmp_path, *given, "--dry-run", **urls)
    assert rehearsed.returncode == 0, rehearsed.stderr
    assert "enrollments.csv: 4 would be stored (4 new), 0 unchanged\n" in rehearsed.stdout
    with psycopg.connect(urls["DATABASE_URL"]) as connection:
        assert connection.execute("SELECT count(*) FROM class").fetchone() == (0,)
    first = classperf(tmp_path, *given, **urls)
    assert first.stdout == rehearsed.stdout.replace("would be stored", "stored")
    second = classperf(tmp_path, *given, **urls)
    assert "enrollments.csv: 0 stored, 4 unchanged\n" in second.stdout
    assert "Given-Name" not in first.stdout + first.stderr + second.stdout


def test_problems_are_told_and_nothing_is_stored_unless_their_rows_may_be_left_out(
    tmp_path: Path, urls: dict[str, str]
) -> None:
    path = str(package(tmp_path / "p", edited(FIRST, "results", "7.5,2024", "A-,2024")))
    given = ("import", "oneroster", path, "--time-zone", "Europe/London")
    refused = classperf(tmp_path, *given, **urls)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "results.csv:2: score: Expected a number, such as 7.5; found 'A-'. [CELL_INVALID]" in refused.stderr
    assert "1 problem: nothing was stored." in refused.stderr
    done = classperf(tmp_path, *given, "--skip-bad-rows", **urls)
    assert done.returncode == 0
    assert "1 problem: these rows were left out." in done.stderr
    assert "lineItems.csv: 3 stored (3 new), 0 unchanged" in done.stdout


def test_what_is_no_package_is_told_in_a_line(tmp_path: Path, urls: dict[str, str]) -> None:
    (tmp_path / "letter.zip").write_text("Dear Sir or Madam")
    refused = classperf(tmp_path, "import", "oneroster", str(tmp_path / "letter.zip"), **urls)
    assert refused.returncode == 2
    assert "is neither a folder nor a zip archive that is whole" in " ".join(refused.stderr.split())
    assert "Traceback" not in refused.stderr


def test_records_and_history_are_exported_to_files_and_to_standard_output(tmp_path: Path, urls: dict[str, str]) -> None:
    path = str(package(tmp_path / "p", FIRST))
    classperf(tmp_path, "import", "oneroster", path, "--time-zone", "Europe/London", **urls)
    printed = classperf(tmp_path, "export", "records", "--filter", '{"classIds": ["algebra"]}', **urls)
    assert printed.returncode == 0, printed.stderr
    (row,) = csv.DictReader(io.StringIO(printed.stdout))
    assert (row["classId"], row["averageGrade"]) == ("algebra", "75.0")
    assert "1 row written" in printed.stderr
    file = tmp_path / "history.parquet"
    written = classperf(tmp_path, "export", "history", "--output", str(file), "--from", "2020-01-01", **urls)
    assert (written.returncode, written.stdout) == (0, "")
    assert [row["classId"] for row in pyarrow.parquet.read_table(file).to_pylist()] == ["algebra", "art"]
    piped = subprocess.run(
        [PROGRAM, "export", "records", "--format", "parquet"],
        cwd=tmp_path,
        env=environment(**urls),
        capture_output=True,
        check=True,
    )
    assert pyarrow.parquet.read_table(io.BytesIO(piped.stdout)).num_rows == 2


def test_an_export_that_cannot_be_is_told_in_a_line(tmp_path: Path, urls: dict[str, str]) -> None:
    for arguments, told in (
        (("records", "--filter", "{"), "--filter is not JSON"),
        (("records", "--output", str(tmp_path)), "is not a file"),
        (("records", "--output", str(tmp_path / "nowhere" / "x.csv")), "No such file or directory"),
        (("history", "--from", "yesterday"), "--from: 'yesterday' is not an instant"),
    ):
        refused = classperf(tmp_path, "export", *arguments, **urls)
        assert refused.returncode == 2, refused.stderr
        assert told in " ".join(refused.stderr.split())
        assert "Traceback" not in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_stops_reading_is_no_error(tmp_path: Path, urls: dict[str, str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(
        [PROGRAM, "export", "records"],
        cwd=tmp_path,
        env=environment(**urls),
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert "Traceback" not in process.stderr
    assert "Exception ignored" not in process.stderr
