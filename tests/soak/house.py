"""Everything that runs: both servers, two APIs, two workers, and a wire between each and whatever it talks to."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from redis import Redis

from app import devservices, migrate
from app.settings import Settings
from tests.soak import plan, world
from tests.soak.evidence import ANSWERED, Evidence
from tests.soak.links import Link
from tests.soak.plan import APIS, LINKS, PROCESSES, SERVERS, WORKERS, wire
from tests.soak.processes import Postgres, Process, Valkey

ROOT = Path(__file__).parent.parent.parent
PROGRAM = str(Path(sys.executable).with_name("classperf"))
SECRET = "a secret of the soak, at least thirty-two bytes long"
STARTED_WITHIN = 60.0
LOOK = 0.1
LINES = 6  # of a log
UNSET = ("DATABASE_URL", "REDIS_URL", "JWT_SECRET", "JWT_JWKS", "ENVIRONMENT", "PORT", "WORKER_PORT")
# The service gives up on a silent database soon, so that a minute holds many faults; and answers may be heavy.
SETTINGS = {"DATABASE_TIMEOUT": "3", "MAX_FIELDS": "200000"}


@dataclass(frozen=True)
class Spoiled:
    """A fault put in on purpose: into the `code` of the processes (its name in tests.soak.spoiled), by a statement into
    the database, or by an option of PostgreSQL."""

    code: str = ""
    sql: str = ""
    postgres: tuple[str, ...] = ()


SOUND = Spoiled()


class House:
    def __init__(self, directory: Path, evidence: Evidence, spoiled: Spoiled) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.evidence = evidence
        self.postgres = Postgres(directory / "postgres", *spoiled.postgres)
        self.valkey = Valkey(directory / "valkey")
        self.processes: dict[str, Process] = {"postgres": self.postgres, "valkey": self.valkey}
        self.links: dict[str, Link] = {}
        self.ports = {api: devservices._free_port() for api in APIS}
        self._spoiled = spoiled
        self._program = [sys.executable, "-m", "tests.soak.spoiled", spoiled.code] if spoiled.code else [PROGRAM]
        self._troubles = {name: asyncio.Lock() for name in PROCESSES}

    @property
    def settings(self) -> Settings:
        """For the harness itself, which talks to the servers past all wires."""
        return Settings(database_url=self.postgres.url, redis_url=self.valkey.url, jwt_secret=SECRET)

    @property
    def addresses(self) -> list[str]:
        """Of the APIs, through the clients' links."""
        return [f"http://127.0.0.1:{self.links[wire(plan.CLIENTS, api)].port}" for api in APIS]

    @property
    def direct_addresses(self) -> list[str]:
        return [f"http://127.0.0.1:{self.ports[api]}" for api in APIS]

    def redis(self) -> Redis:
        return Redis.from_url(self.valkey.url, socket_timeout=2, socket_connect_timeout=2)

    async def open(self) -> None:
        await asyncio.to_thread(migrate.upgrade, self.postgres.url)
        await asyncio.to_thread(world.create, self.postgres.url, self._spoiled.sql)
        ports = {"postgres": self.postgres.port, "valkey": self.valkey.port, **self.ports}
        for source, server in LINKS:
            link = self.links[wire(source, server)] = Link(wire(source, server), ports[server])
            await link.open()
        for name in (*APIS, *WORKERS):
            self.processes[name] = self._process(name)
            self.processes[name].start()

    def _process(self, name: str) -> Process:
        command = [*self._program, "serve" if name in APIS else "worker"]
        environment = {
            **{key: value for key, value in os.environ.items() if key not in UNSET},
            "DATABASE_URL": self.postgres.url_at(self.links[wire(name, "postgres")].port),
            "REDIS_URL": self.valkey.url_at(self.links[wire(name, "valkey")].port),
            "JWT_SECRET": SECRET,
            "PORT": str(self.ports.get(name, 0)),
            "WORKER_PORT": "0",
            "PYTHONPATH": str(ROOT),
            **SETTINGS,
        }
        return Process(name, command, self.directory / f"{name}.log", environment)

    async def close(self) -> None:
        """The processes first, in order, so that they could say what they have to say."""
        for link in self.links.values():
            link.heal()
        names = sorted(self.processes, key=lambda name: name in SERVERS)
        for name in names:
            how = signal.SIGINT if name == "postgres" else signal.SIGTERM
            code = await asyncio.to_thread(self.processes[name].stop, how)
            if code not in (0, -signal.SIGTERM, 128 + signal.SIGTERM):
                self.evidence.complain(ANSWERED, f"{name} was asked to stop and ended with {code}")
        for link in self.links.values():
            link.close()

    def kill(self) -> None:
        for process in self.processes.values():
            process.kill()

    async def supervise(self) -> None:
        """Starts again what ended by itself, which nothing should."""
        while True:
            for name, process in self.processes.items():
                if process.ended is not None and not self._troubles[name].locked():
                    self.evidence.complain(ANSWERED, f"{name} ended by itself with {process.ended}")
                    process.start()
            await asyncio.sleep(LOOK)

    @contextlib.asynccontextmanager
    async def trouble(self, name: str) -> AsyncIterator[Process]:
        """One at a time. Meanwhile its end is nobody's fault but ours."""
        async with self._troubles[name]:
            yield self.processes[name]

    async def until_all_answer(self) -> None:
        try:
            async with asyncio.timeout(STARTED_WITHIN):
                for port in (self.postgres.port, self.valkey.port, *self.ports.values()):
                    await _listening(port)
                await asyncio.to_thread(self.postgres.wait)
        except TimeoutError:
            raise AssertionError("Not all have started.\n" + "\n".join(self.logs())) from None

    def logs(self) -> Iterator[str]:
        """The end of what each process has said."""
        for log in sorted(self.directory.glob("*.log")):
            yield f"The end of {log.name}:\n" + "\n".join(log.read_text().splitlines()[-LINES:])


async def _listening(port: int) -> None:
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(LOOK)


@contextlib.asynccontextmanager
async def house_in(directory: Path, evidence: Evidence, spoiled: Spoiled) -> AsyncIterator[House]:
    """Leaves no process behind."""
    house = House(directory, evidence, spoiled)
    supervisor = None
    try:
        await house.open()
        await house.until_all_answer()
        supervisor = asyncio.create_task(house.supervise())
        yield house
        supervisor.cancel()
        await house.close()
    finally:
        if supervisor:
            supervisor.cancel()
        house.kill()
