"""Embedded servers: started, shared, stopped, and taken over from whoever left them behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from app.devservices import Services, embedded, password

HOLD = (
    "import sys; from pathlib import Path; from app.devservices import embedded\nwith embedded(Path(sys.argv[1])): {}"
)
WAIT = "print('up', flush=True); sys.stdin.read()"


def is_alive(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state) and not state.startswith("Z")


def can_connect(services: Services) -> bool:
    psycopg.connect(services.database_url).close()
    return True


def holder(directory: Path) -> subprocess.Popen[str]:
    """Another process that uses the servers in the directory until its input ends."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLD.format(WAIT), str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_path_with_spaces_and_quotes_will_do(tmp_path: Path) -> None:
    with embedded(tmp_path / "my \"data\" 'here'") as services:
        assert can_connect(services)


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root with setpriv can become nobody")
def test_root_without_unshare_becomes_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing = tmp_path / "bin" / "unshare"
    refusing.parent.mkdir()
    refusing.write_text("#!/bin/sh\nexit 1\n")
    refusing.chmod(0o755)
    monkeypatch.setenv("PATH", f"{refusing.parent}:{os.environ['PATH']}")
    directory = Path("/tmp") / f"class-performance-test-{os.getpid()}"  # nobody must be able to reach it
    try:
        for _ in range(2):
            with embedded(directory) as services:
                assert can_connect(services)
                owner = subprocess.run(["ps", "-o", "user=", "-p", str(services.postgres_pid)], capture_output=True)
                assert owner.stdout.strip() == b"nobody"
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def test_the_owner_waits_for_those_who_share(tmp_path: Path) -> None:
    owner = holder(tmp_path)
    assert owner.stdout
    assert owner.stdout.readline() == "up\n"
    with embedded(tmp_path) as services:
        assert owner.stdin
        owner.stdin.close()
        time.sleep(0.5)
        assert owner.poll() is None
        assert can_connect(services)
    assert owner.wait(30) == 0
    assert owner.stderr
    assert "stay up for the others" in owner.stderr.read()
    assert not is_alive(services.postgres_pid)
    owner.stdout.close()
    owner.stderr.close()


@pytest.mark.parametrize("when", ["postgres/postmaster.pid", "valkey/valkey.conf"])
def test_stopped_while_it_starts_it_leaves_no_server(tmp_path: Path, when: str) -> None:
    starting = holder(tmp_path)
    while not (tmp_path / when).exists():
        time.sleep(0.001)
    starting.send_signal(signal.SIGINT)
    starting.communicate(timeout=30)
    left = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True, check=False).stdout.split()
    assert [pid for pid in left if is_alive(int(pid))] == []


def test_a_pid_that_is_somebody_elses_now_is_left_alone(tmp_path: Path) -> None:
    with embedded(tmp_path):
        pass
    (tmp_path / "postgres" / "postmaster.pid").write_text(f"{os.getpid()}\n")
    with embedded(tmp_path) as services:
        assert can_connect(services)


def test_a_secret_is_made_once_and_read_by_its_owner_alone(tmp_path: Path) -> None:
    secret = password(tmp_path / "new", "a.secret")
    assert password(tmp_path / "new", "a.secret") == secret
    assert len(secret) >= 32
    assert (tmp_path / "new" / "a.secret").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.secret"]


def test_where_the_servers_are_is_told_to_their_owner_alone(tmp_path: Path) -> None:
    with embedded(tmp_path) as services:
        told = tmp_path / "services.json"
        assert told.stat().st_mode & 0o777 == 0o600
        assert json.loads(told.read_text())["database_url"] == services.database_url
    assert not told.exists()
