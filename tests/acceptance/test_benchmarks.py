"""The benchmarks run and say what they should; how fast anything is, no test may depend on."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from redis import Redis

from app.settings import Settings
from benchmarks import climb, fanout, growth, live, machine, reads, recalculation
from benchmarks.live import Load
from benchmarks.stage import API, SQL
from benchmarks.table import Table


@pytest.fixture(autouse=True)
def empty_redis(redis_url: str) -> None:
    """Each test has a database of its own, with classes of the same ids and other versions."""
    with Redis.from_url(redis_url) as redis:
        redis.flushall()


def test_reads_are_compared_with_a_bare_server(settings: Settings) -> None:
    tiny = replace(reads.QUICK, connections=2, rounds=2, seconds=0.05)

    table = reads.measure(settings, tiny, machine.cores())

    questions = ("one class", "fifty classes by ids", "fifty classes by aliases")
    expected = [f"{question}, {mode}" for question in questions for mode in ("warm", "cache off")]
    assert names_of(table) == [*expected, "one class, a new document, warm"]
    assert_complete(table)


def test_the_climb_says_where_latency_bends(settings: Settings) -> None:
    tiny = replace(climb.QUICK, connections=4, seconds=0.1)

    table = climb.measure(settings, tiny, machine.cores())

    assert names_of(table) == ["25%", "50%", "100%"]
    assert any("bend" in note for note in table.notes)
    assert_complete(table)


def test_recalculation_is_compared_with_a_bare_aggregate(settings: Settings) -> None:
    plan = replace(recalculation.QUICK.plan, classes=6, students=3, activities=3)
    tiny = replace(recalculation.QUICK, plan=plan, rounds=2, singly=2, marked=4)

    table = asyncio.run(recalculation.measure(settings, tiny))

    assert names_of(table) == list(recalculation.NAMES.values())
    assert_complete(table)


def test_growth_is_told_by_number_of_classes_and_by_size_of_one(settings: Settings) -> None:
    table = asyncio.run(growth.measure(settings, replace(growth.QUICK, classes=(8, 10), facts=1)))

    expected = ["8 classes of 5 x 6", "10 classes of 5 x 6", "a class of 4 x 4", "a class of 8 x 8"]
    assert names_of(table) == expected
    assert_complete(table)


def test_live_facts_all_arrive(settings: Settings) -> None:
    loads = (Load(20, SQL, 0.2), Load(20, API, 0.2))

    table = asyncio.run(live.measure(settings, replace(live.quick(), loads=loads), machine.cores()))

    assert names_of(table) == ["20 facts a second", "20 mutations a second"]
    assert_complete(table)


def test_fan_out_is_compared_with_a_bare_broadcast(settings: Settings) -> None:
    tiny = fanout.Size(subscribers=(3, 4), publications=20, rounds=2)

    table = asyncio.run(fanout.measure(settings, tiny, machine.cores()))

    assert names_of(table) == ["one after another", "ten at once"] * 2
    assert_complete(table)


def names_of(table: Table) -> list[str]:
    return [row[0] for row in table.rows]


def assert_complete(table: Table) -> None:
    """Every cell is filled, and the rows are of one width."""
    assert {len(row) for row in table.rows} == {len(table.header)}
    assert all(cell for row in table.rows for cell in row)
    assert len(set(map(len, str(table).splitlines()[3 : 3 + len(table.rows)]))) == 1
