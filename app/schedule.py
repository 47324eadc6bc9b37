"""What is done because of the time alone. All of it by the database's clock, and once, however many workers look.

A table has the due time of each job. Who claims a due job does it and sets its next time, in one transaction: cut
short, nothing has happened and the job is still due; missed for days, it is done once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from cronsim import CronSim, CronSimError
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.calendar import time_zones
from app.database import transaction
from app.errors import Misconfigured
from app.glance import Glance
from app.observability import JOBS, MARKED
from app.retention import Retention
from app.settings import Settings

log = structlog.get_logger(__name__)

OVERDUE = 1_000  # classes marked in one transaction
HOURLY = "17 * * * * UTC"

# What is marked, or failed and is tried again in its time, need not be marked again. `statement_timestamp()`, for an
# index cannot be searched by a clock that runs.
IS_OVERDUE = """
    p.next_change_at <= statement_timestamp()
    AND NOT EXISTS (SELECT FROM class_change m WHERE m.class_id = p.class_id)
    AND NOT EXISTS (SELECT FROM calculation_failure f WHERE f.class_id = p.class_id)
"""
LOOK = text(f"""
    SELECT EXISTS (SELECT FROM class_performance p WHERE {IS_OVERDUE}) AS overdue,
           EXISTS (SELECT FROM calculation_failure WHERE retry_at <= statement_timestamp()) AS retries,
           ARRAY(SELECT name FROM job WHERE due_at <= statement_timestamp() AND name = ANY(:names)) AS jobs
""")

# One worker at a time, so that the next sees the marks of the last.
MY_TURN = text("SELECT pg_try_advisory_xact_lock(hashtext('class-performance overdue'))")
# A record that is locked is being calculated, which will tell its next change anew.
MARK_OVERDUE = text(f"""
    INSERT INTO class_change (class_id)
    SELECT p.class_id FROM class_performance p WHERE {IS_OVERDUE}
    ORDER BY p.next_change_at LIMIT {OVERDUE} FOR NO KEY UPDATE OF p SKIP LOCKED
""")
MARK_ACTIVE = text("INSERT INTO class_change (class_id) SELECT id FROM class WHERE status = 'ACTIVE'")

NOW = text("SELECT statement_timestamp()")
# Where the expression is another than before, so is the due time.
PLAN = text("""
    INSERT INTO job (name, cron, due_at) VALUES (:name, :cron, :due_at)
    ON CONFLICT (name) DO UPDATE SET cron = excluded.cron, due_at = excluded.due_at
    WHERE job.cron IS DISTINCT FROM excluded.cron
""")
FORGET = text("DELETE FROM job WHERE name = ANY(:names)")
CLAIM = text("""
    SELECT cron, statement_timestamp() AS at FROM job
    WHERE name = :name AND due_at <= statement_timestamp() FOR UPDATE SKIP LOCKED
""")
DONE = text("UPDATE job SET due_at = :due_at, ran_at = statement_timestamp() WHERE name = :name")


@dataclass(frozen=True, slots=True)
class Job:
    """`when` is a cron expression and a time zone. `work` says whether it is finished; if not, it stays due."""

    name: str
    when: str
    work: Callable[[AsyncConnection], Awaitable[bool]]


def next_due(when: str, after: datetime) -> datetime:
    """Strictly later: where an hour comes twice, cron's next time may be one of its first pass."""
    expression, _, zone = when.rpartition(" ")
    ticks = islice(CronSim(expression, after.astimezone(ZoneInfo(zone))), 1_000)
    return next(tick.astimezone(UTC) for tick in ticks if tick.astimezone(UTC) > after)


class Schedule:
    def __init__(self, settings: Settings, engine: AsyncEngine) -> None:
        """Raises Misconfigured."""
        nightly = f"{settings.nightly_cron.strip()} {settings.schedule_time_zone}"
        every = [Job("nightly", nightly, _mark_active), Job("retention", HOURLY, Retention(settings).remove)]
        self._off = [] if settings.nightly_cron.strip() else ["nightly"]
        self._jobs = {job.name: job for job in every if job.name not in self._off}
        self._engine = engine
        self._glance = Glance(engine, LOOK)
        self._planned = False
        _check(settings, [job.when for job in self._jobs.values()])

    async def look(self) -> Row[Any]:
        """What is due: `overdue` classes, `retries` of failures, `jobs` by name."""
        if not self._planned:
            await self._plan()
        return await self._glance.ask(names=list(self._jobs))

    async def mark_overdue(self) -> int:
        """Mark the classes whose numbers change by the passing of time alone; how many that were."""
        async with transaction(self._engine) as connection:
            if not (await connection.execute(MY_TURN)).scalar():
                return 0
            marked = (await connection.execute(MARK_OVERDUE)).rowcount
        MARKED.inc(marked)
        return marked

    async def run(self, names: Sequence[str]) -> bool:
        """Whether more of it is left to do. One job that fails does not keep the others from being done."""
        more = False
        failed: Exception | None = None
        for name in names:
            try:
                more |= not await self._run(self._jobs[name])
            except Exception as error:
                failed = error
        if failed:
            raise failed
        return more

    async def close(self) -> None:
        await self._glance.close()

    async def _plan(self) -> None:
        async with transaction(self._engine) as connection:
            now = (await connection.execute(NOW)).scalar_one()
            for job in self._jobs.values():
                values = {"name": job.name, "cron": job.when, "due_at": next_due(job.when, now)}
                await connection.execute(PLAN, values)
            await connection.execute(FORGET, {"names": self._off})
        self._planned = True

    async def _run(self, job: Job) -> bool:
        """Whether nothing is left of it for now."""
        async with transaction(self._engine) as connection:
            claimed = (await connection.execute(CLAIM, {"name": job.name})).first()
            if claimed is None:
                return True
            if not await job.work(connection):
                return False
            due_at = next_due(claimed.cron, claimed.at)
            await connection.execute(DONE, {"name": job.name, "due_at": due_at})
        JOBS.labels(job.name).inc()
        log.info("job_done", job=job.name, due_at=due_at.isoformat())
        return True


async def _mark_active(connection: AsyncConnection) -> bool:
    await connection.execute(MARK_ACTIVE)
    return True


def _check(settings: Settings, whens: list[str]) -> None:
    if settings.schedule_time_zone not in time_zones():
        raise Misconfigured("SCHEDULE_TIME_ZONE must be an IANA time zone, such as Europe/London.")
    for when in whens:
        try:
            next_due(when, datetime.now(UTC))
        except (CronSimError, StopIteration):
            raise Misconfigured("NIGHTLY_CRON must be a cron expression whose time comes, such as 0 3 * * *.") from None
