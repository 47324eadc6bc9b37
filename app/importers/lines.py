"""One CSV file: its header and its rows, each with the number of its first line. What cannot be read is a problem."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from app.importers.report import CellProblem, Report

LINE_LIMIT = 1_000_000
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
SEPARATORS = {b";": "semicolons", b"\t": "tabs", b"|": "vertical bars"}

Row = tuple[int, list[str]]


class CsvFile:
    """Open, and read in a stream: neither a line nor a cell may grow without bound.

    `overlooked`: whether there are lines of which nobody can say what they speak of. `garbled`: the last that is not
    UTF-8.
    """

    def __init__(self, stream: BufferedReader, name: str, report: Report) -> None:
        self.stream, self.name, self.report = stream, name, report
        self.overlooked, self.garbled = False, 0
        self.reader = csv.reader(self._lines(), strict=True)

    def add(
        self, code: str, message: str, line: int | None = None, column: str | None = None, *, count: int = 1
    ) -> None:
        self.report.add(CellProblem(code, message, self.name, line, column), count=count)

    def header(self, columns: Mapping[str, bool]) -> list[str] | None:
        """The header if it is good: it has only `columns`, once each, and all of those that are required."""
        before = self.report.problem_count
        names = self.names()
        if names is None:
            return None
        known = {name: name for name in columns}
        for place, name in enumerate(names):
            if name not in columns:
                self.add("COLUMN_UNKNOWN", f"This is not a column that is read{meant(name, known)}", 1, name)
            elif name in names[:place]:
                self.add("COLUMN_REPEATED", "This column stands in the header twice.", 1, name)
        for name, required in columns.items():
            if required and name not in names:
                self.add("COLUMN_MISSING", "This column is required.", 1, name)
        return names if self.report.problem_count == before else None

    def names(self) -> list[str] | None:
        """What the first line calls the columns; None if it cannot be read."""
        if message := _unlike_csv(self.stream.peek()):
            self._overlook("FILE_NOT_CSV", message, 1)
            return None
        names = next(self._rows(), (1, []))[1]
        return None if self.overlooked else names

    def rows(self, width: int) -> Iterator[Row]:
        """Blank lines are passed over, and what is not UTF-8, which is told already."""
        for line, cells in self._rows():
            if line <= self.garbled:
                continue
            if len(cells) == width:
                yield line, cells
            elif cells:
                self._overlook("ROW_LENGTH", f"Expected {width} cells, as in the header; found {len(cells)}.", line)

    def _overlook(self, code: str, message: str, line: int) -> None:
        self.overlooked = True
        self.add(code, message, line)

    def _rows(self) -> Iterator[Row]:
        try:
            while True:
                line = self.reader.line_num + 1
                yield line, next(self.reader)
        except StopIteration:
            return
        except csv.Error as error:
            message = f"This cannot be read from here on: {error}. Is a quotation mark left open, or not doubled?"
            self._overlook("FILE_NOT_CSV", message, line)

    def _lines(self) -> Iterator[str]:
        number = 0
        while data := self.stream.readline(LINE_LIMIT):
            number += 1
            if len(data) == LINE_LIMIT:
                message = f"This cannot be read from here on: a line of {LINE_LIMIT:,} bytes or more."
                self._overlook("FILE_NOT_CSV", message, number)
                return
            yield self._decoded(data.removeprefix(BYTE_ORDER_MARK) if number == 1 else data, number)

    def _decoded(self, data: bytes, number: int) -> str:
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            self.garbled = number
            message = f"This is not UTF-8 (byte {error.start + 1} of the line); save the file as UTF-8."
            self._overlook("FILE_NOT_UTF8", message, number)
            return data.decode(errors="replace")


@contextmanager
def opened(path: Path, report: Report) -> Iterator[CsvFile]:
    with path.open("rb") as stream:
        yield CsvFile(stream, path.name, report)


def _unlike_csv(beginning: bytes) -> str | None:
    """What is wrong with a file as a whole, in one line rather than one for each column that cannot be found."""
    header = beginning.removeprefix(BYTE_ORDER_MARK).partition(b"\n")[0]
    if not header.strip():
        return f"The {'first line' if beginning.strip() else 'file'} is empty; the first line names the columns."
    used = [words for separator, words in SEPARATORS.items() if separator in header and b"," not in header]
    return f"The file is separated by {used[0]}; commas are needed." if used else None


def meant(name: str, known: Mapping[str, str]) -> str:
    """A hint at what a misspelt name may have been. `known`: what is right, by what it may be called."""
    near = nearest(name, known, alike=0.65)
    return f"; did you mean {near}?" if near else f"; these are: {', '.join(dict.fromkeys(known.values()))}."


def nearest(name: str, known: Mapping[str, str], *, alike: float) -> str | None:
    near = difflib.get_close_matches(name.strip().lower(), known, n=1, cutoff=alike)
    return known[near[0]] if near else None
