"""`classperf worker` as an operator runs it: stopped, killed, started twice."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from app import migrate
from app.devservices import embedded
from tests.acceptance.test_command_line import PROGRAM, classperf, environment, free_port

PATIENCE = 30.0
STOPPED_WITHIN = 10.0
SCHOOL = """
    INSERT INTO school (id, title, time_zone) VALUES ('north', 'North', 'UTC');
    INSERT INTO class (id, school_id, title) SELECT 'c' || n, 'north', 'C' FROM generate_series(1, 300) AS n;
"""
# Each record takes a while, so that there is a middle to be killed in.
SLOWLY = """
    CREATE FUNCTION be_slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.01); RETURN NEW; END $$;
    CREATE TRIGGER slowly BEFORE UPDATE ON class_performance FOR EACH ROW EXECUTE FUNCTION be_slow();
"""
DONE = "SELECT count(*) FROM class_performance WHERE version > 0"
LEFT = "SELECT (SELECT count(*) FROM class_change) + (SELECT count(*) FROM performance_change)"


@contextmanager
def worker(directory: Path, name: str = "worker", **values: str) -> Iterator[subprocess.Popen[bytes]]:
    log = directory / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [PROGRAM, "worker"],
            cwd=directory,
            env=environment(**{"WORKER_PORT": "0", **values}),
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until(true: Callable[[], Any], patience: float = PATIENCE) -> Any:
    deadline = time.monotonic() + patience
    while not (found := true()):
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)
    return found


def stop(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM) -> int:
    process.send_signal(how)
    return process.wait(STOPPED_WITHIN)


@pytest.fixture
def database(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def ask(database: psycopg.Connection, question: str) -> Any:
    row = database.execute(question.encode()).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_in_order_and_soon(
    tmp_path: Path, database: psycopg.Connection, database_url: str, redis_url: str, how: signal.Signals
) -> None:
    with worker(tmp_path, DATABASE_URL=database_url, REDIS_URL=redis_url) as process:
        database.execute(SCHOOL.encode())
        until(lambda: ask(database, LEFT) == 0)
        assert stop(process, how) == 0
    assert ask(database, DONE) == 300


def test_in_the_middle_of_its_work_it_finishes_a_batch(
    tmp_path: Path, database: psycopg.Connection, database_url: str
) -> None:
    database.execute((SCHOOL + SLOWLY).encode())
    with worker(tmp_path, DATABASE_URL=database_url) as process:
        until(lambda: ask(database, DONE) > 0)
        assert stop(process) == 0
    done = ask(database, DONE)
    assert 0 < done < 300
    assert ask(database, "SELECT count(DISTINCT class_id) FROM class_change") == 300 - done


def test_killed_in_the_middle_it_leaves_everything_to_another(
    tmp_path: Path, database: psycopg.Connection, database_url: str, redis_url: str
) -> None:
    urls = {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
    database.execute((SCHOOL + SLOWLY).encode())
    for _ in range(2):
        done = ask(database, DONE)
        with worker(tmp_path, **urls) as process:
            until(lambda done=done: ask(database, DONE) > done)
            process.kill()
            process.wait()
    assert ask(database, DONE) < 300
    with worker(tmp_path, **urls):
        until(lambda: ask(database, LEFT) == 0)
    assert ask(database, DONE) == 300
    assert ask(database, "SELECT count(*) FROM class_performance_history") == 300
    assert ask(database, "SELECT count(*) FROM calculation_failure") == 0


def test_it_waits_for_tables_that_are_not_there_yet(
    tmp_path: Path, database: psycopg.Connection, database_url: str
) -> None:
    migrate.downgrade(database_url, "base")
    with worker(tmp_path, DATABASE_URL=database_url) as process:
        until(lambda: b"worker_loop_fails" in (tmp_path / "worker.log").read_bytes())
        migrate.upgrade(database_url)
        database.execute(SCHOOL.encode())
        until(lambda: ask(database, DONE) == 300)
        assert stop(process) == 0


def test_it_tells_how_it_is_doing(tmp_path: Path, database: psycopg.Connection, database_url: str) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    values = {"DATABASE_URL": database_url, "WORKER_PORT": port, "METRICS_TOKEN": "for the operator"}
    database.execute(SCHOOL.encode())
    with worker(tmp_path, **values) as first, worker(tmp_path, "second", **values) as second:
        until(lambda: ask(database, LEFT) == 0)
        assert until(lambda: fetch(f"{address}/healthz")) == "ok\n"
        assert fetch(f"{address}/metrics") == ""
        metrics = fetch(f"{address}/metrics", "for the operator")
        assert "classperf_database_up 1.0" in metrics
        assert "classperf_changes 0.0" in metrics
        # Whoever came second has no port, and works all the same.
        logs = [tmp_path / f"{name}.log" for name in ("worker", "second")]
        until(lambda: sum("no_metrics" in log.read_text() for log in logs) == 1)
        assert (stop(first), stop(second)) == (0, 0)
    calculated = [line for line in metrics.splitlines() if line.startswith("classperf_classes_calculated_total ")]
    assert calculated


def fetch(url: str, token: str = "") -> str:
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers={"authorization": f"Bearer {token}"})
        ) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def test_it_stops_even_if_the_database_says_nothing(tmp_path: Path) -> None:
    with embedded(tmp_path / "servers", fsync=False) as services:
        migrate.upgrade(services.database_url)
        listed = ["ps", "-o", "pid=", "--ppid", str(services.postgres_pid)]
        with worker(tmp_path, DATABASE_URL=services.database_url) as process:
            time.sleep(2)
            children = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()
            pids = [services.postgres_pid, *map(int, children)]
            try:
                for pid in pids:
                    os.kill(pid, signal.SIGSTOP)
                time.sleep(1)
                assert stop(process) == 0
            finally:
                for pid in pids:
                    os.kill(pid, signal.SIGCONT)


def test_it_does_not_start_with_settings_that_make_no_sense(tmp_path: Path, database_url: str) -> None:
    refused = classperf(tmp_path, "worker", DATABASE_URL=database_url, NIGHTLY_CRON="at three")
    assert (refused.returncode, "NIGHTLY_CRON" in refused.stderr) == (2, True)
    refused = classperf(tmp_path, "worker")
    assert (refused.returncode, "DATABASE_URL" in refused.stderr) == (2, True)
