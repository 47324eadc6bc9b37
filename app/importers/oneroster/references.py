"""What the rows of a package may not say: references to what is nowhere, and what contradicts itself or the stored.

Each check is a query for the lines at fault, with the value that is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.importers.oneroster.files import KEY, MODIFIED, File
from app.importers.oneroster.manifest import Mode
from app.importers.report import MOST_PROBLEMS, CellProblem, Report

# In an enrollment: others are not students or teachers of the class.
MEMBERS = "('student', 'teacher')"


@dataclass(frozen=True, slots=True)
class Check:
    """`target` is the file referred to, if any: while not all of it is known, nothing can be said."""

    file: str
    column: str
    code: str
    query: str
    message: Callable[[str], str]
    target: str | None = None


async def check(
    connection: AsyncConnection,
    files: Mapping[str, File],
    names: Mapping[str, str],
    modes: Mapping[str, Mode],
    lost: Collection[str],
    report: Report,
    *,
    zone_known: bool,
) -> None:
    """In the order of the files: where bad rows are left out, so is what refers to them. `names`: as in the package."""
    skipping = bool(report.skips) and not report.blocking
    for each in _checks(files, modes, "o.live" if skipping else "(o.live OR o.bad)", zone_known):
        if each.file in names and (skipping or each.target not in lost):
            await _find(connection, files[each.file], names[each.file], each, report)


async def _find(connection: AsyncConnection, file: File, name: str, check: Check, report: Report) -> None:
    marking = f"UPDATE {file.table} AS r SET bad = true FROM found WHERE r.index = found.index RETURNING 1"
    statement = f"""
        WITH found AS MATERIALIZED ({check.query}){f", marked AS ({marking})" if report.skips else ""}
        SELECT index AS line, value, count(*) OVER () AS total FROM found ORDER BY index
        LIMIT {max(1, MOST_PROBLEMS - len(report.problems))}
    """
    rows = (await connection.execute(text(statement))).all()
    for row in rows:
        report.add(CellProblem(check.code, check.message(row.value), name, row.line, check.column))
    if rows:
        report.count(name, check.code, rows[0].total - len(rows))


def _checks(files: Mapping[str, File], modes: Mapping[str, Mode], there: str, zone_known: bool) -> Iterator[Check]:
    for file in files.values():
        yield _in_future(file) if modes.get(file.name) is Mode.DELTA else _repeated(file)
        yield from _of_file(file.name, modes, there, zone_known)


def _of_file(name: str, modes: Mapping[str, Mode], there: str, zone_known: bool) -> Iterator[Check]:
    all_orgs = modes.get("orgs") is Mode.BULK
    if name == "orgs" and not zone_known:
        yield _without_zone()
    elif name == "classes":
        yield _missing(name, "schoolSourcedId", "orgs", "school", "school", there, "(o.bad OR o.type = 'school')")
        yield _moved()
        if modes.get("academicSessions") is Mode.BULK:
            yield _missing_in_list(name, "termSourcedIds", "academicSessions", "academic session", there)
    elif name == "users" and all_orgs:
        yield _missing_in_list(name, "orgSourcedIds", "orgs", "org", there, "school")
    elif name == "roles":
        yield _missing(name, "userSourcedId", "users", "user", "person", there)
        if all_orgs:
            yield _missing(name, "orgSourcedId", "orgs", "org", "school", there)
    elif name == "enrollments":
        yield _missing(name, "classSourcedId", "classes", "class", "class", there, rows=f"r.role IN {MEMBERS}")
        yield _missing(name, "userSourcedId", "users", "user", "person", there, rows=f"r.role IN {MEMBERS}")
    elif name == "lineItems":
        yield _missing(name, "classSourcedId", "classes", "class", "class", there)
        yield _missing(name, "categorySourcedId", "categories", "category", "category", there)
    elif name == "results":
        yield _missing(name, "lineItemSourcedId", "lineItems", "line item", "activity", there)
        yield _missing(name, "studentSourcedId", "users", "user", "person", there)


def _missing(
    file: str, column: str, target: str, thing: str, table: str, there: str, kind: str = "true", rows: str = "true"
) -> Check:
    """Neither in the file of the package nor stored."""
    query = f"""
        SELECT r.index, r.{column} AS value FROM oneroster_{file.lower()} AS r
        WHERE NOT r.removed AND r.{column} IS NOT NULL AND {rows}
          AND NOT EXISTS (SELECT FROM oneroster_{target.lower()} AS o WHERE o.{KEY} = r.{column} AND {there} AND {kind})
          AND NOT EXISTS (SELECT FROM "{table}" AS s WHERE s.id = r.{column})
    """
    return Check(file, column, _code(thing), query, _nowhere(thing, target), target)


def _missing_in_list(file: str, column: str, target: str, thing: str, there: str, table: str | None = None) -> Check:
    """The first of the ids in a cell that is nowhere."""
    stored = f'SELECT FROM "{table}" AS s WHERE s.id = btrim(listed.id)' if table else "SELECT WHERE false"
    query = f"""
        SELECT DISTINCT ON (r.index) r.index, btrim(listed.id) AS value
        FROM oneroster_{file.lower()} AS r
        CROSS JOIN LATERAL unnest(string_to_array(r.{column}, ',')) WITH ORDINALITY AS listed (id, place)
        LEFT JOIN oneroster_{target.lower()} AS o ON o.{KEY} = btrim(listed.id) AND {there}
        WHERE NOT r.removed AND btrim(listed.id) <> '' AND o.{KEY} IS NULL AND NOT EXISTS ({stored})
        ORDER BY r.index, listed.place
    """
    return Check(file, column, _code(thing), query, _nowhere(thing, target), target)


def _code(thing: str) -> str:
    return f"{thing.upper().replace(' ', '_')}_NOT_FOUND"


def _nowhere(thing: str, target: str) -> Callable[[str], str]:
    return lambda value: f"There is no {thing} {value!r}, neither in {target}.csv nor stored. Add it, or correct this."


def _moved() -> Check:
    query = """
        SELECT r.index, coalesce(c.school_id, other.school_id) AS value
        FROM oneroster_classes AS r
        LEFT JOIN class AS c ON c.id = r.sourcedId
        LEFT JOIN (
            SELECT sourcedId, min(schoolSourcedId) AS school_id FROM oneroster_classes GROUP BY sourcedId
        ) AS other ON other.sourcedId = r.sourcedId
        WHERE NOT r.removed AND r.schoolSourcedId <> coalesce(c.school_id, other.school_id)
    """
    return Check(
        *("classes", "schoolSourcedId", "SCHOOL_IS_FIXED", query),
        lambda value: f"The class belongs to school {value!r}, and stays there. Give it another sourcedId.",
    )


def _without_zone() -> Check:
    query = f"""
        SELECT o.index, o.{KEY} AS value FROM oneroster_orgs AS o
        WHERE o.live AND o.type = 'school' AND NOT EXISTS (SELECT FROM school AS s WHERE s.id = o.{KEY})
    """
    return Check(
        *("orgs", KEY, "TIME_ZONE_MISSING", query),
        lambda value: f"School {value!r} is new, and the package has no time zones: give it with --time-zone.",
    )


def _in_future(file: File) -> Check:
    query = f"""
        SELECT index, {MODIFIED}::text AS value FROM {file.table}
        WHERE {MODIFIED} > clock_timestamp() + interval '5 minutes'
    """
    return Check(
        *(file.name, MODIFIED, "RECORDED_IN_FUTURE", query),
        lambda value: f"{value} is in the future: it is when the record was last changed.",
    )


def _repeated(file: File) -> Check:
    said = ", ".join(f"t.{column}" for column in file.shelf.columns)
    query = f"""
        SELECT index, sourcedId AS value FROM (
            SELECT t.index, t.{KEY}, ROW({said})::text AS said,
                   first_value(ROW({said})::text) OVER (PARTITION BY t.{KEY} ORDER BY t.index) AS said_first
            FROM {file.table} AS t
            WHERE NOT t.bad AND t.{KEY} IN (SELECT {KEY} FROM {file.table} GROUP BY {KEY} HAVING count(*) > 1)
        ) AS told WHERE said <> said_first
    """
    return Check(
        *(file.name, KEY, "RECORD_REPEATED", query),
        lambda value: f"A row above has the sourcedId {value!r}, too, and says something else. Keep one.",
    )
