"""Is everything that was acknowledged stored, and everything reported stored once?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

from app.metrics import METRIC_NAMES
from tests.soak.evidence import KEPT, ONE, Evidence, Report, Violation
from tests.soak.words import metrics_of

Row = dict[str, Any]
Connection = psycopg.Connection[Row]

# By kind of fact: the key's columns, and a statement that gives them first and the content after them.
STORED = {
    "attendance": (4, "SELECT class_id, student_id, session_date::text, session_key, status FROM attendance"),
    "grade": (
        4,
        "SELECT class_id, activity_id, student_id, attempt, score::float8, feedback, graded_at FROM submission "
        "WHERE grade_recorded_at > '2000-01-01'",
    ),
    "submission": (
        4,
        "SELECT class_id, activity_id, student_id, attempt, submitted_at FROM submission "
        "WHERE recorded_at > '2000-01-01'",
    ),
    "award": (2, "SELECT class_id, id, student_id, points FROM points_award WHERE starts_with(id, 'g')"),
    "program award": (1, "SELECT id, class_id, student_id, points FROM points_award WHERE starts_with(id, 'p')"),
    "custom": (1, "SELECT class_id, custom FROM class_performance WHERE custom IS NOT NULL"),
    "class": (1, "SELECT id, school_id FROM class WHERE starts_with(id, 'new-')"),
}
HISTORY = "SELECT * FROM class_performance_history ORDER BY class_id, version"
PINNED = f"SELECT class_id, version, pinned_metrics, {', '.join(METRIC_NAMES)} FROM class_performance"


def violations(database_url: str, evidence: Evidence) -> Iterator[Violation]:
    with psycopg.connect(database_url, options="-c timezone=UTC", row_factory=dict_row) as connection:
        yield from _facts(connection, evidence)
        history = connection.execute(HISTORY).fetchall()
        yield from _reports(history, evidence.reports)
        yield from _pins(history, connection.execute(PINNED).fetchall())
        yield from _versions(history, evidence)


def _facts(connection: Connection, evidence: Evidence) -> Iterator[Violation]:
    for kind, (width, statement) in STORED.items():
        rows = [tuple(map(_plain, row.values())) for row in connection.execute(statement.encode())]
        stored = {row[:width]: row[width] if len(row) == width + 1 else row[width:] for row in rows}
        yield from evidence.ledger.violations(kind, stored)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _reports(history: Sequence[Row], reports: Sequence[Report]) -> Iterator[Violation]:
    """History tells how often a value was stored, for no two reports have the same."""
    made: defaultdict[tuple[str, str, int], list[int]] = defaultdict(list)
    for row in history:
        if row["cause"] == "reported":
            for metric in row["fields"]:
                made[row["class_id"], metric, row[metric]].append(row["version"])
    for report in reports:
        versions = made.pop((report.class_id, report.metric, report.value or 0), [])
        if report.value is not None and (problem := _problem(report, versions)):
            yield Violation(KEPT, f"{report}: {problem}; history has versions {versions}")
    yield from (Violation(KEPT, f"nobody reported {what}, which made versions {v}") for what, v in made.items())


def _problem(report: Report, versions: list[int]) -> str | None:
    if len(versions) > 1:
        return "stored more than once"
    if report.refused and (versions or report.versions):
        return "refused, and stored"
    if report.versions and not versions:
        return "acknowledged, and not stored"
    if report.versions and {*report.versions} != {*versions}:
        return "told of another version than it made"
    return None


def _pins(history: Sequence[Row], records: Sequence[Row]) -> Iterator[Violation]:
    """What was reported last stands in the record until it is unpinned."""
    pinned: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for row in history:
        for metric in row["fields"]:
            if row["cause"] == "reported":
                pinned[row["class_id"]][metric] = row[metric]
            else:
                pinned[row["class_id"]].pop(metric, None)
    for record in records:
        expected = pinned[record["class_id"]]
        found = {metric: record[metric] for metric in record["pinned_metrics"]}
        if found != expected:
            yield Violation(KEPT, f"{record['class_id']} has {found} pinned; history says {expected}")


def _versions(history: Sequence[Row], evidence: Evidence) -> Iterator[Violation]:
    """Whatever anybody saw of a version is what history has of it."""
    remembered = {(row["class_id"], row["version"]): row for row in history}
    for version, seen in evidence.sightings.contents.items():
        row = remembered.get(version)
        if row is not None and (wrong := _difference(metrics_of(seen), row)):
            yield Violation(ONE, f"{version} was seen otherwise than history has it: {wrong}")


def _difference(seen: Mapping[str, Any], row: Row) -> dict[str, tuple[Any, Any]]:
    return {name: (value, row[name]) for name, value in seen.items() if value != row[name]}
