"""Live: from a fact's commit to a subscriber's receipt, beside PostgreSQL's own NOTIFY and the calculation alone."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from statistics import median, quantiles

import uvloop

from app import migrate
from app.district import Plan
from app.settings import Settings
from benchmarks import machine, world
from benchmarks.ledger import Page
from benchmarks.machine import Cores
from benchmarks.reads import fill
from benchmarks.server import running
from benchmarks.stage import API, NOTIFY, SQL, Stage, stage
from benchmarks.table import Table, number, ratio

HEADER = (
    "",
    "facts/s",
    "events/s",
    "p50 ms",
    "p90 ms",
    "p99 ms",
    "max ms",
    "worker",
    "API",
    "commit ms",
    "NOTIFY p50",
    "p50 / NOTIFY",
    "p50 / calculation",
)
BARE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Load:
    """How many facts in a second, by which door, and for how many seconds of a round."""

    rate: int
    door: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.rate:,} {'facts' if self.door == 'SQL' else 'mutations'} a second"


@dataclass(frozen=True, slots=True)
class Size:
    plan: Plan
    loads: tuple[Load, ...]
    rounds: int


def full() -> Size:
    plan = Plan(world.today(), classes=130, students=30, activities=40, attendance_days=20)
    loads = (Load(10, SQL, 4), Load(100, SQL, 3), Load(1_000, SQL, 3), Load(10, API, 4), Load(100, API, 3))
    return Size(plan, loads, rounds=3)


def quick() -> Size:
    plan = Plan(world.today(), classes=12, students=5, activities=5, attendance_days=5)
    return Size(plan, (Load(20, SQL, 0.5), Load(20, API, 0.5)), rounds=2)


@dataclass(frozen=True, slots=True)
class Sample:
    """A round, the seconds of a core that worker and API used, and what NOTIFY and a calculation took beside it."""

    page: Page
    elapsed: float
    used: tuple[float, float]
    notified: float
    calculated: float

    @property
    def p50(self) -> float:
        return median(self.page.latencies)


def run(small: bool = False) -> Table:
    with world.servers() as settings, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        migrate.upgrade(settings.database_url.get_secret_value())
        return runner.run(measure(settings, quick() if small else full(), machine.cores()))


async def measure(settings: Settings, size: Size, cores: Cores) -> Table:
    """On a migrated and empty database. Nothing is pinned: the calculation is PostgreSQL's, and it wants a core too."""
    await fill(settings, size.plan)
    world.tidy(settings)
    with running("worker", settings, cores.everywhere) as worker, running("app", settings, cores.everywhere) as app:
        async with stage(settings, app.port, size.plan.classes) as here:
            of = f"{here.classes} classes of about {size.plan.students} students and {size.plan.activities} activities"
            table = Table(f"Live: one API and one worker process, one subscriber to {of}", HEADER)
            for load in size.loads:
                samples = [await _sample(here, load, (worker.pid, app.pid)) for _ in range(size.rounds)]
                table.rows.append(_row(load, samples))
    table.notes.append(f"Ratios: the median of {size.rounds} rounds (least-greatest). Nothing is pinned.")
    return table


async def _sample(here: Stage, load: Load, pids: tuple[int, int]) -> Sample:
    before, began = [machine.cpu_seconds(pid) or 0 for pid in pids], time.perf_counter()
    page = await here.play(load.door, load.rate, load.seconds)
    elapsed, after = time.perf_counter() - began, [machine.cpu_seconds(pid) or 0 for pid in pids]
    bare = await here.play(NOTIFY, load.rate, min(load.seconds, BARE_SECONDS))
    used = after[0] - before[0], after[1] - before[1]
    return Sample(page, elapsed, used, median(bare.latencies), await here.calculate())


def _row(load: Load, samples: list[Sample]) -> tuple[str, ...]:
    elapsed = sum(sample.elapsed for sample in samples)
    latencies = [latency for sample in samples for latency in sample.page.latencies]
    percentiles = quantiles(latencies, n=100, method="inclusive")
    medians = [sample.p50 for sample in samples]
    return (
        str(load),
        number(len(latencies) / elapsed),
        number(sum(len(sample.page.events) for sample in samples) / elapsed),
        *(number(percentiles[percent - 1] * 1000) for percent in (50, 90, 99)),
        number(max(latencies) * 1000),
        *(f"{sum(sample.used[place] for sample in samples) / elapsed:.0%}" for place in (0, 1)),
        number(median(commit for sample in samples for commit in sample.page.commits) * 1000),
        number(median(sample.notified for sample in samples) * 1000),
        ratio(medians, [sample.notified for sample in samples]),
        ratio(medians, [sample.calculated for sample in samples]),
    )
