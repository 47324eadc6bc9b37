"""What mutations of metrics do, and tell."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from app.auth import Action, Doorman, Reach
from app.metrics import METRICS
from tests.serving import Client

PROBLEM = "... on Problem { code message path } ... on ValidationProblem { problems { code message path } }"
CONFLICT = "... on VersionConflict { classPerformance { version } conflicts { field current reported } }"
UPDATE = f"""mutation ($input: UpdateMetricsInput!) {{ updateMetrics(input: $input) {{ __typename
    ... on UpdateMetricsSuccess {{ classPerformance {{ version averageGrade presentCount pinnedMetrics metadata }} }}
    {PROBLEM} {CONFLICT} }} }}"""
UNPIN = f"""mutation ($input: UnpinMetricsInput!) {{ unpinMetrics(input: $input) {{ __typename
    ... on UnpinMetricsSuccess {{ classPerformance {{ version averageGrade pinnedMetrics }} }}
    {PROBLEM} {CONFLICT} }} }}"""
RECALCULATE = f"""mutation ($ids: [ID!]!) {{ recalculateMetrics(input: {{classIds: $ids}}) {{ __typename
    ... on RecalculateMetricsSuccess {{ classPerformances {{ classId version }} }} {PROBLEM} }} }}"""


async def update(api: Client, data: Any, *, token: str | None = None, class_id: str = "n1", **more: Any) -> Any:
    given = {"classId": class_id, "data": data, **more}
    return (await api.ask(UPDATE, {"input": given}, token=token))["updateMetrics"]


async def unpin(api: Client, *metrics: str, **more: Any) -> Any:
    return (await api.ask(UNPIN, {"input": {"classId": "n1", "metrics": metrics, **more}}))["unpinMetrics"]


async def test_a_reported_value_is_stored_pinned_and_read_back(api: Client, world: AsyncEngine) -> None:
    data = {"averageGrade": 81.256, "presentCount": 3, "metadata": {"custom": {"a": [1, None, {"b": "c"}]}}}
    found = await update(api, data)
    assert found["__typename"] == "UpdateMetricsSuccess"
    record = found["classPerformance"]
    assert (record["version"], record["averageGrade"], record["presentCount"]) == (2, 81.26, 3)
    assert record["pinnedMetrics"] == ["AVERAGE_GRADE", "PRESENT_COUNT"]
    assert record["metadata"]["custom"] == {"a": [1, None, {"b": "c"}]}
    again = await api.ask('{ classPerformance(classId: "n1") { version averageGrade } }')
    assert again["classPerformance"] == {"version": 2, "averageGrade": 81.26}


async def test_unpinning_restores_what_is_calculated(api: Client, world: AsyncEngine) -> None:
    await update(api, {"averageGrade": 50, "lowestGrade": 20})
    record = (await unpin(api, "AVERAGE_GRADE"))["classPerformance"]
    assert record == {"version": 3, "averageGrade": None, "pinnedMetrics": ["LOWEST_GRADE"]}


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({"averageGrade": 1000.5}, ["data", "averageGrade"]),
        ({"averageGrade": None}, ["data", "averageGrade"]),
        ({"presentCount": 1.5}, ["data", "presentCount"]),
        ({"presentCount": 3e9}, ["data", "presentCount"]),
        ({"passingRate": -1}, ["data", "passingRate"]),
        ({"metadata": {"custom": [1]}}, ["data", "metadata", "custom"]),
        ({"metadata": {"custom": {"a": "x" * 17_000}}}, ["data", "metadata", "custom"]),
        ({}, ["data"]),
    ],
)
async def test_a_value_out_of_range_is_a_problem_that_names_it(
    api: Client, world: AsyncEngine, data: Any, path: list[str]
) -> None:
    found = await update(api, data)
    assert (found["__typename"], found["code"], found["path"]) == ("ValidationProblem", "INVALID_VALUE", path)
    assert (await api.ask('{ classPerformance(classId: "n1") { version } }'))["classPerformance"]["version"] == 1


async def test_an_infinity_in_a_literal_is_a_problem(api: Client, world: AsyncEngine) -> None:
    query = f"""mutation {{ updateMetrics(input: {{classId: "n1", data: {{averageGrade: 1e999}}}})
        {{ {PROBLEM} }} }}"""
    assert (await api.ask(query))["updateMetrics"]["path"] == ["data", "averageGrade"]


async def test_every_problem_is_told_at_once(api: Client, world: AsyncEngine) -> None:
    found = await update(api, {metric.graphql_name: 1e300 for metric in METRICS})
    assert [p["path"] for p in found["problems"]] == [["data", metric.graphql_name] for metric in METRICS]


async def test_a_stale_version_conflicts_on_fields_that_somebody_set(api: Client, world: AsyncEngine) -> None:
    await update(api, {"averageGrade": 50})
    assert (await update(api, {"lowestGrade": 1}, expectedVersion=1))["__typename"] == "UpdateMetricsSuccess"
    found = await update(api, {"averageGrade": 60, "highestGrade": 70}, expectedVersion=1)
    assert (found["__typename"], found["code"]) == ("VersionConflict", "VERSION_CONFLICT")
    assert found["classPerformance"] == {"version": 3}
    assert found["conflicts"] == [{"field": "averageGrade", "current": 50, "reported": 60}]
    conflict = await unpin(api, "AVERAGE_GRADE", expectedVersion=1)
    assert conflict["conflicts"] == [{"field": "averageGrade", "current": 50, "reported": None}]


async def test_the_same_key_gives_the_first_result_again(api: Client, world: AsyncEngine) -> None:
    first = await update(api, {"averageGrade": 50}, idempotencyKey="k")
    await update(api, {"averageGrade": 51})
    assert await update(api, {"averageGrade": 50}, idempotencyKey="k") == first
    other = await update(api, {"averageGrade": 52}, idempotencyKey="k")
    assert (other["code"], other["path"]) == ("IDEMPOTENCY_KEY_REUSED", ["idempotencyKey"])
    assert (await update(api, {"averageGrade": 52}, idempotencyKey="a\0b"))["path"] == ["idempotencyKey"]


async def test_a_class_out_of_reach_looks_as_if_it_did_not_exist(api: Client, world: AsyncEngine) -> None:
    token = api.token("school_admin", schools=["south"])
    answers = [await update(api, {"averageGrade": 1}, token=token, class_id=c) for c in ("n1", "nobody", "a\0")]
    assert answers[0] == answers[1] == answers[2]
    assert (answers[0]["code"], answers[0]["path"]) == ("CLASS_NOT_FOUND", ["classId"])


async def test_whoever_may_write_but_not_read_is_not_shown_the_record(api: Client, world: AsyncEngine) -> None:
    token = api.token("service", scopes=["metrics:write"])
    body = (await api.send(UPDATE, {"input": {"classId": "n1", "data": {"averageGrade": 1}}}, token=token)).json()
    assert body["data"]["updateMetrics"] == {"__typename": "UpdateMetricsSuccess", "classPerformance": None}
    assert [e["extensions"]["code"] for e in body["errors"]] == ["FORBIDDEN"]


async def test_recalculation_names_classes_that_are_not_there(api: Client, world: AsyncEngine) -> None:
    found = (await api.ask(RECALCULATE, {"ids": ["n1", "nobody", "s1", "a\0"]}))["recalculateMetrics"]
    assert [p["path"] for p in found["problems"]] == [["classIds", "1"], ["classIds", "3"]]
    found = (await api.ask(RECALCULATE, {"ids": ["s1", "n1"]}))["recalculateMetrics"]
    assert found["classPerformances"] == [{"classId": "s1", "version": 1}, {"classId": "n1", "version": 1}]
    found = (await api.ask(RECALCULATE, {"ids": ["n1"] * 101}))["recalculateMetrics"]
    assert found["path"] == ["classIds"]


async def test_a_conflict_shows_what_stands_there_only_to_those_who_may_read_it(
    api: Client, world: AsyncEngine
) -> None:
    await update(api, {"averageGrade": 50})
    report = {"classId": "n1", "data": {"averageGrade": 60}, "expectedVersion": 1}
    query = f"""mutation ($input: UpdateMetricsInput!) {{ updateMetrics(input: $input) {{
        {CONFLICT.replace("classPerformance { version }", "")} }} }}"""
    writer = api.token("service", scopes=["metrics:write"])
    body = (await api.send(query, {"input": report}, token=writer)).json()
    assert body["data"]["updateMetrics"]["conflicts"] == [{"field": "averageGrade", "current": None, "reported": 60}]
    (error,) = body["errors"]
    assert error["extensions"]["code"] == "FORBIDDEN"
    assert error["path"] == ["updateMetrics", "conflicts", 0, "current"]
    both = api.token("service", scopes=["metrics:read", "metrics:write"])
    (conflict,) = (await api.ask(query, {"input": report}, token=both))["updateMetrics"]["conflicts"]
    assert conflict["current"] == 50


async def test_recalculated_classes_out_of_sight_are_null_in_their_place(
    api: Client, world: AsyncEngine, monkeypatch: Any
) -> None:
    """A permission to read may be narrower than one to recalculate, as when a teacher stops teaching meanwhile."""
    reach = Doorman.reach

    async def narrower(self: Doorman, viewer: Any, action: Action) -> Reach:
        return Reach(classes=frozenset({"n1"})) if action is Action.READ else await reach(self, viewer, action)

    monkeypatch.setattr(Doorman, "reach", narrower)
    found = (await api.ask(RECALCULATE, {"ids": ["s1", "n1"]}))["recalculateMetrics"]
    assert found["classPerformances"] == [None, {"classId": "n1", "version": 1}]
