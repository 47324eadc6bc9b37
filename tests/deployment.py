"""The product as an operator runs it: `classperf serve` and `classperf worker` on one database and one Redis."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from app import devservices
from app.auth import ViewerRole, mint
from app.settings import Settings
from tests.conftest import SECRET
from tests.soak.processes import Process

PROGRAM = str(Path(sys.executable).with_name("classperf"))
UNSET = {"DATABASE_URL", "REDIS_URL", "JWT_SECRET", "JWT_JWKS", "ENVIRONMENT", "PORT", "WORKER_PORT"}
STARTED_WITHIN = 30.0
CALCULATED_WITHIN = 20.0
LOOK = 0.05

SCHOOL = "INSERT INTO school (id, title, time_zone) VALUES ('north', 'North', 'UTC')"
PERSON = "INSERT INTO person (id, school_id) VALUES ('sam', 'north')"
CLASS = "INSERT INTO class (id, school_id, title) VALUES (%s, 'north', 'A class')"
ENROLLMENT = "INSERT INTO enrollment (class_id, id, person_id, role) VALUES (%s, 'e', 'sam', 'STUDENT')"
ABSENCE = (
    "INSERT INTO attendance (class_id, student_id, session_date, session_key, status) "
    "SELECT %s, 'sam', '2026-03-02', 'hour ' || g, 'ABSENT' FROM generate_series(%s::int, %s::int) g"
)


@dataclass(frozen=True)
class Server:
    port: int
    process: Process


class Deployment:
    """School north with sam in it, and what a program that knows only SQL does to its classes."""

    server: Server

    def __init__(self, directory: Path, database_url: str, redis_url: str) -> None:
        self._directory = directory
        self._environment = {
            **{name: value for name, value in os.environ.items() if name not in UNSET},
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "JWT_SECRET": SECRET,
            "WORKER_PORT": "0",
        }
        self._settings = Settings(jwt_secret=SECRET)
        self._absences: dict[str, int] = {}
        self._database = psycopg.connect(database_url, autocommit=True)
        for statement in (SCHOOL, PERSON):
            self._database.execute(statement)

    def close(self) -> None:
        self._database.close()

    def token(self, lifetime: int = 600, role: str = "admin") -> str:
        return mint(self._settings, "somebody", ViewerRole(role), lifetime=lifetime)

    @contextlib.contextmanager
    def running(self, command: str, **more: str) -> Iterator[Process]:
        log = self._directory / f"{command}.log"
        process = Process(command, [PROGRAM, command], log, {**self._environment, **more})
        process.start()
        try:
            yield process
        finally:
            assert process.stop() in (None, 0, 128 + 15), log.read_text()

    @contextlib.contextmanager
    def serving(self) -> Iterator[Server]:
        """Once it answers."""
        port = devservices._free_port()
        with self.running("serve", PORT=str(port)) as process:
            _wait_until_healthy(port, process)
            yield Server(port, process)

    async def new_class(self, class_id: str) -> str:
        """Its record is calculated, and nobody is absent."""
        with self._database.transaction():
            for statement in (CLASS, ENROLLMENT):
                self._database.execute(statement, [class_id])
        self._absences[class_id] = 0
        await self._calculated(class_id)
        return class_id

    async def absent(self, class_id: str, times: int = 1) -> int:
        """Says how many absences the class has now, as its record does."""
        first = self._absences[class_id] + 1
        self._absences[class_id] += times
        self._database.execute(ABSENCE, [class_id, first, self._absences[class_id]])
        await self._calculated(class_id)
        return self._absences[class_id]

    async def _calculated(self, class_id: str) -> None:
        deadline = time.monotonic() + CALCULATED_WITHIN
        while self._recorded(class_id) != self._absences[class_id]:
            assert time.monotonic() < deadline, (self._directory / "worker.log").read_text()
            await asyncio.sleep(LOOK)

    def _recorded(self, class_id: str) -> Any:
        statement = "SELECT absent_count FROM class_performance WHERE class_id = %s AND version > 0"
        return next(iter(self._database.execute(statement, [class_id]).fetchone() or ()), None)


def _wait_until_healthy(port: int, process: Process) -> None:
    deadline = time.monotonic() + STARTED_WITHIN
    while time.monotonic() < deadline and not process.ended:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2) as response,
        ):
            if response.status == 200:
                return
        time.sleep(LOOK)
    raise AssertionError(process.log.read_text())
