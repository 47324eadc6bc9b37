"""What a stranger types: the real program in a directory of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jwt
import psycopg
import pytest

from app.devservices import Services

PROGRAM = str(Path(sys.executable).with_name("classperf"))
PATIENCE = 60.0


def environment(**values: str) -> dict[str, str]:
    """This shell's, without what it may say of databases and keys."""
    unset = {"DATABASE_URL", "REDIS_URL", "JWT_SECRET", "JWT_JWKS", "ENVIRONMENT", "PORT"}
    return {name: value for name, value in os.environ.items() if name not in unset} | values


def classperf(directory: Path, *arguments: str, **values: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, *arguments],
        cwd=directory,
        env=environment(**values),
        capture_output=True,
        text=True,
        timeout=PATIENCE * 3,
        check=False,
    )


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@contextmanager
def running(directory: Path, **values: str) -> Iterator[dict[str, str]]:
    """`classperf dev`, ended by Ctrl-C; gives the address and the tokens that it prints."""
    log = directory / "dev.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [PROGRAM, "dev"], cwd=directory, env=environment(**values), stdout=output, stderr=output
        )
        try:
            yield said(process, log)
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 130, log.read_text()


def said(process: subprocess.Popen[bytes], log: Path) -> dict[str, str]:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        words = dict(re.findall(r"^(GraphQL|admin|school_admin|teacher|service|a class) +(\S+)", log.read_text(), re.M))
        if "service" in words:
            return words
        time.sleep(0.1)
    raise AssertionError(log.read_text())


