"""The engine room: calculates what has changed, and tells what came of it, for as long as it runs.

Any number of workers share the work: each claims what nobody else holds. Nothing that a worker knows is kept in it, and
each step is one transaction, so that one which is killed leaves everything to the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from sqlalchemy import text

from app import changes, failures, monitoring
from app.cache import Cache
from app.database import create_engine, transaction
from app.errors import Misconfigured, OutOfTime
from app.events import WAKE, Subscription
from app.glance import Glance
from app.loop import Loop
from app.observability import BATCH_CLASSES, BATCH_SECONDS, CALCULATED, CHANGED
from app.performance import Drained, recalculate_claimed
from app.relay import Relay
from app.schedule import OVERDUE, Schedule
from app.settings import Settings

POLL_SECONDS = 0.05
CLOCK_SECONDS = 1.0
UNTIL_RUNG = 60.0
BATCH = 50  # classes; more are hardly faster, and hold their records longer
BATCH_LIMIT = 5.0
"""Seconds of a statement, after which its batch is calculated in halves."""
PART_LIMIT = 2.0
"""Seconds of a statement of such a half. A class that takes longer alone is left to those who retry, where it has
`worker_timeout` and keeps nobody waiting."""
LONG_BATCH = 1.0
"""Seconds, after which batches become smaller: whoever wants to write one of its records waits so long."""
CONNECTIONS = 12  # each loop and each glance may hold one, and /metrics
REDIS_PATIENCE = 1.0
STOPPED_WITHIN = 5.0
CANCELLED_WITHIN = 1.0

# What there is to do, for one statement each time.
LOOK = text(f"""
    SELECT EXISTS (SELECT FROM class_change) AS changes,
           EXISTS (SELECT FROM class_change WHERE class_id IS NULL) AS scopes,
           EXISTS (SELECT FROM calculation_failure f WHERE {failures.IS_MARKED}) AS failing
