"""The benchmark of reads runs and says what it should; how fast anything is, no test may depend on."""

from __future__ import annotations

from dataclasses import replace

from app.settings import Settings
from benchmarks import machine, reads
from benchmarks.reads import HEADER, QUICK


def test_reads_are_compared_with_a_bare_server(settings: Settings) -> None:
    tiny = replace(QUICK, connections=2, rounds=2, seconds=0.05)

    table = reads.measure(settings, tiny, machine.cores())

    questions = ("one class", "fifty classes by ids", "fifty classes by aliases")
    expected = [f"{question}, {mode}" for question in questions for mode in ("warm", "cache off")]
    assert [row[0] for row in table.rows] == [*expected, "one class, a new document, warm"]
    assert {len(row) for row in table.rows} == {len(HEADER)}
    assert all(cell for row in table.rows for cell in row)
    assert len(set(map(len, str(table).splitlines()[3 : 3 + len(table.rows)]))) == 1
