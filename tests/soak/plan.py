"""Which faults happen when. The same seed gives the same plan."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

APIS = ("api-0", "api-1")
WORKERS = ("worker-0", "worker-1")
SERVERS = ("postgres", "valkey")
PROCESSES = (*APIS, *WORKERS, *SERVERS)
CLIENTS = "clients"
# Who talks to whom: every process to both servers, the clients to both APIs.
LINKS = (
    *((process, server) for process in (*APIS, *WORKERS) for server in SERVERS),
    *((CLIENTS, api) for api in APIS),
)

KILL, PAUSE, CUT, DELAY, LOSE, EMPTY = "kill -9", "SIGSTOP", "cut", "delay", "half-open", "FLUSHALL"


@dataclass(frozen=True)
class Fault:
    """`at` seconds after the load began, for `seconds`.

    `target` is a process, or a link as "worker-0 valkey". `extent`: by how many seconds a link delays; how many seconds
    before its end a killed Valkey had last written to disk what it comes back with (0: it comes back empty).
    """

    at: float
    kind: str
    target: str
    seconds: float = 0.0
    extent: float = 0.0

    def __str__(self) -> str:
        extent = f", {self.extent:.2f} s" if self.extent else ""
        return f"{self.at:6.2f} s  {self.kind} {self.target} for {self.seconds:.2f} s{extent}"


def wire(source: str, server: str) -> str:
    return f"{source} {server}"


# Each kind of process is killed, one is stopped, one link is half open: as few as show that all is well.
SHORT = (
    Fault(1.0, KILL, "worker-0", 0.5),
    Fault(1.8, KILL, "valkey", 0.6, extent=0.8),
    Fault(3.4, LOSE, wire("api-1", "valkey"), 1.5),
    Fault(4.0, KILL, "api-0", 0.2),
    Fault(5.5, KILL, "postgres", 0.4),
    Fault(7.5, PAUSE, "worker-1", 1.5),
    Fault(8.0, CUT, wire("clients", "api-1")),
)

WEIGHTS = {KILL: 4, PAUSE: 4, CUT: 3, DELAY: 2, LOSE: 3, EMPTY: 1}
BETWEEN = 0.9  # seconds from one fault to the next, on average


def random_plan(seed: int, seconds: float) -> tuple[Fault, ...]:
    """Faults overlap, but no target has two at once; the last is over when the load ends."""
    choice = random.Random(seed)
    faults: list[Fault] = []
    busy: dict[str, float] = {}
    at = 1.0
    while at < seconds - 5:
        fault = _random_fault(choice, round(at, 2))
        if busy.get(fault.target, 0.0) <= at:
            faults.append(fault)
            # A process gets some time to start, or the load would meet nothing but closed doors.
            busy[fault.target] = at + fault.seconds + (3.0 if fault.kind == KILL else 0.5)
        at += choice.expovariate(1 / BETWEEN)
    return tuple(faults)


def _random_fault(choice: random.Random, at: float) -> Fault:
    (kind,) = choice.choices([*WEIGHTS], [*WEIGHTS.values()])
    if kind == KILL:
        target = choice.choice(PROCESSES)
        extent = choice.choice((0.0, 0.3, 1.0, 3.0)) if target == "valkey" else 0.0
        return Fault(at, kind, target, _seconds(choice, 0.0, 2.0), extent)
    if kind == PAUSE:
        return Fault(at, kind, choice.choice(PROCESSES), _seconds(choice, 0.5, 4.0))
    if kind == EMPTY:
        return Fault(at, kind, "valkey")
    target = wire(*choice.choice(LINKS))
    if kind == CUT:
        return Fault(at, kind, target)
    extent = choice.choice((0.02, 0.15, 0.6)) if kind == DELAY else 0.0
    return Fault(at, kind, target, _seconds(choice, 0.5, 4.0), extent)


def _seconds(choice: random.Random, low: float, high: float) -> float:
    return round(choice.uniform(low, high), 2)


def written(plan: Iterable[Fault]) -> str:
    return "\n".join(map(str, plan))
