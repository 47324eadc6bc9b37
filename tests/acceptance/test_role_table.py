"""Who may do what: every field that can be asked or done, by everybody, for a class and school of their own or not.

The class is n1 of the school north, which tina teaches. D: done, or data. N: as if there were no such thing.
F: FORBIDDEN. U: UNAUTHENTICATED, without a token that holds.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from app.graphql.schema import executable
from app.settings import Settings
from tests.live import Live, live
from tests.serving import SCOPES, Client
from tests.wires import PATIENCE

SILENCE = 0.7

VIEWERS: dict[str, Any] = {
    "admin": ("admin", "boss", {}),
    "admin of another school": ("admin", "boss", {"schools": ["south"]}),
    "school_admin inside": ("school_admin", "head", {"schools": ["north"]}),
    "school_admin outside": ("school_admin", "head", {"schools": ["south"]}),
    "school_admin of none": ("school_admin", "head", {"schools": []}),
    "teacher, own": ("teacher", "tina", {}),
    "teacher, other": ("teacher", "tom", {}),
    "teacher, other, with all scopes and the school": ("teacher", "tom", {"schools": ["north"], "scopes": SCOPES}),
    "service metrics:read": ("service", "s", {"scopes": ["metrics:read"]}),
    "service metrics:write": ("service", "s", {"scopes": ["metrics:write"]}),
    "service facts:write": ("service", "s", {"scopes": ["facts:write"]}),
    "service without a scope": ("service", "s", {}),
    "service inside": ("service", "s", {"scopes": SCOPES, "schools": ["north"]}),
    "service outside": ("service", "s", {"scopes": SCOPES, "schools": ["south"]}),
    "service of no school": ("service", "s", {"scopes": SCOPES, "schools": []}),
    "nobody": None,
    "a token that does not hold": "nonsense",
}

# In the order of VIEWERS: admins, school admins, teachers, services by scope, services by school, no token.
READ = "DD DNN DNN DFFF DNN UU"
REPORT = "DD DNN FFF FDFF DNN UU"
RECALCULATE = "DD DNN DNN FDFF DNN UU"
RECORD = "DD DNN DNN FFDF DNN UU"
ROSTER = "DD DNN FFF FFDF DNN UU"
ANYBODY = "DD DDD DDD DDDD DDD UU"

TABLE = {
    "Query.classPerformance": (READ, '(classId: "n1") { classId }'),
    "Query.classPerformances": (READ, '(ids: ["n1"]) { classId }'),
    "Query.classPerformanceConnection": (READ, '(filter: {classIds: ["n1"]}) { totalCount nodes { classId } }'),
    "Query.class": (READ, '(id: "n1") { id }'),
    "Query.node": (READ, '(id: "class-performance:n1") { id }'),
    "Query.viewer": (ANYBODY, "{ id }"),
    "Mutation.updateMetrics": (REPORT, '(input: {classId: "n1", data: {averageGrade: 5}}) {ANSWER}'),
    "Mutation.unpinMetrics": (REPORT, '(input: {classId: "n1", metrics: [AVERAGE_GRADE]}) {ANSWER}'),
    "Mutation.recalculateMetrics": (RECALCULATE, '(input: {classIds: ["n1"]}) {ANSWER}'),
    "Mutation.recordSchools": (ROSTER, '(input: {items: [{id: "north", title: "N", timeZone: "UTC"}]}) {ANSWER}'),
    "Mutation.recordPeople": (ROSTER, '(input: {items: [{id: "pat", schoolId: "north"}]}) {ANSWER}'),
    "Mutation.recordClasses": (ROSTER, '(input: {items: [{id: "n1", schoolId: "north", title: "N"}]}) {ANSWER}'),
    "Mutation.recordEnrollments": (
        ROSTER,
        '(input: {items: [{classId: "n1", id: "1", personId: "sam", role: STUDENT}]}) {ANSWER}',
    ),
    "Mutation.recordCategories": (RECORD, '(input: {items: [{classId: "n1", id: "k", title: "K"}]}) {ANSWER}'),
    "Mutation.recordActivities": (
        RECORD,
        '(input: {items: [{classId: "n1", id: "a", title: "A", maxPoints: 1}]}) {ANSWER}',
    ),
    "Mutation.recordSubmissions": (
        RECORD,
        '(input: {items: [{classId: "n1", activityId: "a", studentId: "sam"}]}) {ANSWER}',
    ),
    "Mutation.recordGrades": (
        RECORD,
        '(input: {items: [{classId: "n1", activityId: "a", studentId: "sam", score: 1}]}) {ANSWER}',
    ),
    "Mutation.recordExcusals": (
        RECORD,
        '(input: {items: [{classId: "n1", activityId: "a", studentId: "sam"}]}) {ANSWER}',
    ),
    "Mutation.recordAttendance": (
        RECORD,
        '(input: {items: [{classId: "n1", studentId: "sam", sessionDate: "2026-03-02", status: LATE}]}) {ANSWER}',
    ),
    "Mutation.awardPoints": (
        RECORD,
        '(input: {items: [{classId: "n1", id: "p", studentId: "sam", points: 1, awardedAt: "2026-03-02T08:00:00Z"}]})'
        " {ANSWER}",
    ),
    "Subscription.classPerformanceUpdated": (READ, '(classIds: ["n1"]) { classPerformance { classId } }'),
    "Subscription.classPerformancesUpdated": (READ, '(schoolId: "north") { classPerformance { classId } }'),
}
ANSWER = "{ __typename ... on Problem { code } }"
ACTIVITY = (
    'mutation { recordActivities(input: {items: [{classId: "n1", id: "a", title: "A", maxPoints: 1}]}) {ANSWER} }'
)


def everything() -> list[str]:
    roots = (executable.query_type, executable.mutation_type, executable.subscription_type)
    return [f"{root.name}.{field}" for root in roots if root for field in root.fields]


def test_the_table_has_a_row_for_every_field_of_the_schema() -> None:
    assert sorted(TABLE) == sorted(everything())


def outcome(response: Any) -> str:
    body = response.json()
    codes = {error["extensions"]["code"] for error in body.get("errors", ())}
    if response.status_code == 401:
        assert codes == {"UNAUTHENTICATED"}
        assert "data" not in body
        return "U"
    if codes:
        assert codes == {"FORBIDDEN"}
        assert not body["data"] or not any(body["data"].values())
        return "F"
    (found,) = body["data"].values()
    if isinstance(found, dict) and "__typename" in found:
        assert found["__typename"].endswith("Success") or found["code"].endswith("_NOT_FOUND"), found
        return "D" if found["__typename"].endswith("Success") else "N"
    return "D" if found not in (None, [None], {"totalCount": 0, "nodes": []}) else "N"


def token(api: Client | Live, viewer: Any) -> str:
    if viewer is None or isinstance(viewer, str):
        return viewer or ""
    role, subject, claims = viewer
    return api.token(role, subject, **claims)


@pytest.mark.parametrize("field", [field for field in TABLE if not field.startswith("Subscription")])
async def test_everybody_may_do_what_the_table_says(api: Client, world: AsyncEngine, field: str) -> None:
    expected, rest = TABLE[field]
    kind, _, name = field.partition(".")
    await api.ask(ACTIVITY.replace("{ANSWER}", ANSWER))
    query = f"{kind.lower()} {{ {name} {rest.replace('{ANSWER}', ANSWER)} }}"
    found = {who: outcome(await api.send(query, token=token(api, viewer))) for who, viewer in VIEWERS.items()}
    assert found == dict(zip(VIEWERS, expected.replace(" ", ""), strict=True))


@pytest.mark.parametrize("field", [field for field in TABLE if field.startswith("Subscription")])
async def test_everybody_is_told_what_the_table_says(
    settings: Settings, redis: Redis, world: AsyncEngine, field: str
) -> None:
    expected, rest = TABLE[field]
    query = f"subscription {{ {field.partition('.')[2]} {rest} }}"
    outcomes = dict(zip(VIEWERS, expected.replace(" ", ""), strict=True))
    async with live(settings) as house:
        found = {who: await told(house, VIEWERS[who], query, expected == "N") for who, expected in outcomes.items()}
    assert found == outcomes


async def told(house: Live, viewer: Any, query: str, nothing: bool) -> str:
    """The outcome of a first event over WebSocket; of none, where there is nothing to follow."""
    async with house.dial() as wire:
        await wire.init(token(house, viewer))
        if viewer is None or isinstance(viewer, str):
            return "U" if (await wire.closed())[0] == 4403 else "?"
        await wire.hear()
        await wire.start(query)
        try:
            async with asyncio.timeout(SILENCE if nothing else PATIENCE):
                message = json.loads(await wire.connection.recv(decode=True))
        except TimeoutError:
            return "N"
        if message["type"] == "error":
            assert {error["extensions"]["code"] for error in message["payload"]} == {"FORBIDDEN"}
            return "F"
        (event,) = message["payload"]["data"].values()
        return "D" if event["classPerformance"] else "N"
