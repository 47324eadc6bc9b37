"""Values that people and programs report for chosen metrics: pinned until they are unpinned."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.database import transaction
from app.errors import ClassPerformanceError, Problem, Rejected
from app.metrics import METRIC_NAMES, METRICS, Metric
from app.performance import Performance, recalculate_many
from app.records import COLUMNS, Record

CUSTOM = "custom"
CUSTOM_BYTES = 16_384
# Beyond it a whole number in floating point comes back from PostgreSQL as an integer that JSON writers refuse.
LARGEST_NUMBER = 2**63 - 1
KEY_LENGTH = 255

LOCK = text(
    f"SELECT {COLUMNS} FROM class_performance p JOIN class c ON c.id = p.class_id "
    "WHERE p.class_id = :class_id FOR NO KEY UPDATE OF p"
)
SINCE = text(
    "SELECT version, cause, fields FROM class_performance_history "
    "WHERE class_id = :class_id AND version > :version ORDER BY version"
)
CLAIM = text(
    "INSERT INTO idempotency_key (viewer, mutation, key, input_hash) VALUES (:viewer, :mutation, :key, :hash) "
    "ON CONFLICT DO NOTHING RETURNING true"
)
KEPT = text(
    "SELECT input_hash, result FROM idempotency_key WHERE viewer = :viewer AND mutation = :mutation AND key = :key"
)
KEEP = text(
    "UPDATE idempotency_key SET result = CAST(:result AS jsonb) "
    "WHERE viewer = :viewer AND mutation = :mutation AND key = :key"
)


@dataclass(frozen=True, slots=True)
class Report:
    """What somebody reports about a class: `values` by column; `custom` where the mapping has it, null clearing it."""

    class_id: str
    values: Mapping[str, float | int | None] = field(default_factory=dict)
    expected_version: int | None = None
    idempotency_key: str | None = None


class VersionConflict(ClassPerformanceError):
    """Somebody else reported or unpinned these fields since the version you expected."""

    code = "VERSION_CONFLICT"

    def __init__(self, record: Record, fields: Sequence[str]) -> None:
        super().__init__()
        self.record = record
        self.fields = list(fields)


_Apply = Callable[[AsyncConnection, Record], Awaitable[Record]]


class Reports:
    """Each report is one transaction; what it changed is published after the commit."""

    def __init__(self, engine: AsyncEngine, performance: Performance) -> None:
        self._engine = engine
        self._performance = performance

    async def update(self, actor: str, report: Report) -> Record:
        """Store the values and pin their metrics. Raises Rejected or VersionConflict; then nothing is stored."""
        values = _checked(report)
        return await self._once(
            actor, "updateMetrics", report, sorted(values), lambda c, r: _store(c, r, values, actor)
        )

    async def unpin(self, actor: str, report: Report) -> Record:
        """Take the pins from the metrics named in `report.values` and restore what is calculated."""
        names = sorted(report.values)
        return await self._once(actor, "unpinMetrics", report, names, lambda c, r: _unpin(c, r, names, actor))

    async def _once(self, actor: str, mutation: str, report: Report, names: list[str], apply: _Apply) -> Record:
        _check_key(report)
        identity = {"viewer": actor, "mutation": mutation, "key": report.idempotency_key}
        async with transaction(self._engine) as connection:
            kept = await _claim(connection, identity, report) if report.idempotency_key is not None else None
            if kept:
                return kept
            record = await _require(connection, report.class_id)
            await _refuse_conflicts(connection, record, report, names)
            record = await apply(connection, record)
            result = record.to_json().decode()  # what cannot be written down must not be committed
            if report.idempotency_key is not None:
                await connection.execute(KEEP, {**identity, "result": result})
        await self._performance.publish([record])
        return record


async def _claim(connection: AsyncConnection, identity: Mapping[str, Any], report: Report) -> Record | None:
    """Take the key, or wait for whoever holds it and give what they were given."""
    digest = _digest(report)
    if (await connection.execute(CLAIM, {**identity, "hash": digest})).first():
        return None
    kept = (await connection.execute(KEPT, identity)).one()
    if bytes(kept.input_hash) != digest:
        raise Rejected(
            [Problem("IDEMPOTENCY_KEY_REUSED", "This key was used with another input.", ("idempotencyKey",))]
        )
    try:
        return Record.from_json(orjson.dumps(kept.result))
    except (TypeError, KeyError):
        # Kept by a release whose records had other fields: what it did is done, and this is the record now.
        return await _require(connection, report.class_id)


def _digest(report: Report) -> bytes:
    """What makes two inputs the same input."""
    content = (report.class_id, report.expected_version, sorted(report.values.items()))
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).digest()


def _check_key(report: Report) -> None:
    key = report.idempotency_key
    if key is not None and not (1 <= len(key) <= KEY_LENGTH and key.isprintable()):
        message = f"Give 1 to {KEY_LENGTH} printable characters."
        raise Rejected([Problem("INVALID_VALUE", message, ("idempotencyKey",))])


async def _require(connection: AsyncConnection, class_id: str) -> Record:
    row = (await connection.execute(LOCK, {"class_id": class_id})).mappings().first()
    if row is None:
        raise Rejected([Problem("CLASS_NOT_FOUND", "There is no such class.", ("classId",))])
    return Record.from_row(row)


async def _refuse_conflicts(connection: AsyncConnection, record: Record, report: Report, names: Sequence[str]) -> None:
    """Only what people did conflicts; a recalculation never does. A version older than the history conflicts on all."""
    expected = report.expected_version
    if expected is None or expected == record.version:
        return
    if not 1 <= expected < record.version:
        raise Rejected([Problem("INVALID_VALUE", "The class has had no such version.", ("expectedVersion",))])
    since = (await connection.execute(SINCE, {"class_id": record.class_id, "version": expected})).all()
    if len(since) < record.version - expected:
        raise VersionConflict(record, names)
    changed = {name for row in since if row.cause != "calculated" for name in row.fields}
    if conflicts := [name for name in names if name in changed]:
        raise VersionConflict(record, conflicts)


async def _store(connection: AsyncConnection, record: Record, values: Mapping[str, Any], actor: str) -> Record:
    pinned = sorted({*record.pinned_metrics, *(name for name in values if name != CUSTOM)})
    new = {**values, "pinned_metrics": pinned}
    # As JSON: to Python, true is 1.
    if all(_canonical(getattr(record, name)) == _canonical(value) for name, value in new.items()):
        return record
    if CUSTOM in new:
        new[CUSTOM] = None if new[CUSTOM] is None else orjson.dumps(new[CUSTOM]).decode()
    # The names are columns of METRICS and our own, never a client's words.
    assignments = ", ".join(f"{name} = {_placeholder(name)}" for name in new)
    columns = ", ".join(METRIC_NAMES)
    statement = text(f"""
        WITH changed AS (
            UPDATE class_performance
            SET version = version + 1, last_updated = now.at, updated_at = now.at, {assignments}
            FROM (SELECT clock_timestamp() AS at) AS now
            WHERE class_id = :class_id RETURNING class_performance.*
        ), remembered AS (
            INSERT INTO class_performance_history
                (class_id, version, cause, actor, fields, pinned_metrics, at, {columns})
            SELECT class_id, version, 'reported', :actor, CAST(:fields AS text[]), pinned_metrics, last_updated,
                {columns}
            FROM changed
        )
        SELECT {COLUMNS} FROM changed p JOIN class c ON c.id = p.class_id""")
    parameters = {**new, "class_id": record.class_id, "actor": actor, "fields": sorted(values)}
    return Record.from_row((await connection.execute(statement, parameters)).mappings().one())


def _canonical(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _placeholder(name: str) -> str:
    return {CUSTOM: "CAST(:custom AS jsonb)", "pinned_metrics": "CAST(:pinned_metrics AS text[])"}.get(name, f":{name}")


async def _unpin(connection: AsyncConnection, record: Record, names: Sequence[str], actor: str) -> Record:
    unpinned = [name for name in names if name in record.pinned_metrics]
    if not unpinned:
        return record
    (changed,) = await recalculate_many(connection, [record.class_id], unpinned=unpinned, actor=actor)
    return changed


def _checked(report: Report) -> dict[str, Any]:
    """The values as they will be stored; every problem is found before any is told."""
    metrics = {metric.name: metric for metric in METRICS}
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, value in report.values.items():
        try:
            values[name] = _custom(value) if name == CUSTOM else _in_range(metrics[name], value)
        except ValueError as error:
            path = ("data", "metadata", CUSTOM) if name == CUSTOM else ("data", metrics[name].graphql_name)
            problems.append(Problem("INVALID_VALUE", str(error), path))
    if not report.values:
        problems.append(Problem("INVALID_VALUE", "Give at least one value to report.", ("data",)))
    if problems:
        raise Rejected(problems)
    return values


def _in_range(metric: Metric, value: Any) -> float | int:
    if value is None:
        raise ValueError("A reported value cannot be null; unpin the metric to restore what is calculated.")
    if not math.isfinite(value) or not metric.low <= value <= metric.high:
        raise ValueError(f"Must lie between {metric.low:,.0f} and {metric.high:,.0f}.")
    if metric.whole:
        if value != int(value):
            raise ValueError("Must be a whole number.")
        return int(value)
    # Adding zero makes a negative zero an ordinary one.
    return float(Decimal(repr(value)).quantize(Decimal("0.01"), ROUND_HALF_UP)) + 0.0


def _custom(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ValueError("Must be an object.")
    try:
        size = len(orjson.dumps(value))
    except orjson.JSONEncodeError:
        raise ValueError(
            "Must be JSON: text without half surrogate pairs, whole numbers of 64 bits, not too deep."
        ) from None
    if size > CUSTOM_BYTES:
        raise ValueError(f"Must be at most {CUSTOM_BYTES:,} bytes of JSON; this is {size:,}.")
    if reason := _unstorable(value):
        raise ValueError(reason)
    return value


def _unstorable(value: Any) -> str | None:
    """Why PostgreSQL would not give this back as it is."""
    if isinstance(value, dict):
        return next(filter(None, map(_unstorable, [*value, *value.values()])), None)
    if isinstance(value, list):
        return next(filter(None, map(_unstorable, value)), None)
    if isinstance(value, str) and "\0" in value:
        return "Must not contain a NUL character."
    if isinstance(value, int | float) and abs(value) > LARGEST_NUMBER:
        return f"Must not contain a number beyond {LARGEST_NUMBER:,}."
    return None
