"""Removes what is older than it is kept, a slice at a time."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.observability import REMOVED
from app.settings import Settings

SLICE = 10_000  # rows removed in one transaction


def _removing(table: str, old: str) -> str:
    """By the places of the rows: no plan can take it for a reason to read the whole table."""
    return f"DELETE FROM {table} WHERE ctid = ANY(ARRAY({old} LIMIT :slice))"


# Class by class, along the key of the history: with nothing to remove, that is one look at an index for each class.
HISTORY = _removing(
    "class_performance_history",
    """
    SELECT old.ctid FROM class c CROSS JOIN LATERAL (
        SELECT h.ctid FROM class_performance_history h
        WHERE h.class_id = c.id AND h.at < statement_timestamp() - make_interval(days => :history_days)
          AND h.version < (SELECT max(version) FROM class_performance_history WHERE class_id = c.id)
        ORDER BY h.class_id, h.at LIMIT :slice
    ) AS old""",
)
IDEMPOTENCY_KEYS = _removing(
    "idempotency_key",
    "SELECT ctid FROM idempotency_key "
    "WHERE created_at < statement_timestamp() - make_interval(days => :idempotency_days)",
)
# As long as its class exists, a failure stands for a fact that has had no effect yet: it is not forgotten.
FAILURES = _removing(
    "calculation_failure",
    "SELECT ctid FROM calculation_failure f WHERE NOT EXISTS (SELECT FROM class c WHERE c.id = f.class_id)",
)
STATEMENTS = {
    "class_performance_history": text(HISTORY),
    "idempotency_key": text(IDEMPOTENCY_KEYS),
    "calculation_failure": text(FAILURES),
}


class Retention:
    def __init__(self, settings: Settings) -> None:
        self._kept = {"history_days": settings.history_days, "idempotency_days": settings.idempotency_days}

    async def remove(self, connection: AsyncConnection) -> bool:
        """Remove a slice of each kind; whether nothing is left to remove."""
        finished = True
        for table, statement in STATEMENTS.items():
            removed = (await connection.execute(statement, {**self._kept, "slice": SLICE})).rowcount
            REMOVED.labels(table).inc(removed)
            finished &= removed < SLICE
        return finished