def ask(said: dict[str, str], role: str, query: str, **variables: Any) -> Any:
    request = urllib.request.Request(
        said["GraphQL"],
        json.dumps({"query": query, "variables": variables}).encode(),
        {"authorization": f"Bearer {said[role]}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        answer = json.load(response)
    assert "errors" not in answer, answer
    return answer["data"]


def servers_of(directory: Path) -> dict[str, Any]:
    services: dict[str, Any] = json.loads((directory / ".data" / "services.json").read_text())
    return services


def is_alive(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state) and not state.startswith("Z")


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    directory = tmp_path_factory.mktemp("product")
    with running(directory, PORT=free_port()) as words:
        yield directory, words


def test_each_role_gets_a_token_that_shows_it_something(product: tuple[Path, dict[str, str]]) -> None:
    _, words = product
    query = "query($id: ID!) { viewer { role } classPerformance(classId: $id) { classId averageGrade } }"
    for role in ("admin", "school_admin", "teacher", "service"):
        data = ask(words, role, query, id=words["a class"])
        assert data["viewer"]["role"] == role.upper()
        assert data["classPerformance"]["classId"] == words["a class"]


def test_fifty_classes_are_one_question(product: tuple[Path, dict[str, str]]) -> None:
    _, words = product
    ids = [f"class-{number:05}" for number in range(1, 51)]
    found = ask(words, "admin", "query($ids: [ID!]!) { classPerformances(ids: $ids) { classId } }", ids=ids)
    assert [record["classId"] for record in found["classPerformances"]] == ids


def test_one_absence_gives_exactly_the_right_new_rate(product: tuple[Path, dict[str, str]]) -> None:
    directory, words = product
    class_id = words["a class"]
    with psycopg.connect(servers_of(directory)["database_url"]) as connection:
        today = (
            "SELECT (clock_timestamp() AT TIME ZONE s.time_zone)::date FROM class c JOIN school s ON s.id = school_id"
        )
        (day,) = connection.execute(f"{today} WHERE c.id = %s".encode(), [class_id]).fetchone() or (None,)
        student = "SELECT person_id FROM enrollment WHERE class_id = %s AND role = 'STUDENT' AND ends IS NULL LIMIT 1"
        (person,) = connection.execute(student, [class_id]).fetchone() or (None,)
    counts = "presentCount lateCount absentCount excusedCount attendanceRate version"
    before = ask(words, "teacher", f'{{ classPerformance(classId: "{class_id}") {{ {counts} }} }}')["classPerformance"]
    mutation = "mutation($items: [AttendanceInput!]!) { recordAttendance(input: {items: $items}) { __typename } }"
    item = {
        "classId": class_id,
        "studentId": person,
        "sessionDate": str(day),
        "sessionKey": "a session of the test",
        "status": "ABSENT",
    }
    recorded = ask(words, "teacher", mutation, items=[item])["recordAttendance"]
    assert recorded == {"__typename": "RecordFactsSuccess"}
    after, query = before, f'{{ classPerformance(classId: "{class_id}") {{ {counts} }} }}'
    deadline = time.monotonic() + 30
    while after == before and time.monotonic() < deadline:
        time.sleep(0.05)
        after = ask(words, "teacher", query)["classPerformance"]
    present = before["presentCount"] + before["lateCount"]
    assert after["absentCount"] == before["absentCount"] + 1
    assert after["version"] == before["version"] + 1
    counted = present + before["absentCount"] + 1
    with_excused = counted + before["excusedCount"]
    assert after["attendanceRate"] in (round(100 * present / counted, 2), round(100 * present / with_excused, 2))


def test_a_port_in_use_is_a_clear_error(product: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    _, words = product
    port = re.search(r":(\d+)/", words["GraphQL"])
    assert port
    refused = classperf(tmp_path, "dev", PORT=port[1])
    assert refused.returncode == 2
    assert f"Port {port[1]} on 127.0.0.1 cannot be used" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_commands_beside_it_use_its_servers(product: tuple[Path, dict[str, str]]) -> None:
    directory, words = product
    again = classperf(directory, "recalculate", "--class", words["a class"])
    assert again.returncode == 0, again.stderr
    at = classperf(directory, "recalculate", "--class", words["a class"], "--at", "2020-01-01T00:00:00Z")
    numbers = json.loads(at.stdout)
    assert (numbers["classId"], numbers["activitiesCreated"], numbers["averageGrade"]) == (words["a class"], 0, None)
    stored = ask(words, "admin", f'{{ classPerformance(classId: "{words["a class"]}") {{ activitiesCreated }} }}')
    assert stored["classPerformance"]["activitiesCreated"] > 0


def test_an_unknown_class_is_named(product: tuple[Path, dict[str, str]]) -> None:
    directory, words = product
    refused = classperf(directory, "recalculate", "--class", words["a class"], "--class", "nope")
    assert (refused.returncode, refused.stderr) == (2, "classperf: There is no class nope.\n")


def test_a_database_that_is_away_is_told_in_a_line(tmp_path: Path) -> None:
    refused = classperf(tmp_path, "recalculate", "--all", DATABASE_URL="postgresql://nobody@127.0.0.1:1/nowhere")
    assert refused.returncode == 2
    assert refused.stderr.startswith("classperf: ")
    assert "Traceback" not in refused.stderr
    migrating = classperf(tmp_path, "migrate", DATABASE_URL="postgresql://nobody@127.0.0.1:1/nowhere")
    assert (migrating.returncode, "Traceback" in migrating.stderr) == (2, False)
    assert not (tmp_path / ".data" / "postgres").exists()


def test_a_database_without_the_tables_is_told_in_a_line(tmp_path: Path, servers: Services) -> None:
    empty = servers.database_url.rsplit("/", 1)[0] + "/postgres"
    done = classperf(tmp_path, "recalculate", "--all", DATABASE_URL=empty)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "classperf: the database has not the tables of this version: run `classperf migrate`"
    )


def test_recalculation_goes_on_after_a_class(product: tuple[Path, dict[str, str]]) -> None:
    directory, _ = product
    done = classperf(directory, "recalculate", "--all", "--after", "class-00150")
    assert done.returncode == 0
    assert "50/50" in done.stderr


def test_a_folder_is_imported_and_the_second_time_changes_nothing(
    product: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    directory, words = product
    (tmp_path / "schools.csv").write_text("id,title,time_zone\nannex,Annex,Europe/Paris\n")
    (tmp_path / "people.csv").write_text("id,school_id\neve,annex\n")
    (tmp_path / "classes.csv").write_text("id,school_id,title\nart-1,annex,Art\n")
    (tmp_path / "enrollments.csv").write_text("class_id,id,person_id,role\nart-1,1,eve,STUDENT\n")
    (tmp_path / "attendance.csv").write_text(
        "class_id,student_id,session_date,status\nart-1,eve,2026-03-02,PRESENT\nart-1,eve,2026-03-03,ABSENT\n"
    )
    rehearsed = classperf(directory, "import", "csv", str(tmp_path), "--dry-run")
    assert "attendance.csv: 2 would be stored, 0 unchanged" in rehearsed.stdout
    question = '{ classPerformance(classId: "art-1") { attendanceRate version } }'
    assert ask(words, "admin", question) == {"classPerformance": None}
    first = classperf(directory, "import", "csv", str(tmp_path))
    assert "attendance.csv: 2 stored, 0 unchanged" in first.stdout
    second = classperf(directory, "import", "csv", str(tmp_path))
    assert "attendance.csv: 0 stored, 2 unchanged" in second.stdout
    assert ask(words, "admin", question) == {"classPerformance": {"attendanceRate": 50.0, "version": 1}}


def test_an_import_with_a_problem_names_the_place_and_stores_nothing(
    product: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    directory, _ = product
    (tmp_path / "schools.csv").write_text("id,title,time_zone\nother,Other,Mars/Olympus\n")
    refused = classperf(directory, "import", "csv", str(tmp_path))
    assert refused.returncode == 1
    assert "schools.csv:2: time_zone:" in refused.stderr
    assert "nothing was stored" in refused.stderr


def test_a_second_run_keeps_the_data_and_ctrl_c_stops_every_server(tmp_path: Path) -> None:
    seeded = classperf(tmp_path, "seed", "--classes", "3", "--students", "4", "--activities", "5")
    assert seeded.returncode == 0, seeded.stderr
    count = "{ classPerformanceConnection { totalCount } }"
    with running(tmp_path, PORT=free_port()) as words:
        services = servers_of(tmp_path)
        assert ask(words, "admin", count) == {"classPerformanceConnection": {"totalCount": 3}}
        assert is_alive(services["postgres_pid"])
        assert is_alive(services["valkey_pid"])
    assert not is_alive(services["postgres_pid"])
    assert not is_alive(services["valkey_pid"])
    with running(tmp_path, PORT=free_port()) as words:
        assert ask(words, "admin", count) == {"classPerformanceConnection": {"totalCount": 3}}


def test_after_kill_9_the_servers_left_behind_are_taken_over(tmp_path: Path) -> None:
    classperf(tmp_path, "seed", "--classes", "2", "--students", "2", "--activities", "2")
    log = tmp_path / "dev.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [PROGRAM, "dev"], cwd=tmp_path, env=environment(PORT=free_port()), stdout=output, stderr=output
        )
    said(process, log)
    orphans = servers_of(tmp_path)
    process.kill()
    process.wait(PATIENCE)
    assert is_alive(orphans["postgres_pid"])
    with running(tmp_path, PORT=free_port()) as words:
        assert not is_alive(orphans["postgres_pid"])
        assert not is_alive(orphans["valkey_pid"])
        count = ask(words, "admin", "{ classPerformanceConnection { totalCount } }")
        assert count == {"classPerformanceConnection": {"totalCount": 2}}


def test_a_first_run_cut_short_is_finished_by_the_next(tmp_path: Path) -> None:
    """Killed while it makes the demonstration's classes, and again while it calculates."""
    for _ in range(2):
        log = tmp_path / "dev.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                [PROGRAM, "dev"], cwd=tmp_path, env=environment(PORT=free_port()), stdout=output, stderr=output
            )
        wait_for_classes(tmp_path)
        process.kill()
        process.wait(PATIENCE)
    with running(tmp_path, PORT=free_port()) as words:
        count = ask(words, "admin", "{ classPerformanceConnection { totalCount } }")
        assert count == {"classPerformanceConnection": {"totalCount": 200}}


def wait_for_classes(directory: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with (
            contextlib.suppress(OSError, psycopg.Error, ValueError),
            psycopg.connect(servers_of(directory)["database_url"], connect_timeout=2) as connection,
        ):
            if connection.execute("SELECT 1 FROM class LIMIT 1").fetchone():
                return
        time.sleep(0.05)
    raise AssertionError((directory / "dev.log").read_text())


def test_database_and_redis_urls_are_honoured(tmp_path: Path, database_url: str, redis_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO school (id, title, time_zone) VALUES ('mine', 'Mine', 'UTC')")
        connection.execute("INSERT INTO class (id, school_id, title) VALUES ('my-class', 'mine', 'Mine')")
    with running(tmp_path, PORT=free_port(), DATABASE_URL=database_url, REDIS_URL=redis_url) as words:
        assert ask(words, "admin", '{ class(id: "my-class") { title } }') == {"class": {"title": "Mine"}}
    assert [path.name for path in (tmp_path / ".data").iterdir()] == ["jwt.secret"]


def test_production_refuses_to_start_without_a_key(tmp_path: Path, database_url: str) -> None:
    refused = classperf(tmp_path, "serve", DATABASE_URL=database_url, PORT=free_port())
    assert refused.returncode == 2
    assert "JWT_SECRET" in refused.stderr
    short = classperf(tmp_path, "serve", DATABASE_URL=database_url, PORT=free_port(), JWT_SECRET="too short")
    assert (short.returncode, "shorter than 32 bytes" in short.stderr) == (2, True)
    assert "too short" not in short.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_bad_setting_is_named(tmp_path: Path) -> None:
    refused = classperf(tmp_path, "serve", PORT="many")
    assert refused.returncode == 2
    assert "PORT" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_token_prints_a_token_and_nothing_else(tmp_path: Path) -> None:
    arguments = ["--role", "service", "--person", "lms", "--school", "a", "--school", "b", "--scope", "metrics:read"]
    printed = classperf(tmp_path, "token", *arguments)
    claims = jwt.decode(printed.stdout.strip(), options={"verify_signature": False})
    assert (claims["sub"], claims["role"], claims["schools"]) == ("lms", "service", ["a", "b"])
    assert claims["scope"] == "metrics:read"
    assert claims["exp"] - claims["iat"] < 3600
    assert printed.stderr == ""
    assert printed.stdout.count("\n") == 1


def test_every_secret_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    classperf(tmp_path, "token", "--role", "admin")
    assert (tmp_path / ".data").stat().st_mode & 0o077 == 0
    assert (tmp_path / ".data" / "jwt.secret").stat().st_mode & 0o077 == 0


def test_the_exported_schema_is_the_one_in_the_repository(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    assert classperf(tmp_path, "schema").stdout == (root / "schema.graphql").read_text()
