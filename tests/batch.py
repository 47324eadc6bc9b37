"""Many classes, each at an instant of its own, stored once and calculated by one statement."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from importlib import import_module
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from tests import strategies
from tests.classroom import NOW, Classroom, expectation
from tests.expectation import Expectation
from tests.independent import Facts
from tests.integration import metrics as cases
from tests.stored import calculate, store

ONE_INSTANT = "(SELECT CAST(:at AS timestamptz) AS at) AS t\n    JOIN class AS c ON "
OWN_INSTANTS = "asked AS t JOIN class AS c ON t.id = c.id AND "
UNASKED = "not asked for"


@dataclass(frozen=True)
class Item:
    """One question: of which test or random class, under which id it is stored, and what the answer should be."""

    source: str
    id: str
    expectation: Expectation


def hand_worked() -> list[Item]:
    """What the cases ask, in the order in which they ask it."""
    return [Item(name, f"case {n}", wanted) for n, (name, wanted) in enumerate(_asked_by_cases())]


def _asked_by_cases() -> Iterator[tuple[str, Expectation]]:
    for found in pkgutil.iter_modules(cases.__path__):
        if found.name.startswith("test_"):
            module = import_module(f"{cases.__name__}.{found.name}")
            for name, test in vars(module).items():
                if name.startswith("test_") and list(inspect.signature(test).parameters) == ["expect"]:
                    yield from ((name, wanted) for wanted in _asked_by(test))


def _asked_by(test: Any) -> list[Expectation]:
    asked: list[Expectation] = []

    def expect(classroom: Classroom, at: datetime = NOW, **expected: Any) -> None:
        asked.append(expectation(classroom, at, expected))

    test(expect)
    return asked


def sketches(count: int, seeded: int = 1) -> list[tuple[Facts, datetime]]:
    """Random classes and instants, the same in every run."""
    made: list[tuple[Facts, datetime]] = []

    @seed(seeded)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def draw(data: st.DataObject) -> None:
        facts = data.draw(strategies.facts())
        made.append((facts, data.draw(strategies.instants(facts))))

    draw()
    return made


def random_item(n: int, facts: Facts, at: datetime) -> Item:
    return Item(f"random class {n}", f"random {n}", Expectation.of(facts, at))


def store_items(connection: Connection, items: Sequence[Item]) -> None:
    """And `asked`, when each is to be calculated; and a class that nobody asks for."""
    nobody = Classroom("ann", id=UNASKED).facts
    store(connection, *(renamed(item.expectation.facts, item.id) for item in items), nobody)
    instants = [{"id": item.id, "at": item.expectation.at} for item in items]
    connection.execute(text("CREATE TABLE asked (id text PRIMARY KEY, at timestamptz NOT NULL)"))
    connection.execute(text("INSERT INTO asked VALUES (:id, :at)"), [*instants, {"id": UNASKED, "at": NOW}])
    connection.execute(text("ANALYZE"))


def renamed(facts: Facts, id: str) -> Facts:
    """As a class and a school of this id; people and all else keep their names, so that a mix-up of classes shows."""
    school = replace(facts.school, id=id)
    lists = {
        name: [replace(fact, class_id=id) for fact in value]
        for name, value in vars(facts).items()
        if isinstance(value, list)
    }
    return replace(facts, school=school, klass=replace(facts.klass, id=id, school_id=id), **lists)


def each_at_its_instant(sql: str) -> str:
    assert sql.count(ONE_INSTANT) == 1
    return sql.replace(ONE_INSTANT, OWN_INSTANTS)


def failures(connection: Connection, sql: str, items: Sequence[Item]) -> dict[str, Any]:
    """By the source of the question, what was expected and what came."""
    try:
        rows = calculate(connection, [item.id for item in items], NOW, each_at_its_instant(sql))
    except AssertionError as error:
        return {"the shape of the result": error}
    if rows.keys() != {item.id for item in items}:
        return {"the classes asked for": (len(items), len(rows))}
    found = ((item.source, item.expectation.differences(rows[item.id])) for item in items)
    return {source: differences for source, differences in found if differences}
