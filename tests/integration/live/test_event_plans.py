"""What is made once for everybody is, to the byte, what the executor makes for each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from graphql import OperationDefinitionNode, parse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.auth import Viewer
from app.graphql import event_plans
from app.graphql.context import Services
from app.graphql.event_plans import EventPlan, Payloads, compile_event_plan
from app.graphql.execution import Execution
from app.reports import Report
from app.watching import Update
from tests.caching import record
from tests.integration.test_plans import ADMIN, ALL, LEAVES, TEACHER

pytestmark = pytest.mark.usefixtures("world")


def plan(query: str) -> EventPlan | None:
    document = parse(query)
    (operation,) = (node for node in document.definitions if isinstance(node, OperationDefinitionNode))
    return compile_event_plan(document, operation)


async def first(execution: Execution, viewer: Viewer, query: str, planned: bool) -> bytes:
    operation = execution.prepare(query)
    assert operation.event_plan
    operation = operation if planned else replace(operation, event_plan=None)
    events = await execution.subscribe(operation, {"ids": ["n1"]}, viewer)
    payload = await anext(events)
    await events.aclose()
    return payload


@st.composite
def queries(draw: st.DrawFn) -> str:
    """Aliased, with leaves in any order, spread over fragments."""
    leaves = draw(st.lists(st.sampled_from(LEAVES), min_size=1, max_size=6, unique=True))
    body = " ".join(f"{draw(st.sampled_from(['', f'a{n}: ']))}{leaf}" for n, leaf in enumerate(leaves))
    fragments = ""
    match draw(st.sampled_from(["plain", "inline", "spread"])):
        case "inline":
            body = f"... on ClassPerformance {{ {body} }}"
        case "spread":
            fragments = f"fragment F on ClassPerformance {{ {body} }}"
            body = "...F"
    parts = draw(
        st.permutations(
            [f"{draw(st.sampled_from(['', 'r: ']))}classPerformance {{ {body} }}", "classId", "t: __typename"]
        )
    )
    chosen = " ".join(parts[: draw(st.integers(1, 3))])
    chosen = draw(st.sampled_from([chosen, f"... on ClassPerformanceEvent {{ {chosen} }}"]))
    fragments = fragments if "...F" in chosen else ""
    key = draw(st.sampled_from(["", "it: "]))
    return f"subscription ($ids: [ID!]!) {{ {key}classPerformanceUpdated(classIds: $ids) {{ {chosen} }} }} {fragments}"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=queries(), viewer=st.sampled_from([ADMIN, TEACHER]))
async def test_a_plan_makes_what_the_executor_makes(services: Services, query: str, viewer: Viewer) -> None:
    execution = Execution(services)
    assert await first(execution, viewer, query, True) == await first(execution, viewer, query, False)


async def test_every_leaf_of_a_record_with_everything_in_it(services: Services) -> None:
    await services.reports.update(
        "root", Report("n1", {"late_count": 3, "passing_rate": 0.1, "custom": {"a": [1, "é"]}})
    )
    execution = Execution(services)
    query = f'subscription {{ classPerformanceUpdated(classIds: ["n1"]) {{ classPerformance {{ {ALL} }} }} }}'
    assert await first(execution, ADMIN, query, True) == await first(execution, ADMIN, query, False)


@pytest.mark.parametrize(
    "selection",
    [
        "classPerformance { class { title } }",
        "classPerformance { staleSince }",
        "classPerformance { version @include(if: true) }",
        "classPerformance @skip(if: false) { version }",
        "classPerformance { ... on Node { id } }",
        "classPerformance { version } classPerformance { id }",
        "classId classId",
    ],
)
def test_what_is_more_than_plain_is_left_to_the_executor(selection: str) -> None:
    assert plan(f'subscription {{ classPerformanceUpdated(classIds: ["n1"]) {{ {selection} }} }}') is None


def test_only_subscriptions_have_event_plans() -> None:
    assert plan('{ classPerformance(classId: "n1") { version } }') is None
    assert plan("subscription { classPerformancesUpdated { classId } }")


QUERY = "subscription { classPerformancesUpdated { classPerformance { classId version } } }"


def test_a_payload_is_made_once_for_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    answer = EventPlan.answer
    monkeypatch.setattr(EventPlan, "answer", lambda self, update: made.append(update) or answer(self, update))
    payloads, one, other = Payloads(), plan(QUERY), plan(QUERY)
    assert one
    assert other
    update = Update("c1", record(version=7))
    assert {payloads.make(one, update) for _ in range(100)} == {
        b'{"data":{"classPerformancesUpdated":{"classPerformance":{"classId":"c1","version":7}}}}'
    }
    payloads.make(other, update)
    payloads.make(one, Update("c1", None))
    payloads.make(one, Update("c1", None))
    payloads.make(one, Update("c1", record(version=8)))
    assert [u.record and u.record.version for u in made] == [7, 7, None, 8]


def test_what_was_made_is_kept_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_plans, "MOST_BYTES", 1_000)
    payloads, made = Payloads(), plan(QUERY)
    assert made
    for number in range(300):
        payloads.make(made, Update(f"c{number % 150}", record(f"c{number % 150}", version=number)))
        assert payloads._bytes == sum(len(payload) for _, payload in payloads._made.values()) <= 1_000
    assert len(payloads._made) > 5
