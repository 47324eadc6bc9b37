"""One CSV file: its header and its rows, each with the number of its first line. What cannot be read is a problem."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from app.importers.report import CellProblem, Report

LINE_LIMIT = 1_000_000
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

Row = tuple[int, list[str]]


class CsvFile:
    """Open, and read in a stream: neither a line nor a cell may grow without bound."""

    def __init__(self, stream: BinaryIO, name: str, report: Report) -> None:
        self.stream, self.name, self.report = stream, name, report
        self.reader = csv.reader(self._lines(), strict=True)

    def add(
        self, code: str, message: str, line: int | None = None, column: str | None = None, *, count: int = 1
    ) -> None:
        self.report.add(CellProblem(code, message, self.name, line, column), count=count)

    def header(self, columns: Mapping[str, bool]) -> list[str] | None:
        """The header if it is good: it has only `columns`, once each, and all of those that are required."""
        before = self.report.problem_count
        names = next(self._rows(), (1, []))[1]
        for place, name in enumerate(names):
            if name not in columns:
                self.add("COLUMN_UNKNOWN", f"there is no such column{meant(name, columns)}", 1, name)
            elif name in names[:place]:
                self.add("COLUMN_REPEATED", "this column stands in the header twice", 1, name)
        for name, required in columns.items():
            if required and name not in names:
                self.add("COLUMN_MISSING", "this column is required", 1, name)
        return names if self.report.problem_count == before else None

    def rows(self, width: int) -> Iterator[Row]:
        """Blank lines are passed over."""
        for line, cells in self._rows():
            if len(cells) == width:
                yield line, cells
            elif cells:
                self.add("ROW_LENGTH", f"expected {width} cells, as in the header; found {len(cells)}", line)

    def _rows(self) -> Iterator[Row]:
        try:
            while True:
                line = self.reader.line_num + 1
                yield line, next(self.reader)
        except StopIteration:
            return
        except csv.Error as error:
            message = f"cannot be read from here on: {error}. Is a quotation mark left open, or not doubled?"
            self.add("FILE_NOT_CSV", message, line)

    def _lines(self) -> Iterator[str]:
        number = 0
        while data := self.stream.readline(LINE_LIMIT):
            number += 1
            if len(data) == LINE_LIMIT:
                self.add("FILE_NOT_CSV", f"cannot be read from here on: a line of {LINE_LIMIT:,} bytes or more", number)
                return
            yield self._decoded(data.removeprefix(BYTE_ORDER_MARK) if number == 1 else data, number)

    def _decoded(self, data: bytes, number: int) -> str:
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            message = f"is not UTF-8 (byte {error.start + 1} of the line): save the file as UTF-8"
            self.add("FILE_NOT_UTF8", message, number)
            return data.decode(errors="replace")


@contextmanager
def opened(path: Path, report: Report) -> Iterator[CsvFile]:
    with path.open("rb") as stream:
        yield CsvFile(stream, path.name, report)


def meant(name: str, known: Collection[str]) -> str:
    """A hint at what a misspelt name may have been."""
    near = difflib.get_close_matches(name.strip().lower(), known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; there are: {', '.join(known)}"
