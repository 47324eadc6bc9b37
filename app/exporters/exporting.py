"""Exports rows to a file or to standard output, in a stream."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from app.exporters import destination
from app.exporters.formats import Format, writer
from app.exporters.tables import Export


async def export(
    engine: AsyncEngine,
    what: Export,
    format_: Format,
    path: Path | None,
    *,
    progress: Callable[[int], None] = lambda rows: None,
) -> int:
    """How many rows were written. `progress` is called with the number so far."""
    count = 0
    with destination.opened(path) as stream, writer(format_, stream, what.columns) as file:
        async for rows in what.rows(engine):
            file.write(rows)
            count += len(rows)
            progress(count)
    return count
