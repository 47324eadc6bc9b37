"""What every import has in common: one transaction, a source time, numbers stored with the facts they follow from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.columns import EARLIEST
from app.database import transaction
from app.errors import BadInput
from app.importers.lines import Row
from app.importers.report import Report
from app.performance import BATCH, recalculate_many

CHUNK = 5_000
CALCULATING = "Calculating"
CLOCK_DIFFERENCE = timedelta(minutes=5)

Progress = Callable[[str, int], None]


def silent(file: str, rows: int) -> None:
    """Progress that nobody watches."""


def require_source_time(recorded_at: datetime | None) -> None:
    """Once, rather than for every row."""
    if recorded_at is None:
        return
    given = f"--recorded-at: {recorded_at.isoformat()}"
    if recorded_at > datetime.now(UTC) + CLOCK_DIFFERENCE:
        raise BadInput(f"{given} is in the future: a source time is when the facts were recorded.")
    if recorded_at < EARLIEST:
        raise BadInput(f"{given} is before {EARLIEST.year}.")


@asynccontextmanager
async def rehearsed(engine: AsyncEngine, report: Report) -> AsyncIterator[AsyncConnection]:
    """A transaction without hurry, that commits if this is no rehearsal and nothing is wrong."""
    async with transaction(engine, unhurried=True) as connection:
        for setting in ("lock_timeout = 0", "work_mem = '64MB'"):
            await connection.exec_driver_sql(f"SET LOCAL {setting}")
        yield connection
        begun = connection.get_transaction()
        if begun and not report.is_stored:
            await begun.rollback()


async def calculate(connection: AsyncConnection, class_ids: Sequence[str], progress: Progress) -> None:
    """In the same transaction: facts and the numbers that follow from them are stored together."""
    for start in range(0, len(class_ids), BATCH):
        await recalculate_many(connection, class_ids[start : start + BATCH])
        progress(CALCULATING, min(start + BATCH, len(class_ids)))


def chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while chunk := list(islice(rows, CHUNK)):
        yield chunk
