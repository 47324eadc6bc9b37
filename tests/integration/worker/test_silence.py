"""A PostgreSQL that says nothing for a while: a worker waits for it, but not for ever, and goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import SecretStr
from redis.asyncio import Redis

from app import migrate
from app.database import create_engine
from app.devservices import embedded
from app.settings import Settings
from tests.working import ask, idle, measured, tell, until, workers

SCHOOL = "INSERT INTO school (id, title, time_zone) VALUES ('north', 'North', 'UTC')"
CLASSES = "INSERT INTO class (id, school_id, title) SELECT 'c' || n, 'north', 'C' FROM generate_series({}, {}) AS n"
FAILED = "classperf_worker_loop_failures_total"


@contextmanager
def silent(postgres: int) -> Iterator[None]:
    """With its children, which are sessions of their own."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(postgres)], capture_output=True, text=True, check=False)
    pids = [postgres, *map(int, listed.stdout.split())]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def test_a_worker_gives_up_on_a_silent_server_and_goes_on_with_it_later(tmp_path: Path, redis: Redis) -> None:
    with embedded(tmp_path / "servers", fsync=False) as services:
        migrate.upgrade(services.database_url)
        settings = Settings(database_url=SecretStr(services.database_url), worker_timeout=0.5)
        engine = create_engine(settings)
        async with workers(settings, 2):
            await tell(engine, SCHOOL, CLASSES.format(1, 100))
            await idle(engine)
            await tell(engine, CLASSES.format(101, 500))
            failed = measured(FAILED, loop="calculate")
            with silent(services.postgres_pid):
                await until(lambda: _failed(failed + 2))
            await idle(engine)
            assert await ask(engine, "SELECT count(*) FROM class_performance WHERE version = 1") == 500
            assert await ask(engine, "SELECT count(*) FROM calculation_failure") == 0
            with silent(services.postgres_pid):
                await asyncio.sleep(0.2)
                begun = time.monotonic()
        assert time.monotonic() - begun < 10
        await engine.dispose()


async def _failed(times: float) -> bool:
    return measured(FAILED, loop="calculate") >= times
