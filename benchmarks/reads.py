"""Reads: the service beside a bare ASGI application that answers as many bytes, in rounds that alternate."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from socket import socket
from statistics import median

from pydantic import SecretStr

from app import migrate
from app.auth import ViewerRole, mint
from app.district import Plan, class_id
from app.main import services_of
from app.rebuild import all_classes, rebuild
from app.seed import seed
from app.settings import Settings
from benchmarks import machine, questions, world
from benchmarks.client import HOST, Request, Round, ask, load, post
from benchmarks.machine import Cores
from benchmarks.questions import Question
from benchmarks.server import Process, running
from benchmarks.table import Table, number, ratio

HEADER = ("", "req/s", "p50 ms", "p99 ms", "alone ms", "core", "CPU us", "bare req/s", "bare CPU us", "of bare")
WARM, OFF, BARE = "warm", "cache off", "bare"
LONG = 24 * 60 * 60


@dataclass(frozen=True, slots=True)
class Size:
    """Seconds are of a round. With `classes` = 50 times `connections`, no two of them ever ask for the same class."""

    connections: int = 16
    rounds: int = 5
    seconds: float = 1.0

    @property
    def classes(self) -> int:
        return questions.MANY * self.connections


QUICK = Size(connections=4, rounds=3, seconds=0.2)


@dataclass(frozen=True, slots=True)
class Sample:
    """A round, and the seconds of a core that the server used, if that can be known."""

    round: Round
    used: float | None


def run(quick: bool = False) -> Table:
    cores = machine.cores()
    with machine.pinned(cores.data), world.servers() as settings, machine.pinned(cores.load):
        migrate.upgrade(settings.database_url.get_secret_value())
        return measure(settings, QUICK if quick else Size(), cores)


def measure(settings: Settings, size: Size, cores: Cores) -> Table:
    """On a migrated and empty database."""
    asyncio.run(fill(settings, Plan(world.NOW, classes=size.classes, students=3, activities=4, attendance_days=5)))
    world.tidy(settings)
    table = Table(f"Reads: one server process, {size.connections} connections", HEADER)
    with _servers(settings, cores) as servers:
        for name, asked, modes in _workloads(size):
            _compare(table, name, asked, modes, Bench(settings, size, servers))
    table.notes.append(f"Ratios: the median of {size.rounds} rounds (least-greatest). On cores: {cores}.")
    return table


async def fill(settings: Settings, plan: Plan) -> None:
    async with services_of(settings) as services:
        await seed(services.engine, plan)
        async for _ in rebuild(services.engine, services.performance, all_classes(services.engine)):
            pass


def _workloads(size: Size) -> Iterator[tuple[str, list[Question], tuple[str, ...]]]:
    """What is asked, and of which servers."""
    ids = [class_id(number) for number in range(1, size.classes + 1)]
    yield "one class", questions.ask_one(ids), (WARM, OFF)
    yield "fifty classes by ids", questions.ask_by_ids(ids), (WARM, OFF)
    yield "fifty classes by aliases", questions.ask_by_aliases(ids), (WARM, OFF)
    yield "one class, a new document", questions.ask_anew(ids), (WARM,)


@contextmanager
def _servers(settings: Settings, cores: Cores) -> Iterator[dict[str, Process]]:
    """Warm records stay in Redis for the whole run. With the cache off, a Redis that refuses every connection has been
    given up for the run at the first request, so that each operation is a SELECT."""
    warm = settings.model_copy(update={"cache_ttl_active": LONG, "cache_ttl_archived": LONG})
    with _refusing() as nowhere:
        off = settings.model_copy(update={"redis_url": SecretStr(nowhere), "redis_retry_after": LONG})
        with (
            running("app", warm, cores.server) as app,
            running("app", off, cores.server) as without,
            running("bare", settings, cores.server) as bare,
        ):
            yield {WARM: app, OFF: without, BARE: bare}


@contextmanager
def _refusing() -> Iterator[str]:
    """The URL of a port that is taken, but where nobody listens."""
    with socket() as taken:
        taken.bind((HOST, 0))
        yield f"redis://{HOST}:{taken.getsockname()[1]}/0"


@dataclass(frozen=True, slots=True)
class Bench:
    settings: Settings
    size: Size
    servers: dict[str, Process]

    def requests(self, server: str, asked: Sequence[Question]) -> list[Request]:
        """Each is asked once, and its answer checked, before anything is timed."""
        token = mint(self.settings, "benchmark", ViewerRole.ADMIN)
        found = []
        for question in asked:
            data = post(
                "/graphql", question.body, accept="application/graphql-response+json", authorization=f"Bearer {token}"
            )
            answer = ask(self.servers[server].port, data)
            question.check(answer)
            found.append(Request(data, len(answer)))
        return found

    def bare(self, requests: Sequence[Request]) -> list[Request]:
        """The same, of the server that knows only how long to answer."""
        return [Request(r.data.replace(b"/graphql", b"/%d" % r.length, 1), r.length) for r in requests]

    def sample(self, server: str, requests: list[Request]) -> Sample:
        process = self.servers[server]
        before = machine.cpu_seconds(process.pid)
        found = self._load(server, requests, self.size.connections)
        after = machine.cpu_seconds(process.pid)
        return Sample(found, None if before is None or after is None else after - before)

    def alone(self, server: str, requests: list[Request]) -> float:
        """Milliseconds of a request when there is no other."""
        return self._load(server, requests, 1).p50

    def _load(self, server: str, requests: list[Request], connections: int) -> Round:
        """The next round goes on where this one ended: what was asked last is asked again last."""
        found = load(self.servers[server].port, requests, connections=connections, seconds=self.size.seconds)
        begin = found.count % len(requests)
        requests[:] = requests[begin:] + requests[:begin]
        return found


def _compare(table: Table, name: str, asked: Sequence[Question], modes: Sequence[str], bench: Bench) -> None:
    requests = {server: bench.requests(server, asked) for server in modes}
    requests[BARE] = bench.bare(requests[WARM])
    for server in requests:
        bench.sample(server, requests[server])
    samples: dict[str, list[Sample]] = {server: [] for server in requests}
    for _ in range(bench.size.rounds):
        for server, taken in samples.items():
            taken.append(bench.sample(server, requests[server]))
    for server in modes:
        alone = bench.alone(server, requests[server])
        table.rows.append(_row(f"{name}, {server}", samples[server], samples[BARE], alone))
    length = median(request.length for request in requests[BARE])
    busiest = max(sample.round.busy for sample in samples[BARE])
    table.notes.append(f"{name}: {length:,.0f} bytes; the load generator used at most {busiest:.0%} of its core.")


def _row(name: str, ours: list[Sample], bare: list[Sample], alone: float) -> tuple[str, ...]:
    rounds = [sample.round for sample in ours]
    rates, floor = [found.rate for found in rounds], [sample.round.rate for sample in bare]
    share, cost = _used(ours)
    return (
        name,
        number(median(rates)),
        number(median(found.p50 for found in rounds)),
        number(median(found.p99 for found in rounds)),
        number(alone),
        share,
        cost,
        number(median(floor)),
        _used(bare)[1],
        ratio(rates, floor),
    )


def _used(samples: list[Sample]) -> tuple[str, str]:
    """The share of its core that the server had, and the microseconds that a request cost it."""
    if any(sample.used is None for sample in samples):
        return "?", "?"
    used = sum(sample.used or 0 for sample in samples)
    elapsed = sum(sample.round.elapsed for sample in samples)
    return f"{used / elapsed:.0%}", number(used * 1e6 / sum(sample.round.count for sample in samples))
