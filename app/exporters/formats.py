"""How rows are written: as CSV, or as Parquet where pyarrow is installed."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from io import TextIOWrapper
from typing import IO, Any, Protocol

import orjson

from app.errors import BadInput
from app.exporters.tables import Column, Rows

# Enough for a column to be packed well, few enough to be held.
ROW_GROUP = 10_000


class Format(StrEnum):
    CSV = "csv"
    PARQUET = "parquet"


class Writer(Protocol):
    def write(self, rows: Rows) -> None: ...


@contextmanager
def writer(format_: Format, stream: IO[bytes], columns: Sequence[Column]) -> Iterator[Writer]:
    """What it is given is all in the stream when it ends."""
    with (_csv if format_ is Format.CSV else _parquet)(stream, columns) as open_writer:
        yield open_writer


class CsvWriter:
    """RFC 4180 but for the ends of lines, in UTF-8. A null is an empty cell; lists are JSON."""

    def __init__(self, text: TextIOWrapper, columns: Sequence[Column]) -> None:
        self.rows = csv.writer(text, lineterminator="\n")
        self.rows.writerow(column.name for column in columns)
        self.instants = {place for place, column in enumerate(columns) if column.kind == "instant"}
        self.lists = {place for place, column in enumerate(columns) if column.kind == "words"}

    def write(self, rows: Rows) -> None:
        self.rows.writerows(map(self._cells, rows))

    def _cells(self, row: Sequence[Any]) -> list[Any]:
        cells = list(row)
        for place in self.instants:
            cells[place] = _written(cells[place])
        for place in self.lists:
            cells[place] = orjson.dumps(cells[place]).decode()
        return cells


def _written(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@contextmanager
def _csv(stream: IO[bytes], columns: Sequence[Column]) -> Iterator[Writer]:
    text = TextIOWrapper(stream, encoding="utf-8", newline="")
    try:
        yield CsvWriter(text, columns)
    finally:
        text.detach()


class ParquetWriter:
    """Gathers rows into row groups."""

    def __init__(self, arrow: Any, file: Any, schema: Any) -> None:
        self.arrow, self.file, self.schema = arrow, file, schema
        self.batches: list[Any] = []

    def write(self, rows: Rows) -> None:
        columns: Iterable[Any] = zip(*rows, strict=True)
        arrays = [self.arrow.array(list(cells), field.type) for cells, field in zip(columns, self.schema, strict=True)]
        self.batches.append(self.arrow.RecordBatch.from_arrays(arrays, schema=self.schema))
        if sum(batch.num_rows for batch in self.batches) >= ROW_GROUP:
            self.flush()

    def flush(self) -> None:
        if self.batches:
            self.file.write_table(self.arrow.Table.from_batches(self.batches, self.schema))
            self.batches = []


@contextmanager
def _parquet(stream: IO[bytes], columns: Sequence[Column]) -> Iterator[Writer]:
    arrow, parquet = _libraries()
    schema = arrow.schema([arrow.field(column.name, _type(arrow, column.kind)) for column in columns])
    with parquet.ParquetWriter(stream, schema, compression="zstd") as file:
        gathering = ParquetWriter(arrow, file, schema)
        yield gathering
        gathering.flush()


def _libraries() -> tuple[Any, Any]:
    """Not imported before it is needed, for it may not be there."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise BadInput("Parquet needs pyarrow: pip install 'class-performance[export]'. CSV does not.") from None
    return pyarrow, pyarrow.parquet


def _type(arrow: Any, kind: str) -> Any:
    types = {
        "whole": arrow.int64(),
        "number": arrow.float64(),
        "instant": arrow.timestamp("us", tz="UTC"),
        "words": arrow.list_(arrow.string()),
    }
    return types.get(kind, arrow.string())
