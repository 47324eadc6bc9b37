"""A folder of CSV files, one for each kind of fact, stored as a whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from app.errors import BadInput
from app.importers.cells import InvalidRow, Layout, Values, columns_of
from app.importers.lines import CsvFile, meant, opened
from app.importers.report import MOST_PROBLEMS, CellProblem, Report
from app.importers.staging import Staging
from app.importers.storing import CLOCK_DIFFERENCE, Progress, calculate, chunks, rehearsed, require_source_time, silent
from app.shelf import ATTEMPTS, KINDS, SOURCE_TIMES, shelf

# Both halves of a submission stand in one file.
FILES = {f"{kind}.csv": ATTEMPTS if kind == "submissions" else kind for kind in KINDS if kind != "grades"}
# What a file may be meant to be, by its name without the ending.
NAMES = {kind: f"{kind}.csv" for kind in KINDS} | {"grades": "submissions.csv"}


async def import_folder(
    engine: AsyncEngine,
    folder: Path,
    *,
    recorded_at: datetime | None = None,
    dry_run: bool = False,
    progress: Progress = silent,
) -> Report:
    """Store the facts in the files of a folder in one transaction; none if there is a single problem.

    `recorded_at`: the source time of rows that have none; by default the time their file was last modified, so that a
    second run changes nothing. `BadInput` if it lies in the future. A dry run does everything, says what it would have
    changed, and takes it back. `progress` is called with the name of a file and the number of its rows read so far,
    then with "Calculating" and the number of classes.
    """
    require_source_time(recorded_at)
    report = Report(dry_run=dry_run)
    paths = _files(folder, report)
    async with rehearsed(engine, report) as connection:
        delivery = Delivery(Staging(connection), report, progress, _uncertain(paths, report))
        for path in paths:
            await delivery.read(path, recorded_at)
        await delivery.check()
        await delivery.store()
        if report.is_stored:
            await calculate(connection, report.class_ids, progress)
    report.arrange()
    return report


def _files(folder: Path, report: Report) -> list[Path]:
    """In an order in which references come first. A name that is not ours is a problem: it would be overlooked."""
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder.")
    found = {path.name: path for path in sorted(folder.iterdir()) if path.suffix.lower() == ".csv"}
    if not found:
        raise BadInput(f"{folder} has no CSV files. It may have: {', '.join(FILES)}.")
    for name, path in found.items():
        if name not in FILES:
            report.add(CellProblem("FILE_UNKNOWN", f"This is not a file that is read{meant(path.stem, NAMES)}", name))
        elif path.is_symlink() or not path.is_file():
            report.add(CellProblem("FILE_NOT_PLAIN", "This is no plain file; links are not followed.", name))
    return [found[name] for name in FILES if name in found and name not in report.files]


def _uncertain(paths: Sequence[Path], report: Report) -> set[str]:
    """If there are files that will not be read, the tables without a file that will: they may speak of these."""
    missing = FILES.keys() - {path.name for path in paths} if report.files else set()
    return {shelf(FILES[name]).table.name for name in missing}


class Delivery:
    """Files on their way: read into the staging tables, checked together, then stored.

    `unsure` are the tables to which references are not looked at: nobody can say all that their files have rows of.
    """

    def __init__(self, staging: Staging, report: Report, progress: Progress, unsure: set[str]) -> None:
        self.staging, self.report, self.progress, self.unsure = staging, report, progress, unsure
        self.kinds: dict[str, str] = {}

    async def read(self, path: Path, recorded_at: datetime | None) -> None:
        self.report.tally(path.name)
        with opened(path, self.report) as file:
            here = shelf(FILES[path.name])
            header = file.header(columns_of(here))
            if header is not None:
                kind = self.kinds[path.name] = _kind(path.name, header)
                await self._stage(file, kind, Layout(shelf(kind), header), recorded_at or _modified(path, file))
            if header is None or file.overlooked:
                self.unsure.add(here.table.name)

    async def _stage(self, file: CsvFile, kind: str, layout: Layout, recorded_at: datetime) -> None:
        count = 0
        for rows in chunks(file.rows(len(layout.header))):
            named = [(line, layout.row(cells)) for line, cells in rows]
            await self._find_zones(layout, [row for _, row in named if layout.dated(row)])
            await self.staging.copy(kind, list(self._values(file, layout, named, recorded_at)))
            count += len(rows)
            self.progress(file.name, count)

    def _values(
        self, file: CsvFile, layout: Layout, rows: Iterable[tuple[int, dict[str, Any]]], recorded_at: datetime
    ) -> Iterator[tuple[int, Values]]:
        """Of an invalid row what is understood: its references are looked at, and those to it are not blamed."""
        for line, row in rows:
            try:
                yield line, layout.read(row, self.staging.zone(*layout.place(row)), recorded_at)
            except InvalidRow as invalid:
                for column, message in invalid.faults.items():
                    file.add("CELL_INVALID", message, line, column)
                if not invalid.faults.keys().isdisjoint(layout.shelf.key):
                    self.unsure.add(layout.shelf.table.name)
                yield line, invalid.understood

    async def _find_zones(self, layout: Layout, rows: Sequence[dict[str, Any]]) -> None:
        places = {layout.place(row) for row in rows}
        for table in {table for table, _ in places}:
            await self.staging.find_zones(table, {id for own, id in places if own == table})

    async def check(self) -> None:
        for name, kind in self.kinds.items():
            if kind in self.staging.counts:
                room = max(1, MOST_PROBLEMS - len(self.report.problems))
                faults, total = await self.staging.find_faults(kind, self.unsure, most=room)
                for fault in faults:
                    column = "recorded_at" if fault.column in SOURCE_TIMES else fault.column
                    self.report.add(CellProblem(fault.code, fault.message, name, fault.index, column))
                if faults:
                    self.report.count(name, faults[-1].code, total - len(faults))

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
    modified, now = datetime.fromtimestamp(path.stat().st_mtime, UTC), datetime.now(UTC)
    if modified > now + CLOCK_DIFFERENCE:
        file.add("RECORDED_IN_FUTURE", "The file was modified in the future; `touch` it, or give --recorded-at.")
    return min(modified, now)
