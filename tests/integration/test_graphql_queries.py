"""What queries answer, and what that costs."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from app.metrics import METRICS
from tests.serving import Client, Commands, statements

ALL = " ".join(metric.graphql_name for metric in METRICS)


async def test_gives_every_field_of_a_class_performance(api: Client, world: AsyncEngine) -> None:
    query = f"""{{ classPerformance(classId: "n1") {{
        __typename id classId version pinnedMetrics metadata lastUpdated createdAt updatedAt {ALL}
        class {{ id title status begins ends weighted school {{
            id title timeZone passMark feedbackHours activeDays improvementDays excusedCounts }}
            performance {{ version }} }} }} }}"""
    found = (await api.ask(query))["classPerformance"]
    assert found["id"] == "class-performance:n1"
    assert (found["__typename"], found["classId"], found["version"]) == ("ClassPerformance", "n1", 1)
    assert found["averageGrade"] is None
    assert found["presentCount"] == 0
    assert found["participationRate"] == 0
    assert found["lastUpdated"].endswith("Z")
    assert set(found["metadata"]) == {"explanation", "custom"}
    assert found["class"]["school"]["passMark"] == 60
    assert found["class"]["performance"] == {"version": 1}


@pytest.mark.parametrize("class_id", ["", "nobody", "a\0b", "x" * 300, "n1 ", "N1", "☃"])
async def test_a_class_that_does_not_exist_is_null(api: Client, world: AsyncEngine, class_id: str) -> None:
    query = "query ($id: ID!) { classPerformance(classId: $id) { version } class(id: $id) { id } node(id: $id) { id } }"
    assert set((await api.ask(query, {"id": class_id})).values()) == {None}


async def test_several_come_in_the_order_asked_with_null_where_there_is_none(api: Client, world: AsyncEngine) -> None:
    found = await api.ask('{ classPerformances(ids: ["s1", "no", "n1", "s1"]) { classId } }')
    assert [f and f["classId"] for f in found["classPerformances"]] == ["s1", None, "n1", "s1"]


async def test_more_than_a_hundred_ids_are_refused(api: Client, world: AsyncEngine) -> None:
    query = "query ($ids: [ID!]!) { classPerformances(ids: $ids) { classId } }"
    assert len((await api.ask(query, {"ids": ["n1"] * 100}))["classPerformances"]) == 100
    (error,) = await api.errors(query, {"ids": ["n1"] * 101})
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert "at most 100" in error["message"]


async def test_node_finds_classes_and_their_records(api: Client, world: AsyncEngine) -> None:
    query = """query ($id: ID!) { node(id: $id) { __typename id
        ... on Class { title } ... on ClassPerformance { classId } } }"""
    assert (await api.ask(query, {"id": "n1"}))["node"] == {"__typename": "Class", "id": "n1", "title": "Class n1"}
    record = (await api.ask(query, {"id": "class-performance:n1"}))["node"]
    assert record == {"__typename": "ClassPerformance", "id": "class-performance:n1", "classId": "n1"}


async def test_the_viewer_is_who_the_token_says(api: Client, world: AsyncEngine) -> None:
    token = api.token("service", "bus", schools=["b", "a"], scopes=["metrics:read"])
    found = (await api.ask("{ viewer { id role schools scopes expiresAt } }", token=token))["viewer"]
    assert found.pop("expiresAt").endswith(".000Z")
    assert found == {"id": "bus", "role": "SERVICE", "schools": ["a", "b"], "scopes": ["metrics:read"]}
    found = await api.ask("{ viewer { role schools scopes } }", token=api.token())
    assert found["viewer"] == {"role": "ADMIN", "schools": None, "scopes": []}


MANY = """{ a: classPerformance(classId: "n1") { version averageGrade }
    b: classPerformance(classId: "n2") { version }
    c: classPerformances(ids: ["n1", "s1", "no", "n2"]) { version classId }
    d: node(id: "class-performance:s1") { id } e: classPerformance(classId: "n1") { version } }"""


@pytest.mark.parametrize("claims", [{}, {"role": "teacher", "subject": "tina"}], ids=["admin", "teacher"])
async def test_any_number_of_aliases_costs_one_mget_and_one_select(
    api: Client, world: AsyncEngine, redis: Redis, claims: dict[str, Any]
) -> None:
    token, commands = api.token(**claims), Commands(redis)
    await api.ask("{ viewer { id } }", token=token)
    mgets = await commands.calls("mget")
    with statements() as seen:
        cold = await api.ask(MANY, token=token)
    assert await commands.calls("mget") == mgets + 1
    assert len([s for s in seen if "class_performance" in s]) == 1
    assert len(seen) == (2 if claims else 1)
    with statements() as seen:
        assert await api.ask(MANY, token=token) == cold
    assert await commands.calls("mget") == mgets + 2
    assert seen == []


async def test_classes_and_schools_cost_one_statement_each(api: Client, world: AsyncEngine) -> None:
    query = """{ classPerformances(ids: ["n1", "n2", "s1"]) { class { title school { title } } }
        a: class(id: "n1") { school { title } performance { version } } }"""
    await api.ask(query)
    with statements() as seen:
        await api.ask(query)
    assert len([s for s in seen if "FROM school" in s]) <= 2
    assert len(seen) <= 4


async def test_an_unknown_error_is_masked_and_named(api: Client, world: AsyncEngine, monkeypatch: Any) -> None:
    async def fail(*_: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("app.performance.Performance.get_many", fail)
    (error,) = await api.errors('{ classPerformance(classId: "n1") { version } }')
    assert error["message"] == "Something went wrong on our side."
    assert error["extensions"]["code"] == "INTERNAL"
    assert len(error["extensions"]["requestId"]) == 32
    assert error["path"] == ["classPerformance"]
