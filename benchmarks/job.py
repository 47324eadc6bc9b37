"""Moves facts in a process of its own, whose peak memory is thus its own: `python -m benchmarks.job import FOLDER`."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import orjson
import psycopg

from app import observability
from app.district import Plan
from app.importers.csv_folder import FILES, import_folder
from app.main import services_of
from app.seed import seed
from app.settings import Settings
from app.shelf import shelf
from benchmarks import world


@dataclass(frozen=True, slots=True)
class Outcome:
    """`facts` are those that were stored. The peak is that of the process, without PostgreSQL's."""

    facts: int
    unchanged: int
    seconds: float
    megabytes: float


def perform(settings: Settings, kind: str, argument: object) -> Outcome:
    """In a session of its own, so that Ctrl-C reaches the benchmark alone; ended with it."""
    command = [sys.executable, "-m", "benchmarks.job", kind, str(argument)]
    environment = os.environ | world.environment(settings)
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            output, _ = process.communicate()
        finally:
            process.kill()
    if process.returncode:
        raise RuntimeError(f"`{kind}` failed.")
    return Outcome(**orjson.loads(output))


async def store_district(settings: Settings, classes: str) -> tuple[int, int]:
    counts = [0]
    async with services_of(settings) as services:
        plan = Plan(world.NOW, classes=int(classes))
        await seed(services.engine, plan, lambda _, facts: counts.append(facts))
    return counts[-1], 0


async def store_folder(settings: Settings, folder: str) -> tuple[int, int]:
    async with services_of(settings) as services:
        report = await import_folder(services.engine, Path(folder))
    assert not report.problem_count, report.problems[:3]
    return sum(tally.stored for tally in report.files.values()), sum(t.unchanged for t in report.files.values())


async def copy_folder(settings: Settings, folder: str) -> tuple[int, int]:
    """What PostgreSQL needs for the same files alone: COPY into the same tables, with their keys and constraints."""
    count = 0
    with psycopg.connect(settings.database_url.get_secret_value()) as connection, connection.cursor() as cursor:
        for name, kind in FILES.items():
            with (Path(folder) / name).open("rb") as file:
                columns = file.readline().decode()
                statement = f'COPY "{shelf(kind).table.name}" ({columns}) FROM STDIN (FORMAT csv)'
                with cursor.copy(statement.encode()) as copy:
                    while block := file.read(1 << 16):
                        copy.write(block)
            count += cursor.rowcount
    return count, 0


JOBS = {"seed": store_district, "import": store_folder, "copy": copy_folder}


def _peak() -> float:
    """Of this program. What the kernel says of the whole process counts whoever started it in, where it can."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 2**20


def run(kind: str, argument: str) -> None:
    settings = Settings()
    observability.configure(settings)
    began = time.perf_counter()
    facts, unchanged = asyncio.run(JOBS[kind](settings, argument))
    seconds = time.perf_counter() - began
    sys.stdout.buffer.write(orjson.dumps(Outcome(facts, unchanged, seconds, _peak())))


if __name__ == "__main__":
    run(*sys.argv[1:])
