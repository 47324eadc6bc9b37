"""The yard of the delivery hatch: facts wait here, in temporary tables, until all of a delivery is known to be good."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app import gradebook
from app.database import driver
from app.gradebook import Comparison, Fault, Source
from app.importers.cells import Values
from app.shelf import shelf

UTC = ZoneInfo("UTC")
REMEMBERED = 100_000


class Staging:
    """Lives in one transaction, and its tables end with it."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.connection = connection
        self.counts: dict[str, int] = {}
        self.zones: dict[tuple[str, str], ZoneInfo] = {}

    async def copy(self, kind: str, rows: Sequence[tuple[int, Values]]) -> None:
        """Rows are a line number and values in the order of the shelf's columns."""
        await self._create(kind)
        types = ["int8", *shelf(kind).types]
        await copy_rows(self.connection, _table(kind), types, ((line, *values) for line, values in rows))
        self.counts[kind] += len(rows)

    async def fill(self, kind: str, query: str, parameters: Mapping[str, Any]) -> int:
        """Take what a query gives: line numbers, null where there is none, and the shelf's columns in their order."""
        await self._create(kind)
        columns = ", ".join(("index", *shelf(kind).columns))
        found = await self.connection.execute(text(f"INSERT INTO {_table(kind)} ({columns}) {query}"), parameters)
        self.counts[kind] += found.rowcount
        return found.rowcount

    async def _create(self, kind: str) -> None:
        if kind not in self.counts:
            self.counts[kind] = 0
            await self._execute(
                f"CREATE TEMPORARY TABLE {_table(kind)} (index bigint, {shelf(kind).definition}) ON COMMIT DROP"
            )

    async def find_faults(self, kind: str, unsure: Collection[str], *, most: int) -> tuple[list[Fault], int]:
        """`unsure`: tables of which there are rows without a key that is known, so that a reference may be to them."""
        await self._execute(f"ANALYZE {_table(kind)}")
        staged = {shelf(other).table.name: _table(other) for other in self.counts}
        source = Source(_table(kind))
        return await gradebook.find_faults(self.connection, kind, source, most=most, staged=staged, unsure=unsure)

    async def compare(self, kind: str) -> Comparison:
        await self._execute(f"ANALYZE {_table(kind)}")
        return await gradebook.compare(self.connection, kind, Source(_table(kind)))

    async def merge(self, kind: str) -> tuple[int, list[str]]:
        return await gradebook.merge(self.connection, kind, Source(_table(kind)))

    async def find_zones(self, table: str, ids: set[str]) -> None:
        """Learn the time zones of these schools, or of these classes' schools, stored or staged."""
        unknown = [id for id in ids if (table, id) not in self.zones]
        if not unknown:
            return
        if table == "zone":
            self.zones |= {(table, name): ZoneInfo(name) for name in unknown if name in available_timezones()}
            return
        if len(self.zones) > REMEMBERED:
            self.zones.clear()
        statement = self._zones_of_schools() if table == "school" else self._zones_of_classes()
        for row in await self.connection.execute(text(statement), {"ids": unknown}):
            self.zones[table, row.id] = ZoneInfo(row.time_zone)

    def zone(self, table: str, id: str) -> ZoneInfo:
        """Where there is no such class or school, that is the fault to be found, not this."""
        return self.zones.get((table, id), UTC)

    def _zones_of_schools(self) -> str:
        """Of a school both stored and staged, the one that will remain. One not understood may lack its zone."""
        return f"""
            SELECT DISTINCT ON (id) id, time_zone FROM {self._both("school", "id, time_zone, title, recorded_at")}
            WHERE id = ANY(:ids) AND time_zone IS NOT NULL ORDER BY id, recorded_at DESC, title DESC, time_zone DESC
        """

    def _zones_of_classes(self) -> str:
        return f"""
            WITH class AS (
                SELECT DISTINCT id, school_id FROM {self._both("class", "id, school_id")} WHERE id = ANY(:ids)
            ), school AS (
                SELECT * FROM {self._both("school", "id, time_zone, title, recorded_at")}
                WHERE id IN (SELECT school_id FROM class) AND time_zone IS NOT NULL
            )
            SELECT DISTINCT ON (class.id) class.id, time_zone FROM class JOIN school ON school.id = school_id
            ORDER BY class.id, recorded_at DESC, school.title DESC, time_zone DESC
        """

    def _both(self, table: str, columns: str) -> str:
        parts = [f'SELECT {columns} FROM "{table}"']
        parts += [f"SELECT {columns} FROM {_table(kind)}" for kind in self.counts if shelf(kind).table.name == table]
        return f"({' UNION ALL '.join(parts)}) AS {table}"

    async def _execute(self, statement: str) -> None:
        await self.connection.exec_driver_sql(statement)


async def copy_rows(
    connection: AsyncConnection, table: str, types: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    psycopg = await driver(connection)
    async with psycopg.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN (FORMAT binary)") as copy:
        copy.set_types(types)
        for row in rows:
            await copy.write_row(row)


def _table(kind: str) -> str:
    return f"pg_temp.incoming_{kind}"
