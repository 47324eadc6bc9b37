"""What is logged of an error that a client is not told."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from app.graphql.faults import report
from tests.serving import Client

SECRET = "a very private remark"
BAD_ROW = text(
    "INSERT INTO submission (class_id, activity_id, student_id, attempt, score, feedback) "
    f"VALUES ('n1', 'a', 'sam', 1, -7654321, '{SECRET}')"
)


@pytest.fixture
def failing(world: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read that violates a constraint, and then fails of something else because of it."""

    async def fail(*_: Any) -> None:
        held = SECRET
        try:
            async with world.begin() as connection:
                await connection.execute(BAD_ROW)
        except Exception as error:
            raise RuntimeError(f"not stored: {held}") from error

    monkeypatch.setattr("app.performance.Performance.get_many", fail)


@pytest.mark.usefixtures("failing")
async def test_a_constraint_is_named_and_the_row_is_not_shown(api: Client) -> None:
    with capture_logs() as logged:
        (error,) = await api.errors('{ classPerformance(classId: "n1") { version } }')
    (entry,) = [entry for entry in logged if entry["event"] == "request_failed"]
    assert entry["request_id"] == error["extensions"]["requestId"]
    assert [e["type"] for e in entry["errors"]] == [
        "builtins.RuntimeError",
        "sqlalchemy.exc.IntegrityError",
        "psycopg.errors.CheckViolation",
    ]
    violation = entry["errors"][-1]
    assert violation["sqlstate"] == "23514"
    assert "score" in violation["constraint"]
    assert any(frame.endswith(" fail") for frame in entry["errors"][0]["frames"])
    assert "exc_info" not in entry
    written = orjson.dumps(logged, default=repr).decode() + str(error)
    for secret in (SECRET, "7654321", "not stored", "Failing row"):
        assert secret not in written


def test_errors_that_cause_each_other_are_told_once() -> None:
    one, other = ValueError("one"), KeyError("other")
    one.__cause__, other.__cause__ = other, one
    with capture_logs() as logged:
        report(one)
    assert [error["type"] for error in logged[0]["errors"]] == ["builtins.ValueError", "builtins.KeyError"]
