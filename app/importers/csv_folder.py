"""A folder of CSV files, one for each kind of fact, stored as a whole or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.errors import BadInput
from app.importers.cells import InvalidRow, Layout, Values, columns_of
from app.importers.lines import CsvFile, Row, meant, opened
from app.importers.report import MOST_PROBLEMS, CellProblem, Report
from app.importers.staging import Staging
from app.shelf import ATTEMPTS, KINDS, SOURCE_TIMES, shelf

# Both halves of a submission stand in one file.
FILES = {f"{kind}.csv": ATTEMPTS if kind == "submissions" else kind for kind in KINDS if kind != "grades"}
CHUNK = 5_000

Progress = Callable[[str, int], None]


async def import_folder(
    engine: AsyncEngine,
    folder: Path,
    *,
    recorded_at: datetime | None = None,
    dry_run: bool = False,
    progress: Progress = lambda file, rows: None,
) -> Report:
    """Store the facts in the files of a folder in one transaction; none if there is a single problem.

    `recorded_at`: the source time of rows that have none; by default the time their file was last modified, so that a
    second run changes nothing. A dry run does everything, says what it would have changed, and takes it back.
    `progress` is called with the name of a file and the number of its rows read so far.
    """
    report = Report(dry_run=dry_run)
    paths = _files(folder, report)
    async with _rehearsed(engine, report) as connection:
        delivery = Delivery(Staging(connection), report, progress)
        for path in paths:
            await delivery.read(path, recorded_at)
        await delivery.check()
        await delivery.store()
    return report


@asynccontextmanager
async def _rehearsed(engine: AsyncEngine, report: Report) -> AsyncIterator[AsyncConnection]:
    """A transaction without hurry, that commits if this is no rehearsal and nothing is wrong."""
    async with engine.connect() as connection, connection.begin() as begun:
        for setting in ("statement_timeout = 0", "lock_timeout = 0", "work_mem = '64MB'"):
            await connection.exec_driver_sql(f"SET LOCAL {setting}")
        yield connection
        if report.dry_run or report.problem_count:
            await begun.rollback()


def _files(folder: Path, report: Report) -> list[Path]:
    """In an order in which references come first. A name that is not ours is a problem: it would be overlooked."""
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder.")
    found = {path.name: path for path in sorted(folder.iterdir()) if path.suffix.lower() == ".csv"}
    if not found:
        raise BadInput(f"{folder} has no CSV files. It may have: {', '.join(FILES)}.")
    for name, path in found.items():
        if name not in FILES:
            report.add(CellProblem("FILE_UNKNOWN", f"there is no such file{meant(name, FILES)}", name))
        elif path.is_symlink() or not path.is_file():
            report.add(CellProblem("FILE_NOT_PLAIN", "is not a plain file; links and folders are not followed", name))
    return [found[name] for name in FILES if name in found and name not in report.files]


class Delivery:
    """Files on their way: read into the staging tables, checked together, then stored."""

    def __init__(self, staging: Staging, report: Report, progress: Progress) -> None:
        self.staging, self.report, self.progress = staging, report, progress
        self.kinds: dict[str, str] = {}

    async def read(self, path: Path, recorded_at: datetime | None) -> None:
        self.report.tally(path.name)
        with opened(path, self.report) as file:
            header = file.header(columns_of(shelf(FILES[path.name])))
            if header is not None:
                kind = self.kinds[path.name] = _kind(path.name, header)
                await self._stage(file, kind, Layout(shelf(kind), header), recorded_at or _modified(path, file))

    async def _stage(self, file: CsvFile, kind: str, layout: Layout, recorded_at: datetime) -> None:
        count = 0
        for rows in _chunks(file.rows(len(layout.header))):
            named = [(line, layout.row(cells)) for line, cells in rows]
            await self._find_zones(layout, [row for _, row in named if layout.dated(row)])
            await self.staging.copy(kind, list(self._values(file, layout, named, recorded_at)))
            count += len(rows)
            self.progress(file.name, count)

    def _values(
        self, file: CsvFile, layout: Layout, rows: Iterable[tuple[int, dict[str, Any]]], recorded_at: datetime
    ) -> Iterator[tuple[int, Values]]:
        for line, row in rows:
            try:
                yield line, layout.read(row, self.staging.zone(*layout.place(row)), recorded_at)
            except InvalidRow as invalid:
                for column, message in invalid.faults:
                    file.add("CELL_INVALID", message, line, column)

    async def _find_zones(self, layout: Layout, rows: Sequence[dict[str, Any]]) -> None:
        places = {layout.place(row) for row in rows}
        for table in {table for table, _ in places}:
            await self.staging.find_zones(table, {id for own, id in places if own == table})

    async def check(self) -> None:
        """References to a table whose file was not understood are not looked at: they may be good."""
        unsure = {
            shelf(FILES[name]).table.name
            for name, tally in self.report.files.items()
            if tally.problems and name in FILES
        }
        for name, kind in self.kinds.items():
            if kind in self.staging.counts:
                room = max(1, MOST_PROBLEMS - len(self.report.problems))
                faults, total = await self.staging.find_faults(kind, unsure, most=room)
                for fault in faults:
                    column = "recorded_at" if fault.column in SOURCE_TIMES else fault.column
                    self.report.add(CellProblem(fault.code, fault.message, name, fault.index, column))
                self.report.tally(name).problems += total - len(faults)

    async def store(self) -> None:
        class_ids: set[str] = set()
        for name, kind in self.kinds.items():
            if kind in self.staging.counts and not self.report.problem_count:
                tally = self.report.tally(name)
                tally.stored, touched = await self.staging.merge(kind)
                tally.unchanged = self.staging.counts[kind] - tally.stored
                class_ids.update(touched)
        self.report.class_ids = sorted(class_ids)


def _kind(name: str, header: Sequence[str]) -> str:
    """A file of submissions that has columns of one half only says nothing about the other."""
    kind = FILES[name]
    if kind != ATTEMPTS:
        return kind
    handed_in, graded = (any(column in header for column in half.content) for half in shelf(kind).halves)
    return ATTEMPTS if handed_in and graded else "grades" if graded else "submissions"


def _modified(path: Path, file: CsvFile) -> datetime:
    modified = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    if modified > datetime.now(UTC) + timedelta(minutes=5):
        file.add("RECORDED_IN_FUTURE", "the file was modified in the future: `touch` it, or give a source time")
    return modified


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while chunk := list(islice(rows, CHUNK)):
        yield chunk
