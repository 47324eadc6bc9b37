"""The climb: arrivals that do not wait for answers, at rates that rise to saturation, and where latency bends."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from statistics import median

from app import migrate
from app.district import Plan, class_id
from app.settings import Settings
from benchmarks import machine, questions, reads, world
from benchmarks.arrivals import arrive
from benchmarks.client import Request, Round
from benchmarks.machine import Cores
from benchmarks.reads import BARE, LONG, WARM, Bench, fill
from benchmarks.server import running
from benchmarks.table import Table, number

HEADER = (
    "of saturation",
    "arrivals/s",
    "answers/s",
    "p50 ms",
    "p99 ms",
    "core",
    "bare arrivals/s",
    "bare p50",
    "bare p99",
)
BENT = 2.0  # times the p50 of the first step


@dataclass(frozen=True, slots=True)
class Size:
    """Seconds are of a step in a round. Saturation is what a closed loop on as many connections gets."""

    steps: tuple[float, ...] = (0.1, 0.25, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1)
    connections: int = 64
    rounds: int = 2
    seconds: float = 0.7

    @property
    def classes(self) -> int:
        return self.connections


QUICK = Size((0.25, 0.5, 1.0), connections=8, rounds=1, seconds=0.2)


def run(quick: bool = False) -> Table:
    cores = machine.cores()
    with machine.pinned(cores.data), world.servers() as settings, machine.pinned(cores.load):
        migrate.upgrade(settings.database_url.get_secret_value())
        return measure(settings, QUICK if quick else Size(), cores)


def measure(settings: Settings, size: Size, cores: Cores) -> Table:
    """On a migrated and empty database."""
    asyncio.run(fill(settings, Plan(world.NOW, classes=size.classes, students=3, activities=4, attendance_days=5)))
    world.tidy(settings)
    warm = settings.model_copy(update={"cache_ttl_active": LONG, "cache_ttl_archived": LONG})
    with running("app", warm, cores.server) as app, running("bare", settings, cores.server) as bare:
        bench = Bench(settings, reads.Size(size.connections, size.rounds, size.seconds), {WARM: app, BARE: bare})
        return _climb(bench, size)


@dataclass(slots=True)
class Step:
    """What came of one rate, by round, and the seconds of a core that the server used."""

    rate: float
    rounds: list[Round] = field(default_factory=list)
    used: float = 0.0

    @property
    def p50(self) -> float:
        return median(found.p50 for found in self.rounds)

    @property
    def p99(self) -> float:
        return median(found.p99 for found in self.rounds)

    @property
    def answers(self) -> float:
        return median(found.rate for found in self.rounds)

    @property
    def core(self) -> str:
        return f"{self.used / sum(found.elapsed for found in self.rounds):.0%}"


def _climb(bench: Bench, size: Size) -> Table:
    ids = [class_id(number) for number in range(1, size.classes + 1)]
    requests = {WARM: bench.requests(WARM, questions.ask_one(ids))}
    requests[BARE] = bench.bare(requests[WARM])
    top = {server: _saturation(bench, server, requests[server]) for server in requests}
    steps: dict[str, list[Step]] = {WARM: [], BARE: []}
    table = Table(f"The climb: one class, warm; {size.connections} connections, arrivals at random", HEADER)
    for share in size.steps:
        for server, taken in steps.items():
            taken.append(Step(top[server] * share))
        for _ in range(size.rounds):
            for server, taken in steps.items():
                _sample(bench, server, requests[server], taken[-1], size)
        table.rows.append(_row(share, steps[WARM][-1], steps[BARE][-1]))
    _note(table, steps, top)
    return table


def _saturation(bench: Bench, server: str, requests: list[Request]) -> float:
    bench.sample(server, requests)
    return bench.sample(server, requests).round.rate


def _sample(bench: Bench, server: str, requests: list[Request], step: Step, size: Size) -> None:
    process = bench.servers[server]
    before = machine.cpu_seconds(process.pid)
    found = arrive(process.port, requests, connections=size.connections, rate=step.rate, seconds=size.seconds)
    after = machine.cpu_seconds(process.pid)
    step.rounds.append(found)
    step.used += (after or 0) - (before or 0)


def _row(share: float, ours: Step, bare: Step) -> tuple[str, ...]:
    return (
        f"{share:.0%}",
        number(ours.rate),
        number(ours.answers),
        number(ours.p50),
        number(ours.p99),
        ours.core,
        number(bare.rate),
        number(bare.p50),
        number(bare.p99),
    )


def _note(table: Table, steps: dict[str, list[Step]], top: dict[str, float]) -> None:
    bends = {server: _bend(taken) for server, taken in steps.items()}
    for server, name in ((WARM, "Latency"), (BARE, "The bare server's")):
        before, bent = bends[server]
        table.notes.append(
            f"{name} bends between {number(before.rate)} and {number(bent.rate)} arrivals/s "
            f"({before.rate / top[server]:.0%} and {bent.rate / top[server]:.0%} of saturation): "
            f"p50 {number(before.p50)} to {number(bent.p50)} ms, p99 {number(before.p99)} to {number(bent.p99)} ms."
            if before is not bent
            else f"{name} does not bend below {number(bent.rate)} arrivals/s."
        )
    busiest = max(found.busy for step in steps[BARE] for found in step.rounds)
    share = bends[WARM][0].rate / bends[BARE][0].rate
    table.notes.append(f"Straight up to {number(share)} of what the bare server bears straight.")
    table.notes.append(f"The load generator used at most {busiest:.0%} of its core.")


def _bend(steps: list[Step]) -> tuple[Step, Step]:
    """The last step before p50 is `BENT` times the first step's for good, and the one after; the last twice if none."""
    bent = len(steps)
    while bent > 1 and steps[bent - 1].p50 > BENT * steps[0].p50:
        bent -= 1
    return (steps[bent - 1], steps[bent]) if bent < len(steps) else (steps[-1], steps[-1])
