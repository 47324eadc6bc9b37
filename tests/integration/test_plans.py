"""Compiled reads answer, to the byte, what the executor answers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from graphql import OperationDefinitionNode, parse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.auth import Viewer, ViewerRole
from app.errors import NotReady
from app.graphql.context import Services
from app.graphql.execution import Execution
from app.graphql.plans import compile_plan
from app.graphql.shapes import PLAIN, WRITTEN
from app.reports import Report
from tests.serving import statements

pytestmark = pytest.mark.usefixtures("world")

NEVER = datetime(2100, 1, 1, tzinfo=UTC)
ADMIN = Viewer("root", ViewerRole.ADMIN, None, frozenset(), NEVER)
HEAD = Viewer("head", ViewerRole.SCHOOL_ADMIN, frozenset({"north"}), frozenset(), NEVER)
TEACHER = Viewer("tina", ViewerRole.TEACHER, None, frozenset(), NEVER)
POWERLESS = Viewer("lms", ViewerRole.SERVICE, None, frozenset({"facts:write"}), NEVER)
LEAVES = sorted(PLAIN.keys() | WRITTEN.keys())
ALL = " ".join(LEAVES)


def plan(query: str) -> Any:
    document = parse(query)
    (operation,) = (node for node in document.definitions if isinstance(node, OperationDefinitionNode))
    return compile_plan(document, operation)


async def both(services: Services, viewer: Viewer, query: str, variables: Any = None) -> tuple[bytes, bytes]:
    """The answer by the plan, and by the executor."""
    execution = Execution(services)
    operation = execution.prepare(query)
    planned = await execution.execute(operation, variables, viewer)
    executed = await execution.execute(replace(operation, plan=None), variables, viewer)
    return orjson.dumps(planned.body), orjson.dumps(executed.body)


@st.composite
def queries(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """Lookups by literal and variable, aliased, with leaves in any order, spread over fragments."""
    ids = st.sampled_from(["n1", "n2", "s1", "nowhere", "", "é", "\\u0000"])
    fragments: list[str] = []
    fields: list[str] = []
    for number in range(draw(st.integers(1, 4))):
        leaves = draw(st.lists(st.sampled_from(LEAVES), min_size=1, max_size=8))
        named = [f"{draw(st.sampled_from(['', 'a: ', 'b: ']))}{leaf}" for leaf in leaves]
        named = list({leaf.partition(": ")[0]: leaf for leaf in named}.values())
        body = " ".join(named)
        match draw(st.sampled_from(["plain", "inline", "spread"])):
            case "inline":
                body = f"... on ClassPerformance {{ {body} }} ... {{ version }}"
            case "spread":
                fragments.append(f"fragment F{number} on ClassPerformance {{ {body} }}")
                body = f"...F{number}"
        given_ids = draw(st.sampled_from(["$one", "$many", "literal", "literals"]))
        if given_ids in ("$one", "literal"):
            value = "$one" if given_ids == "$one" else f'"{draw(ids)}"'
            fields.append(f"f{number}: classPerformance(classId: {value}) {{ {body} }}")
        else:
            listed = ", ".join(f'"{i}"' for i in draw(st.lists(ids, max_size=4)))
            value = "$many" if given_ids == "$many" else f"[{listed}]"
            fields.append(f"f{number}: classPerformances(ids: {value}) {{ {body} }}")
    text = " ".join(fields)
    variables = {"one": draw(ids), "many": draw(st.lists(ids, max_size=4))}
    declared = [d for n, d in (("$one", "$one: ID!"), ("$many", "$many: [ID!]!")) if n in text]
    head = f"query({', '.join(declared)})" if declared else "query"
    return f"{head} {{ {text} }} {' '.join(fragments)}", variables


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=queries(), viewer=st.sampled_from([ADMIN, HEAD, TEACHER, POWERLESS]))
async def test_a_plan_answers_what_the_executor_answers(
    services: Services, query: tuple[str, dict[str, Any]], viewer: Viewer
) -> None:
    assert Execution(services).prepare(query[0]).plan
    planned, executed = await both(services, viewer, *query)
    assert planned == executed


async def test_every_leaf_of_a_record_with_everything_in_it(services: Services) -> None:
    await services.reports.update(
        "root", Report("n1", {"late_count": 3, "passing_rate": 0.1, "custom": {"a": [1, "é"]}})
    )
    planned, executed = await both(services, ADMIN, f'{{ classPerformance(classId: "n1") {{ {ALL} }} }}')
    assert planned == executed
    data = orjson.loads(planned)["data"]["classPerformance"]
    assert data["pinnedMetrics"] == ["LATE_COUNT", "PASSING_RATE"]
    assert data["metadata"]["custom"] == {"a": [1, "é"]}


@pytest.mark.parametrize(
    "query",
    [
        '{ viewer { id } classPerformance(classId: "n1") { version } }',
        '{ classPerformance(classId: "n1") { class { title } } }',
        '{ classPerformance(classId: "n1") { history { version } } }',
        '{ classPerformance(classId: "n1") { version @include(if: true) } }',
        '{ classPerformance(classId: "n1") @skip(if: false) { version } }',
        '{ ... @include(if: true) { classPerformance(classId: "n1") { version } } }',
        '{ classPerformance(classId: "n1") { ... on Node { id } } }',
        '{ classPerformance(classId: "n1") { version } classPerformance(classId: "n1") { id } }',
        "{ classPerformance(classId: 5) { version } }",
        '{ classPerformances(ids: ["n1", 5]) { version } }',
        'query($id: ID! = "n1") { classPerformance(classId: $id) { version } }',
        "{ __typename }",
        'mutation { recalculateMetrics(input: {classIds: ["n1"]}) { __typename } }',
    ],
)
async def test_what_is_more_than_plain_is_left_to_the_executor(services: Services, query: str) -> None:
    assert plan(query) is None
    assert "errors" not in (await Execution(services).execute(Execution(services).prepare(query), {}, ADMIN)).body


ONE = "query($id: ID!) { classPerformance(classId: $id) { version } }"
MANY = "query($ids: [ID!]!) { classPerformances(ids: $ids) { version } }"


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        (ONE, {}),
        (ONE, {"id": None}),
        (ONE, {"id": 5}),
        (ONE, {"id": ["n1"]}),
        (MANY, {"ids": "n1"}),
        (MANY, {"ids": ["n1", None]}),
        (MANY, {"ids": ["n1", 7]}),
        (MANY, {"ids": ["n1"] * 101}),
        (MANY, {"ids": {"n1": 1}}),
        (MANY, {"ids": []}),
    ],
)
async def test_variables_that_need_words_or_coercion_get_the_executors(
    services: Services, query: str, variables: dict[str, Any]
) -> None:
    assert plan(query)
    planned, executed = await both(services, ADMIN, query, variables)
    assert planned == executed


async def test_a_plan_reads_all_its_classes_at_once_and_a_warm_one_makes_no_statement(services: Services) -> None:
    query = '{ a: classPerformance(classId: "n1") { id } b: classPerformances(ids: ["n2", "s1", "x"]) { id } }'
    execution = Execution(services)
    with statements() as cold:
        await execution.execute(execution.prepare(query), {}, ADMIN)
    with statements() as warm:
        await execution.execute(execution.prepare(query), {}, ADMIN)
    assert (len(cold), len(warm)) == (1, 0)


@pytest.mark.parametrize(
    "query",
    [
        '{ classPerformance(classId: "n1") { version } }',
        '{ classPerformances(ids: ["n1", "n2"]) { version } }',
        '{ a: classPerformance(classId: "n1") { version } b: classPerformance(classId: "n2") { id } }',
        '{ a: classPerformance(classId: "n1") { version } b: classPerformances(ids: ["n2"]) { id } }',
        '{ b: classPerformances(ids: ["n2"]) { id } a: classPerformance(classId: "n1") { version } }',
    ],
)
@pytest.mark.parametrize("place", ["app.performance.Performance.get_many", "app.auth.Doorman.reach"])
async def test_a_failure_is_met_once_and_told_as_the_executor_tells_it(
    services: Services, monkeypatch: pytest.MonkeyPatch, place: str, query: str
) -> None:
    met = []

    async def fail(*_: Any) -> None:
        met.append(place)
        raise NotReady

    monkeypatch.setattr(place, fail)
    execution = Execution(services)
    planned = await execution.execute(execution.prepare(query), {}, ADMIN)
    assert met == [place]
    assert {error["extensions"]["code"] for error in planned.body["errors"]} == {"UNAVAILABLE"}
    executed = await execution.execute(replace(execution.prepare(query), plan=None), {}, ADMIN)
    assert orjson.dumps(planned.body) == orjson.dumps(executed.body)
