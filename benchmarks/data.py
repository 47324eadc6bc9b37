"""Data: how fast a district is made and a folder is imported, and in how much memory, at two sizes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import psycopg
from sqlalchemy import Boolean, DateTime

from app.importers.cells import columns_of
from app.importers.csv_folder import FILES
from app.settings import Settings
from app.shelf import Shelf, shelf
from benchmarks import world
from benchmarks.job import Outcome, perform
from benchmarks.table import Table, number, ratio

HEADER = ("", "classes", "facts", "seconds", "facts/s", "time / COPY", "peak MB")
SEED, COPY = "seed: generate and store", "COPY of the CSV files, bare"
FIRST, AGAIN = "import into an empty database", "import again, nothing changes"


@dataclass(frozen=True, slots=True)
class Size:
    classes: tuple[int, ...]
    rounds: int


FULL, QUICK = Size((25, 100), rounds=3), Size((3, 6), rounds=1)


def run(quick: bool = False) -> Table:
    size = QUICK if quick else FULL
    table = Table("Data: each in a process of its own", HEADER)
    with world.servers() as settings:
        for classes in size.classes:
            _measure(table, settings, classes, size.rounds)
    table.notes.append(f"Ratios: the median of {size.rounds} round(s) (least-greatest).")
    return table


def _measure(table: Table, settings: Settings, classes: int, rounds: int) -> None:
    found = [_round(settings, classes, number) for number in range(rounds)]
    copied = [outcomes[COPY] for outcomes in found]
    for name in found[0]:
        table.rows.append(_row(name, classes, [outcomes[name] for outcomes in found], copied))


def _round(settings: Settings, classes: int, number: int) -> dict[str, Outcome]:
    databases = (f"{name}_{classes}_{number}" for name in ("source", "plain", "target"))
    source, plain, target = (world.database(settings, name) for name in databases)
    outcomes = {SEED: perform(source, "seed", classes)}
    with _exported(source) as folder:
        outcomes[COPY] = perform(plain, "copy", folder)
        outcomes[FIRST] = perform(target, "import", folder)
        outcomes[AGAIN] = perform(target, "import", folder)
    assert outcomes[COPY].facts == outcomes[FIRST].facts == outcomes[AGAIN].unchanged
    return outcomes


def _row(name: str, classes: int, ours: list[Outcome], copied: list[Outcome]) -> tuple[str, ...]:
    facts = ours[0].facts + ours[0].unchanged
    seconds = median(outcome.seconds for outcome in ours)
    times = [outcome.seconds / facts for outcome in ours]
    against = "1" if name == COPY else ratio(times, [outcome.seconds / outcome.facts for outcome in copied])
    peak = max(outcome.megabytes for outcome in ours)
    return (name, str(classes), f"{facts:,}", number(seconds), number(facts / seconds), against, number(peak))


@contextmanager
def _exported(settings: Settings) -> Iterator[Path]:
    """A folder with all facts of a database, as a school's system might hand them over."""
    with TemporaryDirectory(prefix="classperf-bench-") as name:
        folder = Path(name)
        with psycopg.connect(settings.database_url.get_secret_value(), options="-c timezone=UTC") as connection:
            for file, kind in FILES.items():
                _export(connection, shelf(kind), folder / file)
        yield folder


def _export(connection: psycopg.Connection, here: Shelf, path: Path) -> None:
    columns = ", ".join(_written(here, column) for column in columns_of(here))
    statement = f'COPY (SELECT {columns} FROM "{here.table.name}") TO STDOUT (FORMAT csv, HEADER)'
    with path.open("wb") as file, connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
        for block in copy:
            file.write(block)


def _written(here: Shelf, column: str) -> str:
    kind = here.table.c[column].type
    if isinstance(kind, DateTime):
        return f"""to_char({column}, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS {column}"""
    return f"{column}::text AS {column}" if isinstance(kind, Boolean) else column
