"""The machine: its cores, who runs on which, and how it is described."""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

PACKAGES = (
    "uvicorn",
    "websockets",
    "starlette",
    "strawberry-graphql",
    "graphql-core",
    "redis",
    "psycopg",
    "SQLAlchemy",
    "orjson",
)


@dataclass(frozen=True, slots=True)
class Cores:
    """One for the server, one for the load, the rest for PostgreSQL and Valkey; with two, they share the load's."""

    server: frozenset[int]
    load: frozenset[int]
    data: frozenset[int]

    @property
    def apart(self) -> bool:
        return not self.server & self.load

    @property
    def everywhere(self) -> frozenset[int]:
        return self.server | self.load | self.data

    def __str__(self) -> str:
        if not self.apart:
            return "nothing is pinned"
        server, load, data = (",".join(map(str, sorted(cores))) for cores in (self.server, self.load, self.data))
        return f"server {server}, load {load}, PostgreSQL and Valkey {data}"


def cores() -> Cores:
    """Those this process may use. Where they cannot be chosen, or there is one alone, everything runs everywhere."""
    found = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(found) < 2:
        everywhere = frozenset(found)
        return Cores(everywhere, everywhere, everywhere) if found else Cores(*[frozenset({0})] * 3)
    server, load, *rest = found
    return Cores(frozenset({server}), frozenset({load}), frozenset(rest or [load]))


def pin(pid: int, where: frozenset[int]) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(pid, where)


@contextmanager
def pinned(where: frozenset[int]) -> Iterator[None]:
    """This process, and what it starts meanwhile."""
    before = frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else where
    pin(0, where)
    try:
        yield
    finally:
        pin(0, before)


def cpu_seconds(pid: int) -> float | None:
    """What a process has used so far, where that can be read."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int | None:
    """What a process has in memory, where that can be read."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")), None)


def allow_open_files(wanted: int) -> int:
    """To this process and what it starts, as far as it may; how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed


def describe() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{_cpu()}, {os.cpu_count()} CPUs, {platform.system()} {platform.release()}, load average before: {load}\n"
        f"Python {platform.python_version()}, {packages}"
    )


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
