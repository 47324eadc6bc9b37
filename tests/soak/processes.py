"""Processes of our own: to kill, to stop for a while, and to start again with the same port and the same data."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psycopg

from app import devservices

PASSWORD = "a-password-of-the-soak"
STARTED_WITHIN = 30.0
STOPPED_WITHIN = 15.0
BETWEEN = 0.02  # two looks


class Process:
    def __init__(
        self, name: str, command: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def adopt(self, process: subprocess.Popen[bytes]) -> None:
        """One that somebody else has started by this very command."""
        self._process = process

    @property
    def ended(self) -> int | None:
        """The code with which it ended, if it did so by itself: who kills or stops it leaves nothing to be seen."""
        return self._process.poll() if self._process else None

    def kill(self) -> None:
        """With all its children, none of which gets to say anything."""
        process, self._process = self._process, None
        if process:
            family = self._family(process)
            for pid in family:
                _signal(pid, signal.SIGKILL)
            process.wait()
            _wait_for_end(family[1:])

    def pause(self) -> None:
        if self._process:
            _signal(self._process.pid, signal.SIGSTOP)  # first, so that it has no more children
            for pid in self._family(self._process)[1:]:
                _signal(pid, signal.SIGSTOP)

    def resume(self) -> None:
        if self._process:
            for pid in reversed(self._family(self._process)):
                _signal(pid, signal.SIGCONT)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int | None:
        """In order; the code it ended with, None if it had to be killed."""
        if not self._process:
            return None
        self.resume()
        _signal(self._process.pid, how)
        try:
            return self._process.wait(STOPPED_WITHIN)
        except subprocess.TimeoutExpired:
            self.kill()
            return None
        finally:
            self._process = None

    def _family(self, process: subprocess.Popen[bytes]) -> list[int]:
        listed = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False)
        return [process.pid, *map(int, listed.stdout.split())]


def _signal(pid: int, how: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, how)


def _wait_for_end(pids: Sequence[int]) -> None:
    """PostgreSQL does not start again while one of its old processes holds its shared memory."""
    deadline = time.monotonic() + STOPPED_WITHIN
    while any(map(_runs, pids)) and time.monotonic() < deadline:
        time.sleep(BETWEEN)


def _runs(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state) and not state.startswith("Z")


class Postgres(Process):
    """What it has committed it has written to disk: kill -9 must not lose it."""

    def __init__(self, directory: Path, *options: str) -> None:
        stack = contextlib.ExitStack()
        process, self.port = devservices._start_postgres(directory, PASSWORD, stack, fsync=True)
        super().__init__("postgres", [*process.args, *options], directory / "server.log")
        self.adopt(process)
        devservices._create_database(f"{self.url.rpartition('/')[0]}/postgres")
        if options:
            self.stop(signal.SIGINT)
            self.start()
            self.wait()

    def wait(self) -> None:
        """Until it has recovered and takes connections."""
        deadline = time.monotonic() + STARTED_WITHIN
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(BETWEEN)

    @property
    def url(self) -> str:
        return self.url_at(self.port)

    def url_at(self, port: int) -> str:
        """Its own port, or that of somebody who stands before it."""
        return f"postgresql://postgres:{PASSWORD}@127.0.0.1:{port}/{devservices.DATABASE}"


class Valkey(Process):
    """Keeps nothing of its own accord: it comes back empty, or as it was when it was last told to `SAVE`."""

    def __init__(self, directory: Path) -> None:
        process, self.port = devservices._start_valkey(directory, PASSWORD, contextlib.ExitStack())
        super().__init__("valkey", list(process.args), directory / "server.log")
        self.adopt(process)
        self._saved = directory / "dump.rdb"

    def forget(self) -> None:
        self._saved.unlink(missing_ok=True)

    @property
    def url(self) -> str:
        return self.url_at(self.port)

    def url_at(self, port: int) -> str:
        return f"redis://:{PASSWORD}@127.0.0.1:{port}/0"