""")
LOOK_OUT = text("SELECT EXISTS (SELECT FROM performance_change) AS outbox")


class Worker:
    def __init__(self, settings: Settings) -> None:
        """Raises Misconfigured. Nothing connects before `run`."""
        if not settings.database_url.get_secret_value():
            raise Misconfigured("Set DATABASE_URL to a PostgreSQL database (and REDIS_URL to a Redis, for speed).")
        own = {"database_timeout": min(BATCH_LIMIT, settings.worker_timeout), "database_pool_size": CONNECTIONS}
        self.engine = create_engine(settings.model_copy(update=own))
        self._alone = settings.worker_timeout
        self._batch = BATCH
        self._work = Glance(self.engine, LOOK)
        self._outbox = Glance(self.engine, LOOK_OUT)
        self._schedule = Schedule(settings, self.engine)
        self._cache = Cache(settings, patience=REDIS_PATIENCE)
        self._relay = Relay(self.engine, self._cache)
        self._wake = Subscription(settings, WAKE)
        self._due_jobs: Sequence[str] = ()
        self._stopping = asyncio.Event()
        self._calculating = Loop("calculate", self._calculate, POLL_SECONDS)
        self._relaying = Loop("relay", self._tell, POLL_SECONDS)
        self._retrying = Loop("retry", self._retry, UNTIL_RUNG)
        self._clock = Loop("clock", self._look_at_the_clock, CLOCK_SECONDS)
        self._working = Loop("jobs", self._run_jobs, UNTIL_RUNG)
        self._opening = Loop("open", self._open_scopes, UNTIL_RUNG)

    def stop(self) -> None:
        """What is being done is finished, if that does not take long."""
        self._stopping.set()

    async def run(self) -> None:
        """Until `stop`; then gives up what is not done soon, which loses nothing."""
        loops = (self._calculating, self._opening, self._relaying, self._retrying, self._clock, self._working)
        tasks = [asyncio.create_task(loop.run(), name=loop.name) for loop in loops]
        listening = asyncio.create_task(self._wake.run(lambda _: self._ring(), self._ring))
        try:
            await self._stopping.wait()
        finally:
            listening.cancel()
            for loop in loops:
                loop.stop()
            await _end([listening, *tasks])
            await self._close()

    def _ring(self) -> None:
        """Somebody committed something."""
        self._calculating.ring()
        self._relaying.ring()

    async def _close(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CANCELLED_WITHIN):
                await self._work.close()
                await self._outbox.close()
                await self._schedule.close()
                await self._cache.close()
                await self.engine.dispose()

    async def _calculate(self) -> bool:
        """The loop that everybody waits for."""
        seen = await self._work.ask()
        if seen.scopes:
            self._opening.ring()
        if seen.failing:
            await failures.take_over(self.engine)
        return seen.changes and await self._calculate_batch()

    async def _open_scopes(self) -> bool:
        """With very many classes this takes long: the others do not wait for it."""
        async with transaction(self.engine, seconds=self._alone) as connection:
            opened = await changes.open_scopes(connection)
        if opened:
            self._calculating.ring()
        return False

    async def _calculate_batch(self) -> bool:
        """Whether anything came of it: what others hold is not waited for."""
        claim = None
        begun = time.monotonic()
        try:
            async with transaction(self.engine) as connection:
                claim = await changes.claim(connection, self._batch)
                drained = await recalculate_claimed(connection, claim)
        except Exception as error:
            if failures.is_away(error):
                raise
            if claim is None:
                if not await failures.put_aside_without_record(self.engine):
                    raise
                return True
            self._adapt(LONG_BATCH if isinstance(error, OutOfTime) else 0, 0)
            await self._divide(claim.class_ids)
            return True
        seconds = time.monotonic() - begun
        self._adapt(seconds, len(drained.class_ids))
        self._note(drained, seconds)
        return bool(drained.class_ids)

    def _adapt(self, seconds: float, classes: int) -> None:
        if seconds >= LONG_BATCH:
            self._batch = max(1, self._batch // 2)
        elif classes == self._batch < BATCH and seconds < LONG_BATCH / 4:
            self._batch *= 2

    async def _divide(self, class_ids: Sequence[str]) -> None:
        """Until the one that fails stands alone; the others are calculated."""
        if len(class_ids) == 1:
            await self._calculate_alone(class_ids[0])
            return
        middle = len(class_ids) // 2
        for half in (class_ids[:middle], class_ids[middle:]):
            try:
                await self._calculate_part(half)
            except Exception as error:
                if failures.is_away(error):
                    raise
                await self._divide(half)

    async def _calculate_alone(self, class_id: str) -> None:
        try:
            await self._calculate_part([class_id])
        except Exception as error:
            if failures.is_away(error):
                raise
            await failures.put_aside(self.engine, class_id, error)

    async def _calculate_part(self, class_ids: Sequence[str]) -> None:
        begun = time.monotonic()
        async with transaction(self.engine, seconds=min(PART_LIMIT, self._alone)) as connection:
            claim = await changes.claim_of(connection, class_ids)
            drained = await recalculate_claimed(connection, claim)
        self._note(drained, time.monotonic() - begun)

    def _note(self, drained: Drained, seconds: float) -> None:
        """After the commit."""
        if drained.class_ids:
            BATCH_CLASSES.observe(len(drained.class_ids))
            BATCH_SECONDS.observe(seconds)
            CALCULATED.inc(len(drained.class_ids))
            CHANGED.inc(len(drained.changed))
        if drained.changed:
            self._relaying.ring()

    async def _tell(self) -> bool:
        return (await self._outbox.ask()).outbox and await self._relay.run_once() > 0

    async def _retry(self) -> bool:
        retried = await failures.retry(self.engine, self._alone)
        if retried:
            self._relaying.ring()
        return retried

    async def _look_at_the_clock(self) -> bool:
        due = await self._schedule.look()
        if due.retries:
            self._retrying.ring()
        if due.jobs:
            self._due_jobs = due.jobs
            self._working.ring()
        return bool(due.overdue) and await self._schedule.mark_overdue() == OVERDUE

    async def _run_jobs(self) -> bool:
        """Some take long: the clock does not wait for them."""
        return await self._schedule.run(self._due_jobs)


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Twice, if need be: the first time the driver asks the server to cancel, which may not answer."""
    for seconds in (STOPPED_WITHIN, CANCELLED_WITHIN, CANCELLED_WITHIN):
        _, left = await asyncio.wait(tasks, timeout=seconds)
        for task in left:
            task.cancel()


@asynccontextmanager
async def working(settings: Settings) -> AsyncIterator[Worker]:
    """Inside another process."""
    worker = Worker(settings)
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        await task


async def work(settings: Settings) -> None:
    """As a process of its own, until SIGTERM or SIGINT."""
    worker = Worker(settings)
    for ending in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(ending, worker.stop)
    async with monitoring.listening(settings, worker.engine):
        await worker.run()
