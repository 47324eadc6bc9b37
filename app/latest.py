"""What the records of classes are now, from the database itself; and what became of those that are gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.records import COLUMNS, Record

ANY_VERSION = -1
MOST_NEW = 1_000  # records in an answer


class Latest(NamedTuple):
    """`version` is that of the record; where there is none, the version it had, or 0 if there never was one."""

    class_id: str
    version: int
    record: Record | None


READ = text(f"""
SELECT asked.class_id AS asked, r.version AS reached, {COLUMNS}
FROM unnest(CAST(:ids AS text[]), CAST(:versions AS integer[])) AS asked (class_id, version)
LEFT JOIN (class_performance p JOIN class c ON c.id = p.class_id) ON p.class_id = asked.class_id
LEFT JOIN version_reached r ON r.class_id = asked.class_id AND p.class_id IS NULL
WHERE coalesce(p.version, 0) <> asked.version
""")

READ_OTHERS = text(f"""
SELECT {COLUMNS} FROM class_performance p JOIN class c ON c.id = p.class_id
WHERE (:everywhere OR c.school_id = ANY(:schools))
  AND NOT EXISTS (SELECT FROM unnest(CAST(:ids AS text[])) AS known (class_id) WHERE known.class_id = p.class_id)
ORDER BY p.class_id LIMIT {MOST_NEW}
""")

LIST = text("""
SELECT p.class_id, c.school_id, p.version FROM class_performance p JOIN class c ON c.id = p.class_id
WHERE :everywhere OR c.school_id = ANY(:schools) OR c.id = ANY(:ids)
""")


async def read_changed(connection: AsyncConnection, versions: Mapping[str, int]) -> list[Latest]:
    """Of these classes those whose record has another version; 0 is the version of none."""
    rows = await connection.execute(READ, {"ids": list(versions), "versions": list(versions.values())})
    return [_latest(dict(row)) for row in rows.mappings()]


async def read_others(
    connection: AsyncConnection, class_ids: Sequence[str], schools: Sequence[str] | None
) -> list[Record]:
    """Records of other classes than these, of these schools or (None) of all, at most MOST_NEW."""
    where = {"everywhere": schools is None, "schools": list(schools or ())}
    rows = await connection.execute(READ_OTHERS, {**where, "ids": list(class_ids)})
    return [Record.from_row(row) for row in rows.mappings()]


async def list_versions(
    connection: AsyncConnection, schools: Sequence[str] | None, class_ids: Sequence[str]
) -> list[tuple[str, str, int]]:
    """Class, school and version of every record of these schools or (None) of all, and of these classes."""
    where = {"everywhere": schools is None, "schools": list(schools or ()), "ids": list(class_ids)}
    return [(row.class_id, row.school_id, row.version) for row in await connection.execute(LIST, where)]


def _latest(row: dict[str, Any]) -> Latest:
    class_id, reached = row.pop("asked"), row.pop("reached")
    if row["class_id"] is None:
        return Latest(class_id, reached or 0, None)
    record = Record.from_row(row)
    return Latest(class_id, record.version, record)
