"""Fan-out: one publication to many subscribers, beside a bare server that sends the same bytes to as many sockets."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from statistics import median, quantiles

from redis.asyncio import Redis

from app import migrate
from app.auth import ViewerRole, mint
from app.cache import Cache
from app.district import Plan, class_id, school_id
from app.main import services_of
from app.records import Record
from app.settings import Settings
from benchmarks import machine, world
from benchmarks.audience import Audience, Heard
from benchmarks.broadcast import CHANNEL
from benchmarks.machine import Cores
from benchmarks.questions import SELECTION
from benchmarks.reads import fill
from benchmarks.server import Process, running
from benchmarks.sockets import Operation, Socket
from benchmarks.table import Table, number, ratio

HEADER = (
    "",
    "subscribers",
    "deliveries/s",
    "p50 ms",
    "p99 ms",
    "core",
    "CPU us",
    "KB each",
    "bare deliveries/s",
    "bare p50",
    "bare p99",
    "bare CPU us",
    "bare KB",
    "of bare",
)
WATCHED = 10  # classes, by every subscriber
WATCH = (
    "subscription Watch($ids: [ID!]!) { classPerformanceUpdated(classIds: $ids) "
    f"{{ classId classPerformance {{ {SELECTION} }} }} }}"
)
PLAN = Plan(world.NOW, classes=WATCHED, students=3, activities=4, attendance_days=5)
SERVICE, BARE = "app", "broadcast"
MODES = {"one after another": 1, "ten at once": WATCHED}
SPARE_FILES = 200  # besides the sockets


@dataclass(frozen=True, slots=True)
class Size:
    """`publications` in all, in rounds; each subscriber is a viewer of their own."""

    subscribers: tuple[int, ...]
    publications: int
    rounds: int


FULL, QUICK = Size((500, 2_000), 100, rounds=5), Size((20, 50), 20, rounds=2)


@dataclass(slots=True)
class Sample:
    """A round: seconds from publication to each receipt, in all, and of a core, by the server and by the audience."""

    latencies: list[float] = field(default_factory=list)
    elapsed: float = 0.0
    used: float = 0.0
    listening: float = 0.0

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.elapsed


def run(quick: bool = False) -> Table:
    cores = machine.cores()
    with machine.pinned(cores.data), world.servers() as settings, machine.pinned(cores.load):
        migrate.upgrade(settings.database_url.get_secret_value())
        return asyncio.run(measure(settings, QUICK if quick else FULL, cores))


async def measure(settings: Settings, size: Size, cores: Cores) -> Table:
    """On a migrated and empty database."""
    await fill(settings, PLAN)
    table = Table(f"Fan-out: one server process, {WATCHED} classes watched by everybody", HEADER)
    for wanted in size.subscribers:
        count = min(wanted, machine.allow_open_files(wanted + SPARE_FILES) - SPARE_FILES)
        if count < wanted:
            table.notes.append(f"This machine allows only {count + SPARE_FILES:,} open files.")
        with _houses(settings, count, cores) as houses:
            await _compare(table, settings, size, houses)
    table.notes.append(f"Ratios: the median of {size.rounds} rounds (least-greatest). On cores: {cores}.")
    return table


@dataclass(frozen=True, slots=True)
class _House:
    """A server and who listens to it."""

    server: Process
    audiences: Sequence[Audience]
    subscribers: int
    bytes_each: float | None

    def expect(self, events: int) -> None:
        for audience in self.audiences:
            audience.expect(events)
        for audience in self.audiences:
            audience.wait()

    def heard(self) -> list[Heard]:
        return [audience.heard() for audience in self.audiences]


@contextmanager
def _houses(settings: Settings, count: int, cores: Cores) -> Iterator[dict[str, _House]]:
    with ExitStack() as stack:
        servers = {kind: stack.enter_context(running(kind, settings, cores.server)) for kind in (SERVICE, BARE)}
        yield {
            SERVICE: _fill_house(stack, servers[SERVICE], _operations(settings, count, WATCHED), cores),
            BARE: _fill_house(stack, servers[BARE], _operations(settings, count, 1), cores),
        }


def _fill_house(stack: ExitStack, server: Process, operations: Sequence[Operation], cores: Cores) -> _House:
    before = machine.resident_bytes(server.pid)
    places = sorted(cores.data | cores.load)
    audiences = [
        stack.enter_context(Audience(server.port, operations[n :: len(places)], frozenset({place})))
        for n, place in enumerate(places)
    ]
    for audience in audiences:
        audience.wait()
    after = machine.resident_bytes(server.pid)
    each = None if before is None or after is None else (after - before) / len(operations)
    return _House(server, audiences, len(operations), each)


def _operations(settings: Settings, count: int, greeting: int) -> list[Operation]:
    ids = [class_id(number) for number in range(1, WATCHED + 1)]
    schools = [school_id(number) for number in range(PLAN.schools)]
    tokens = (mint(settings, f"head-{n}", ViewerRole.SCHOOL_ADMIN, schools=schools) for n in range(count))
    return [Operation(token, WATCH, {"ids": ids}, greeting) for token in tokens]


@dataclass(frozen=True, slots=True)
class _Publishers:
    """How each server is told. `text` is what the service sends for one of these records."""

    cache: Cache
    redis: Redis
    records: deque[Record]
    text: bytes

    async def publish(self, kind: str, count: int) -> None:
        if kind == SERVICE:
            await self.cache.put_many([self._newer() for _ in range(count)], publish=True)
        else:
            pipeline = self.redis.pipeline(transaction=False)
            for _ in range(count):
                pipeline.publish(CHANNEL, self.text)
            await pipeline.execute()

    def _newer(self) -> Record:
        record = self.records.popleft()
        newer = replace(record, version=record.version + 1)
        self.records.append(newer)
        return newer


@asynccontextmanager
async def _publishers(settings: Settings, house: _House) -> AsyncIterator[_Publishers]:
    operation = _operations(settings, 1, WATCHED)[0]
    texts: list[bytes] = []
    socket = await Socket.subscribe(house.server.port, operation, lambda text, _: texts.append(text))
    socket.close()
    redis = Redis.from_url(settings.redis_url.get_secret_value(), protocol=2)
    async with services_of(settings) as services, redis:
        records = await services.performance.get_many(operation.variables["ids"])
        yield _Publishers(services.cache, redis, deque(record for record in records if record), texts[0])


async def _compare(table: Table, settings: Settings, size: Size, houses: dict[str, _House]) -> None:
    async with _publishers(settings, houses[SERVICE]) as publishers:
        for mode, together in MODES.items():
            samples: dict[str, list[Sample]] = {kind: [] for kind in houses}
            for _ in range(size.rounds):
                for kind, house in houses.items():
                    turns = size.publications // size.rounds // together
                    samples[kind].append(await _sample(publishers, kind, house, together, turns))
            table.rows.append(_row(mode, houses, samples))
            busiest = max(sample.listening / sample.elapsed for taken in samples.values() for sample in taken)
            table.notes.append(
                f"{houses[SERVICE].subscribers:,} subscribers, {mode}: {len(publishers.text):,} bytes; "
                f"those who listened used at most {busiest:.0%} of a core."
            )


async def _sample(publishers: _Publishers, kind: str, house: _House, together: int, turns: int) -> Sample:
    sample = Sample()
    before = machine.cpu_seconds(house.server.pid)
    for _ in range(turns):
        house.expect(together)
        began = time.perf_counter()
        await publishers.publish(kind, together)
        heard = house.heard()
        sample.latencies += [moment - began for one in heard for moment in one.times]
        sample.elapsed += max(max(one.times) for one in heard) - began
        sample.listening += max(one.used for one in heard)
    after = machine.cpu_seconds(house.server.pid)
    sample.used = (after or 0) - (before or 0)
    return sample


def _row(mode: str, houses: dict[str, _House], samples: dict[str, list[Sample]]) -> tuple[str, ...]:
    ours, bare = samples[SERVICE], samples[BARE]
    found, floor = _figures(ours, houses[SERVICE]), _figures(bare, houses[BARE])
    rates = [[sample.rate for sample in taken] for taken in (ours, bare)]
    # The share of its core is said of the service alone.
    return (mode, f"{houses[SERVICE].subscribers:,}", *found, *floor[:3], *floor[4:], ratio(*rates))


def _figures(samples: list[Sample], house: _House) -> tuple[str, ...]:
    percentiles = quantiles((latency for sample in samples for latency in sample.latencies), n=100, method="inclusive")
    used, elapsed = sum(sample.used for sample in samples), sum(sample.elapsed for sample in samples)
    return (
        number(median(sample.rate for sample in samples)),
        number(percentiles[49] * 1000),
        number(percentiles[98] * 1000),
        f"{used / elapsed:.0%}" if used else "?",
        number(used * 1e6 / sum(len(sample.latencies) for sample in samples)) if used else "?",
        number(house.bytes_each / 1000) if house.bytes_each is not None else "?",
    )
