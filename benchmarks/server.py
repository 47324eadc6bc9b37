"""A process to put load on: `python -m benchmarks.server app` or `worker`; `bare` or `broadcast` to compare with."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from socket import create_connection, socket

from starlette.types import ASGIApp, Receive, Scope, Send

from app import main, observability
from app.server import Server, configure
from app.settings import Settings
from app.worker import work
from benchmarks import world
from benchmarks.broadcast import Broadcast
from benchmarks.client import HOST
from benchmarks.machine import pin

STARTED_WITHIN = 30.0
STOPPED_WITHIN = 15.0
STDERR = 2  # Logs must not come between the rows of a table.


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    port: int


@contextmanager
def running(kind: str, settings: Settings, where: frozenset[int]) -> Iterator[Process]:
    """In a session of its own, so that Ctrl-C reaches the benchmark alone, which then stops it."""
    port = _free_port()
    environment = os.environ | world.environment(settings) | {"HOST": HOST, "PORT": str(port), "WORKER_PORT": str(port)}
    command = [sys.executable, "-m", "benchmarks.server", kind]
    with subprocess.Popen(command, env=environment, stdout=STDERR, start_new_session=True) as process:
        try:
            pin(process.pid, where)
            _wait_until_listening(process, port)
            yield Process(process.pid, port)
        finally:
            _stop(process)


def _wait_until_listening(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + STARTED_WITHIN
    while True:
        try:
            create_connection((HOST, port), 1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("A server to put load on did not start.") from None
            time.sleep(0.02)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOPPED_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()


def _free_port() -> int:
    with socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the request and answers as many bytes as its path says, with the headers that the service would send."""
    if scope["type"] != "http":
        await _lifespan(receive, send)
        return
    while (await receive()).get("more_body"):
        pass
    headers, body = _answer(int(scope["path"][1:]))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _lifespan(receive: Receive, send: Send) -> None:
    """The service freezes what is alive at its start; so does this."""
    await receive()
    gc.collect()
    gc.freeze()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


@lru_cache(maxsize=10_000)
def _answer(length: int) -> tuple[list[tuple[bytes, bytes]], bytes]:
    headers = {
        "content-type": "application/graphql-response+json; charset=utf-8",
        "cache-control": "no-store",
        "content-length": str(length),
    }
    return [(name.encode(), value.encode()) for name, value in headers.items()], b"x" * length


def serve(kind: str) -> None:
    settings = Settings()
    observability.configure(settings)
    if kind == "worker":
        asyncio.run(work(settings))
    elif kind == "app":
        main.serve(settings)
    else:
        app: ASGIApp = Broadcast(settings.redis_url.get_secret_value()) if kind == "broadcast" else bare
        Server(configure(app, settings), None, asyncio.Event()).run()


if __name__ == "__main__":
    serve(sys.argv[1])
