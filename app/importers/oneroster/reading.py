"""Reads the files of a package into temporary tables, one for each, row by row as they are written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from app.importers.cells import InvalidRow, Layout, Values
from app.importers.lines import CsvFile, Row, nearest
from app.importers.oneroster.files import KEY, MODIFIED, STATUS, File, Status
from app.importers.oneroster.manifest import Mode
from app.importers.package import Entry
from app.importers.report import Report
from app.importers.staging import copy_rows
from app.importers.storing import Progress, chunks

UTC = ZoneInfo("UTC")
# Of the standard and not read, though they look like some that are.
PASSED_OVER = frozenset(
    ("resultValueMin", "agentSourcedIds", "resourceSourcedIds", "schoolSourcedId", "courseSourcedId")
)
OWN_COLUMN = "metadata."

# The line, whether something is wrong with it, and the values of the file's shelf.
Raw = tuple[Any, ...]


class Reader:
    """`lost` are the files of which not every row has a key that is known: nobody can say what they do not hold."""

    def __init__(self, connection: AsyncConnection, report: Report, progress: Progress) -> None:
        self.connection, self.report, self.progress = connection, report, progress
        self.lost: set[str] = set()
        self.headers: dict[str, frozenset[str]] = {}

    async def create(self, file: File) -> None:
        """`live` are the rows that say what is; `removed` those that take a record away."""
        removed = f"NOT bad AND coalesce({STATUS}, '') = '{Status.TO_BE_DELETED}'"
        live = f"NOT bad AND coalesce({STATUS}, '') <> '{Status.TO_BE_DELETED}'"
        await self.connection.exec_driver_sql(
            f"CREATE TEMPORARY TABLE {file.table} (index bigint, bad boolean, {file.shelf.definition}, "
            f"live boolean GENERATED ALWAYS AS ({live}) STORED, removed boolean GENERATED ALWAYS AS ({removed}) STORED"
            ") ON COMMIT DROP"
        )

    async def read(self, file: File, entry: Entry, mode: Mode, taken_at: datetime) -> None:
        """`taken_at` is the source time of what is said in bulk."""
        self.report.tally(entry.name)
        if entry.flaw:
            self.lost.add(file.name)
            return
        with entry.opened(self.report) as lines:
            header = self._header(lines, file, delta=mode is Mode.DELTA)
            if header is not None:
                self.headers[file.name] = frozenset(header)
                await self._copy(file, lines, header, None if mode is Mode.DELTA else taken_at)
            if header is None or lines.overlooked:
                self.lost.add(file.name)
        await self.connection.exec_driver_sql(f"ANALYZE {file.table}")

    def _header(self, lines: CsvFile, file: File, *, delta: bool) -> list[str] | None:
        """Without the names of columns that are not read. In bulk the times of rows are not: see decision 0020."""
        names = lines.names()
        columns = file.columns(delta=delta)
        if names is None or not _is_good(lines, names, columns):
            return None
        return [name if name in columns and (delta or name != MODIFIED) else "" for name in names]

    async def _copy(self, file: File, lines: CsvFile, header: list[str], taken_at: datetime | None) -> None:
        types = ["int8", "bool", *file.shelf.types]
        table = f"{file.table} (index, bad, {', '.join(file.shelf.columns)})"
        reading = Reading(file, lines, header, taken_at)
        count = 0
        for rows in chunks(lines.rows(len(header))):
            await copy_rows(self.connection, table, types, reading.values(rows))
            count += len(rows)
            self.progress(lines.name, count)
        if reading.keyless:
            self.lost.add(file.name)


class Reading:
    """One file being read. `keyless`: whether a row has no key that is understood."""

    def __init__(self, file: File, lines: CsvFile, header: list[str], taken_at: datetime | None) -> None:
        self.columns, self.lines, self.taken_at = file.shelf.columns, lines, taken_at
        self.layout = Layout(file.shelf, header, MODIFIED)
        enough = [name if name in file.removal.columns else "" for name in header]
        self.removal = Layout(file.removal, enough, MODIFIED)
        self.keyless = False

    def values(self, rows: Iterable[Row]) -> Iterator[Raw]:
        """Of an invalid row what is understood: its references are looked at, and those to it are not blamed."""
        for line, cells in rows:
            row = self.layout.row(cells)
            try:
                yield line, False, *self._read(row)
            except InvalidRow as invalid:
                yield line, True, *self._understood(line, invalid)

    def _read(self, row: dict[str, Any]) -> Values:
        removed = row.get(STATUS, "").lower() == Status.TO_BE_DELETED
        try:
            values = self.layout.read(row.copy(), UTC, self.taken_at)
        except InvalidRow:
            if not removed:
                raise
            return self._removal(row)
        if self.taken_at is None and STATUS not in row:
            raise InvalidRow({STATUS: "This is required in a delta file."}, values)
        return values

    def _removal(self, row: dict[str, Any]) -> Values:
        """Who takes a record away need not say all about it."""
        named = {name: cell for name, cell in row.items() if name in self.removal.shelf.columns}
        try:
            return self._widened(self.removal.read(named, UTC, self.taken_at))
        except InvalidRow as invalid:
            raise InvalidRow(invalid.faults, self._widened(invalid.understood)) from None

    def _widened(self, values: Values) -> Values:
        found = dict(zip(self.removal.shelf.columns, values, strict=True))
        return tuple(found.get(column) for column in self.columns)

    def _understood(self, line: int, invalid: InvalidRow) -> Values:
        for column, message in invalid.faults.items():
            self.lines.add("CELL_INVALID", message, line, column)
        self.keyless |= KEY in invalid.faults
        return invalid.understood


def _is_good(lines: CsvFile, names: Sequence[str], columns: Mapping[str, bool]) -> bool:
    before = lines.report.problem_count
    absent = {column.lower(): column for column in columns if column not in names}
    for place, name in enumerate(names):
        if name in columns and name in names[:place]:
            lines.add("COLUMN_REPEATED", "This column stands in the header twice.", 1, name)
        elif name not in columns and (near := _misspelt(name, absent)):
            lines.add("COLUMN_UNKNOWN", f"This is not a column of the standard; did you mean {near}?", 1, name)
    for name in absent.values():
        if columns[name]:
            lines.add("COLUMN_MISSING", "This column is required.", 1, name)
    return lines.report.problem_count == before


def _misspelt(name: str, absent: Mapping[str, str]) -> str | None:
    """A column that would be read, had it its own name. Senders may have columns of their own."""
    if name in PASSED_OVER or name.startswith(OWN_COLUMN):
        return None
    return nearest(name, absent, alike=0.8)
