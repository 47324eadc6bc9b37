"""metrics.sql against the independent calculation, on random classes full of edges."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
import sqlalchemy
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine

from app.devservices import Services
from app.metrics import METRIC_NAMES, METRICS
from tests import independent, strategies
from tests.independent import Facts
from tests.stored import calculate, store

EXAMPLES = 700
MICROSECOND = timedelta(microseconds=1)
RATES = {metric.name: metric.graphql_name for metric in METRICS}


@pytest.fixture(scope="module")
def calculator(servers: Services, template: str) -> Iterator[Engine]:
    url = sqlalchemy.make_url(servers.database_url).set(drivername="postgresql+psycopg")
    engine = sqlalchemy.create_engine(url, connect_args={"options": "-c timezone=UTC"})
    yield engine
    engine.dispose()


@st.composite
def cases(draw: st.DrawFn) -> tuple[Facts, datetime]:
    facts = draw(strategies.facts())
    return facts, draw(strategies.instants(facts))


def assert_agrees(connection: Connection, facts: Facts, at: datetime) -> datetime | None:
    """Both calculations give the same at this instant; gives the next change that the SQL promises."""
    (row,) = calculate(connection, [facts.klass.id], at).values()
    assert {name: row[name] for name in METRIC_NAMES} == independent.calculate(facts, at)
    assert_explained(row["explanation"], facts, at)
    return row["next_change_at"]


def assert_explained(explanation: dict[str, Any], facts: Facts, at: datetime) -> None:
    expected = independent.explanation(facts, at)
    assert {RATES[name] for name in expected} == explanation.keys() - {"students", "policy"}
    for name, (numerator, denominator) in expected.items():
        fraction = explanation[RATES[name]]
        assert fraction["denominator"] == denominator, name
        assert abs(Fraction(str(fraction["numerator"])) - numerator) < Fraction(1, 10**8), name


def assert_constant_between(facts: Facts, at: datetime, until: datetime | None) -> None:
    numbers = independent.calculate(facts, at), independent.explanation(facts, at)
    probes = {probe for change in independent.changes(facts) for probe in (change - MICROSECOND, change)}
    for probe in sorted(probe for probe in probes if at < probe and (until is None or probe < until)):
        assert (independent.calculate(facts, probe), independent.explanation(facts, probe)) == numbers, probe


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
)
@given(case=cases())
def test_the_sql_agrees_with_the_independent_calculation(calculator: Engine, case: tuple[Facts, datetime]) -> None:
    facts, at = case
    with calculator.connect() as connection:
        store(connection, facts)
        for _ in range(4):
            following = assert_agrees(connection, facts, at)
            assert_constant_between(facts, at, following)
            if following is None:
                break
            assert following > at
            at = following
        connection.rollback()
