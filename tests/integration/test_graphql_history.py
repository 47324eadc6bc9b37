"""What history gives: every version, or the last of each interval on the school's clock."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app import history
from tests.serving import Client, statements

HISTORY = """query ($from: DateTime, $to: DateTime, $interval: HistoryInterval) {
    classPerformance(classId: "n1") { history(from: $from, to: $to, interval: $interval) {
        version at cause pinnedMetrics presentCount averageGrade } } }"""
# School north is in London: summer time begins on 29 March 2026 at 01:00 UTC.
INSTANTS = [
    "2026-03-27T10:00:00Z", "2026-03-27T10:59:59.999Z", "2026-03-27T23:59:59Z", "2026-03-28T00:00:00Z",
    "2026-03-29T22:59:59Z", "2026-03-29T23:00:00Z", "2026-03-31T22:59:59Z", "2026-03-31T23:00:00Z",
]  # fmt: skip


@pytest.fixture
async def remembered(world: AsyncEngine) -> AsyncEngine:
    """Versions 1 to 8 of n1, at INSTANTS."""
    async with world.begin() as connection:
        await connection.execute(text("DELETE FROM class_performance_history WHERE class_id = 'n1'"))
        await connection.execute(
            text(
                "INSERT INTO class_performance_history (class_id, version, cause, fields, pinned_metrics, at, "
                "present_count) VALUES ('n1', :version, :cause, '{}', '{average_grade}', CAST(:at AS timestamptz), :n)"
            ),
            [
                {"version": n, "cause": ("calculated", "reported", "unpinned")[n % 3], "at": at, "n": n * 10}
                for n, at in enumerate(INSTANTS, 1)
            ],
        )
    return world


async def versions(api: Client, **variables: Any) -> list[int]:
    found = (await api.ask(HISTORY, variables))["classPerformance"]["history"]
    return [entry["version"] for entry in found]


async def test_every_version_is_given_oldest_first(api: Client, remembered: AsyncEngine) -> None:
    found = (await api.ask(HISTORY))["classPerformance"]["history"]
    assert found[0] == {
        "version": 1,
        "at": "2026-03-27T10:00:00.000Z",
        "cause": "REPORTED",
        "pinnedMetrics": ["AVERAGE_GRADE"],
        "presentCount": 10,
        "averageGrade": None,
    }
    assert [entry["version"] for entry in found] == list(range(1, 9))
    assert {entry["cause"] for entry in found} == {"CALCULATED", "REPORTED", "UNPINNED"}


@pytest.mark.parametrize(
    ("interval", "expected"),
    [("HOUR", [2, 3, 4, 5, 6, 7, 8]), ("DAY", [3, 4, 5, 6, 7, 8]), ("WEEK", [5, 8]), ("MONTH", [7, 8])],
)
async def test_the_last_version_of_each_interval_at_the_school(
    api: Client, remembered: AsyncEngine, interval: str, expected: list[int]
) -> None:
    assert await versions(api, interval=interval) == expected


async def test_from_is_within_and_to_is_not(api: Client, remembered: AsyncEngine) -> None:
    bounds = {"from": "2026-03-27T23:59:59+00:00", "to": "2026-03-30T01:00:00+02:00"}
    assert await versions(api, **bounds) == [3, 4, 5]
    assert await versions(api, **bounds, interval="WEEK") == [5]
    assert await versions(api, **{"from": bounds["to"], "to": bounds["from"]}) == []
    assert await versions(api, **{"from": "0001-01-01T00:00:00+14:00", "to": "9999-12-31T23:59:59-14:00"}) != []


async def test_of_too_many_the_newest_are_given(
    api: Client, remembered: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fewer = str(history.READ).replace(f"LIMIT {history.MOST_VERSIONS}", "LIMIT 3")
    monkeypatch.setattr(history, "READ", text(fewer))
    assert await versions(api) == [6, 7, 8]
    assert await versions(api, interval="MONTH") == [7, 8]


async def test_any_number_of_histories_is_one_statement(api: Client, remembered: AsyncEngine) -> None:
    query = """{ classPerformances(ids: ["n1", "n2", "s1"]) { day: history(interval: DAY) { version }
        all: history { version } late: history(from: "2026-03-31T22:59:59Z") { version } } }"""
    await api.ask(query)
    with statements() as seen:
        found = (await api.ask(query))["classPerformances"]
    assert len(seen) == 1
    assert [len(found[0][name]) for name in ("day", "all", "late")] == [6, 8, 3 - 1]
    assert [len(entry["all"]) for entry in found] == [8, 1, 1]


@pytest.mark.parametrize(
    "instant",
    ["2026-03-27", "2026-03-27T10:00:00", "2026-02-30T10:00:00Z", "20260327T100000Z", "2026-W13-5T10:00:00Z",
     "2026-03-27T24:00:00Z", "2026-03-27T10:00:60Z", "2026-03-27 10:00:00Z", "٢026-03-27T10:00:00Z", "", 5, True],
)  # fmt: skip
async def test_what_is_no_instant_is_refused(api: Client, remembered: AsyncEngine, instant: Any) -> None:
    (error,) = await api.errors(HISTORY, {"from": instant})
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
