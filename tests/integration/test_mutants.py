"""The tool that spoils metrics.sql: it knows all of the statement, and its questions notice."""

from __future__ import annotations

import re
from collections.abc import Iterator

import psycopg
import pytest

from app.devservices import Services
from app.metrics import SQL
from tests.mutants import EQUIVALENTS, Court, court, equivalent_to
from tests.mutations import KINDS, Mutant, mutate

MUTANTS = mutate(SQL)
SAMPLE = (
    "condition | classes | c.id = ANY (",
    "condition | students | p.ends >= c.at_star -> TRUE",
    "comparison | students | *",
    "condition | pairs | x.excused -> TRUE",
    "join | pairs | LEFT JOIN works",
    "alternative | pairs | w.is_submitted -> FALSE",
    "wrapper | grades | nullif(",
    "distinct | work_numbers",
    "term | session_days",
    "row | instants | (a.due_at + c.improvement, true)",
    "branch | instants | SELECT w.class_id",
    "term | instants | (SELECT bound.at",
    "character | attempts | '\\\\u2003'",
    "number | result",
)
UNDERSTOOD = {
    *("ALL", "AND", "ANY", "AS", "AT", "BY", "CASE", "CAST", "CROSS", "DISTINCT", "ELSE", "END", "EXISTS", "FALSE"),
    *("FILTER", "FROM", "GROUP", "HAVING", "IS", "JOIN", "LATERAL", "LEFT", "MATERIALIZED", "NOT", "NULL", "ON", "OR"),
    *("OVER", "PARTITION", "SELECT", "THEN", "TIME", "TRUE", "UNION", "VALUES", "WHEN", "WHERE", "WINDOW", "WITH"),
    "ZONE",
}
WORDS = re.sub(r"--[^\n]*|'[^']*'", lambda found: " " * len(found.group()), SQL)  # without comments and texts
CALLED = r"\s*(?=\()"
COVERED = {
    "a condition": (r"\b(?:AND|OR|WHERE|HAVING|ON|WHEN)\s+()", {"condition", "alternative"}),
    "a comparison": (r"(?<!=)(<=|>=|<>|<|>)", {"comparison"}),
    "a join": (r"(?<!LEFT )(?<!CROSS )(JOIN|LEFT JOIN)\b", {"join"}),
    "a question about null": (r"\b(IS) (?:NOT )?(?:NULL|TRUE)\b", {"null"}),
    "a negation": (r"(?<!IS )\b(NOT)\b", {"negation"}),
    "an else": (r"\b(ELSE)\b", {"else"}),
    "a wrapper": (rf"\b(coalesce|nullif|round|greatest|least|btrim){CALLED}", {"wrapper"}),
    "an aggregate": (rf"\b(sum|min|max|bool_or|bool_and){CALLED}", {"function"}),
    "a number": (r"(?<![\w.])(\d+)", {"number"}),
    "a distinct": (r"\b(DISTINCT)\b", {"distinct"}),
    "a cast": (r"(::)", {"cast"}),
    "a time zone": (r"AT TIME ZONE ()", {"time zone"}),
    "an instant": (r"\bc\.(at|at_star)\b", {"moment"}),
}


def named(part: str) -> Mutant:
    return next(mutant for mutant in MUTANTS if mutant.name.startswith(part.removesuffix("*")))


@pytest.fixture(scope="module")
def judges(servers: Services, template: str) -> Iterator[Court]:
    server, _ = servers.database_url.rsplit("/", 1)
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE mutants TEMPLATE {template}".encode())
        with court(f"{server}/mutants", random_classes=40) as opened:
            yield opened
        connection.execute("DROP DATABASE mutants WITH (FORCE)")


def test_all_questions_asked_together_are_answered_as_if_asked_alone(judges: Court) -> None:
    unchanged = judges.try_one(Mutant("nothing", "nowhere", 0, "", "", SQL))
    assert not unchanged.notices


@pytest.mark.parametrize("part", SAMPLE)
def test_a_mutant_is_noticed_by_the_cases(judges: Court, part: str) -> None:
    assert "the cases" in judges.try_one(named(part)).notices


def test_an_equivalent_is_noticed_by_nobody(judges: Court) -> None:
    known = [mutant for mutant in MUTANTS if equivalent_to(mutant)]
    assert {mutant.name: notices for mutant in known if (notices := judges.try_one(mutant).notices)} == {}


@pytest.mark.parametrize("known", EQUIVALENTS, ids=lambda known: known.pattern)
def test_an_equivalent_is_of_this_statement(known) -> None:
    assert any(known.covers(mutant) for mutant in MUTANTS)


@pytest.mark.parametrize("thing", COVERED)
def test_every(thing: str) -> None:
    pattern, kinds = COVERED[thing]
    changed = {mutant.start for mutant in MUTANTS if mutant.kind in kinds}
    places = [found.start(1) for found in re.finditer(pattern, WORDS)]
    assert places
    assert [SQL[place : place + 60] for place in places if place not in changed] == []


def test_every_kind_of_mutant_occurs() -> None:
    assert {mutant.kind for mutant in MUTANTS} == KINDS.keys()


def test_every_mutant_differs_and_has_a_name_of_its_own() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert len({mutant.sql for mutant in MUTANTS} | {SQL}) >= len(MUTANTS) * 0.95


def test_no_word_of_the_statement_is_unknown_to_the_tool() -> None:
    assert set(re.findall(r"\b[A-Z]{2,}\b", WORDS)) <= UNDERSTOOD
