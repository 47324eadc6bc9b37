"""The harness of the soak itself: its plans, its wires and what it takes for a broken promise."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from tests.soak.evidence import ABSENT, KEPT, ONE, Ledger, Report, Sightings
from tests.soak.kept import _problem
from tests.soak.links import Link
from tests.soak.plan import KILL, LINKS, PROCESSES, SHORT, random_plan, wire

SOON = 2.0


def test_a_seed_gives_the_same_plan_again() -> None:
    assert random_plan(7, 60) == random_plan(7, 60) != random_plan(8, 60)


def test_a_random_plan_spares_nobody_and_gives_nobody_two_faults_at_once() -> None:
    plan = random_plan(1, 1_000)
    assert {fault.target for fault in plan} == {*PROCESSES, *(wire(*link) for link in LINKS)}
    for target in {fault.target for fault in plan}:
        faults = [fault for fault in plan if fault.target == target]
        assert all(one.at + one.seconds < other.at for one, other in pairwise(faults))
    assert max(fault.at + fault.seconds for fault in plan) < 1_000


def test_the_short_plan_kills_one_of_each_kind() -> None:
    assert {fault.target.partition("-")[0] for fault in SHORT if fault.kind == KILL} == {
        "api",
        "worker",
        "valkey",
        "postgres",
    }


@pytest.mark.parametrize(
    ("stored", "is_wrong"),
    [("first", True), ("second", False), ("third", False), ("another", True), (ABSENT, True)],
)
def test_of_a_fact_is_stored_what_was_acknowledged_or_something_sent_later(stored: str | None, is_wrong: bool) -> None:
    ledger = Ledger()
    for at, what in enumerate(("first", "second", "third")):
        ledger.send("grade", ("key",), at, what)
    ledger.acknowledge("grade", ("key",), 1)
    found = ledger.violations("grade", {} if stored is ABSENT else {("key",): stored})
    assert [violation.promise for violation in found] == ([KEPT] if is_wrong else [])


def test_what_was_not_acknowledged_may_be_there_or_not() -> None:
    ledger = Ledger()
    ledger.send("grade", ("key",), 0, "first")
    assert ledger.violations("grade", {}) == ledger.violations("grade", {("key",): "first"}) == []


def test_what_nobody_sent_must_not_be_there() -> None:
    assert [v.promise for v in Ledger().violations("grade", {("key",): "first"})] == [KEPT]


@pytest.mark.parametrize(
    ("told", "refused", "stored", "is_wrong"),
    [
        ([], False, [], False),
        ([], False, [4], False),
        ([4, 4], False, [4], False),
        ([4], False, [], True),
        ([4], False, [4, 5], True),
        ([4, 5], False, [4], True),
        ([], True, [], False),
        ([], True, [4], True),
    ],
)
def test_a_report_is_stored_once(told: list[int], refused: bool, stored: list[int], is_wrong: bool) -> None:
    report = Report("class", "total_points", 1, "key", told, refused)
    assert bool(_problem(report, stored)) == is_wrong


def test_a_version_that_was_two_things_is_noticed() -> None:
    sightings = Sightings()
    for seen in (b'{"a":1}', b'{"a":1}', b'{"a":2}'):
        sightings.compare("class", 3, seen, "somebody")
    assert [violation.promise for violation in sightings.violations] == [ONE]


def test_every_spoil_still_finds_what_it_spoils() -> None:
    program = "from tests.soak.spoiled import SPOILS\nfor spoil in SPOILS.values(): spoil()"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@contextlib.asynccontextmanager
async def echoing() -> AsyncIterator[Link]:
    """A link before a server that says everything again."""

    async def echo(reader: StreamReader, writer: StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(100):
                writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    link = Link("link", server.sockets[0].getsockname()[1])
    await link.open()
    try:
        yield link
    finally:
        link.close()
        server.close()
        await asyncio.sleep(0.05)


async def say(line: tuple[StreamReader, StreamWriter], word: bytes, seconds: float = SOON) -> bytes:
    line[1].write(word)
    async with asyncio.timeout(seconds):
        return await line[0].readexactly(len(word))


async def test_a_link_passes_on_what_is_said_and_cuts_when_told() -> None:
    async with echoing() as link:
        line = await asyncio.open_connection("127.0.0.1", link.port)
        assert await say(line, b"hello") == b"hello"
        link.cut()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await say(line, b"hello")
        line[1].close()


async def test_a_link_that_delays_keeps_the_order() -> None:
    async with echoing() as link:
        line = await asyncio.open_connection("127.0.0.1", link.port)
        link.delay(0.2)
        line[1].write(b"first ")
        await asyncio.sleep(0.05)
        link.heal()
        with pytest.raises(TimeoutError):
            await say(line, b"second", 0.05)
        async with asyncio.timeout(SOON):
            assert await line[0].readexactly(12) == b"first second"
        line[1].close()


async def test_a_link_half_open_loses_everything_on_old_connections_and_nothing_on_new_ones() -> None:
    async with echoing() as link:
        old = await asyncio.open_connection("127.0.0.1", link.port)
        assert await say(old, b"hello") == b"hello"
        link.lose()
        between = await asyncio.open_connection("127.0.0.1", link.port)
        link.heal()
        new = await asyncio.open_connection("127.0.0.1", link.port)
        assert await say(new, b"hello") == b"hello"
        for line in (old, between):
            with pytest.raises(TimeoutError):
                await say(line, b"hello", 0.2)
        for line in (old, between, new):
            line[1].close()
