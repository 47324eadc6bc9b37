"""Takes each condition, join, bound and number of metrics.sql away in turn: every such mutant must fail a test.

    python -m tests.mutants [PART OF A NAME]

Asked are the hand-worked cases, then random classes that are the same in every run. Survivors are listed, and make the
exit status 1. With part of a name only the mutants of that name are tried, and what noticed them is told; without it,
docs/mutants.md is written.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import sqlalchemy
from sqlalchemy import Engine

from app import metrics, migrate
from app.devservices import embedded
from tests.batch import Item, failures, hand_worked, random_item, sketches, store_items
from tests.mutations import KINDS, Mutant, mutate

RANDOM_CLASSES = 1000
FEW, MANY = 20, 250
WORKERS = 2
REPORT = Path(__file__).parent.parent / "docs" / "mutants.md"
# Those that `performance.PLAN` sets, and a limit: what takes longer has lost a join.
OPTIONS = {
    "timezone": "UTC",
    "enable_nestloop": "off",
    "enable_mergejoin": "off",
    "work_mem": "64MB",
    "jit": "off",
    "statement_timeout": "10s",
}
CASES, RANDOM, REFUSED, SURVIVED = "the cases", "the random classes", "no statement", "nothing"
WRONG_STATEMENT = "42"  # the class of SQLSTATE for syntax, names and types


@dataclass(frozen=True)
class Equivalent:
    """Mutants that can change no answer: those of a kind and a place (any, if empty) in whose text `was` occurs."""

    kind: str
    place: str
    was: str
    reason: str

    def covers(self, mutant: Mutant) -> bool:
        return mutant.kind == self.kind and self.place in ("", mutant.place) and self.was in mutant.was


EQUIVALENTS = (
    Equivalent("condition", "", "class_id = ANY (", "Joined to `classes` all the same; it only says where to look."),
    Equivalent("join", "", "JOIN classes", "What is joined was made from `classes`, so that there always is one."),
    Equivalent("join", "classes", "JOIN school", "Every class has its school, by foreign key."),
    Equivalent("join", "periods", "JOIN enrollment", "Makes a period of nobody, who has no role and is no student."),
    Equivalent("join", "activities", "JOIN activity", "Makes an activity that is not published."),
    Equivalent("join", "attempts", "JOIN submission", "Makes an attempt at no activity, and is joined to activities."),
    Equivalent("join", "pairs", "JOIN students", "Makes a pair of no class, which no class is joined to."),
    Equivalent("join", "pairs", "JOIN activities", "Makes a pair without an activity: not due, not graded, not done."),
    Equivalent("join", "session_days", "JOIN attendance", "Makes a day without a date, which no record is joined to."),
    Equivalent("join", "attended", "JOIN session_days", "Every record has its day: the days are made from the records."),
    Equivalent("join", "awards", "JOIN points_award", "Makes an award to nobody, and is joined to students."),
    Equivalent("join", "instants", "JOIN activity", "Makes an activity that is not published."),
    Equivalent("condition", "students", "p.role = 'STUDENT'", "Who is enrolled and does not teach is a student."),
    Equivalent("else", "activities", "ELSE ''", "Null is as good a name for the one part there is."),
    Equivalent("number", "activities", "ELSE 1", "The weight of the only part cancels out, if it is not 0."),
    Equivalent("function", "works", "max(b.score)", "One attempt alone has the number of the graded attempt."),
    Equivalent("function", "works", "bool_or(b.has_feedback)", "As before."),
    Equivalent("function", "works", "bool_or(b.graded_at", "One attempt alone has the number of the submitted one."),
    Equivalent("function", "works", "bool_or((b.graded_at", "As before."),
    Equivalent("condition", "works", "(b.graded_at <= b.at) IS NOT TRUE", "What is graded is a promise all the same."),
    Equivalent("comparison", "works", "((b.graded_at <= b.at) IS", "As before."),
    Equivalent("condition", "parts", "weight IS NOT NULL", "Sums leave a part without weight out."),
    Equivalent("wrapper", "result", "nullif(f.graded_students", "The sum of no grades is null already."),
    Equivalent("wrapper", "result", "nullif(f.improving_students", "The sum of no changes is null already."),
)


def equivalent_to(mutant: Mutant) -> Equivalent | None:
    return next((known for known in EQUIVALENTS if known.covers(mutant)), None)


@dataclass(frozen=True)
class Verdict:
    mutant: Mutant
    noticed_by: str
    detail: str = ""

    @property
    def objection(self) -> str | None:
        """Why this run should fail."""
        known = equivalent_to(self.mutant)
        if self.noticed_by == SURVIVED and not known:
            return "survived"
        if self.noticed_by != SURVIVED and known:
            return f"is listed as an equivalent, but noticed by {self.noticed_by}"
        return None


@dataclass(frozen=True)
class Court:
    """The stored questions, and the database that answers them."""

    engine: Engine
    cases: Sequence[Item]
    random: Sequence[Item]

    def try_one(self, mutant: Mutant) -> Verdict:
        """A few questions first: where a join is lost, many would take long."""
        rounds = [(CASES, self.cases[:FEW]), (CASES, self.cases[FEW:])]
        rounds += [(RANDOM, self.random[n : n + MANY]) for n in range(0, len(self.random), MANY)]
        for name, items in rounds:
            state, detail = self.ask(mutant.sql, items)
            if detail:
                return Verdict(mutant, REFUSED if state.startswith(WRONG_STATEMENT) else name, detail)
        return Verdict(mutant, SURVIVED)

    def ask(self, sql: str, items: Sequence[Item]) -> tuple[str, str]:
        """The SQLSTATE of an error, and what is wrong; both empty when all is as it should be."""
        try:
            with self.engine.connect() as connection:
                found = failures(connection, sql, items)
        except sqlalchemy.exc.DBAPIError as error:
            return getattr(error.orig, "sqlstate", None) or "", str(error.orig).partition("\n")[0]
        return "", next((f"{source}: {differences}" for source, differences in found.items()), "")

    def try_all(self, mutants: Sequence[Mutant]) -> Iterator[Verdict]:
        with ThreadPoolExecutor(WORKERS) as pool:
            for done in as_completed([pool.submit(self.try_one, mutant) for mutant in mutants]):
                yield done.result()


@contextmanager
def court(database_url: str, random_classes: int) -> Iterator[Court]:
    """On a migrated database that nobody else uses."""
    options = " ".join(f"-c {name}={value}" for name, value in OPTIONS.items())
    url = sqlalchemy.make_url(database_url).set(drivername="postgresql+psycopg")
    engine = sqlalchemy.create_engine(url, connect_args={"options": options}, pool_size=WORKERS, hide_parameters=True)
    cases, random = hand_worked(), random_items(random_classes)
    try:
        with engine.begin() as connection:
            store_items(connection, [*cases, *random])
        yield Court(engine, cases, random)
    finally:
        engine.dispose()


def random_items(count: int) -> list[Item]:
    drawn = [(n, facts, at) for n, (facts, at) in enumerate(sketches(count))]
    if count <= MANY:
        return [random_item(*each) for each in drawn]
    with get_context("spawn").Pool(WORKERS) as pool:
        return pool.starmap(random_item, drawn, chunksize=FEW)


def main(part: str = "") -> int:
    began = time.monotonic()
    mutants = [mutant for mutant in mutate(metrics.SQL) if part in mutant.name]
    with tempfile.TemporaryDirectory() as folder, embedded(Path(folder), fsync=False) as services:
        migrate.upgrade(services.database_url)
        with court(services.database_url, RANDOM_CLASSES) as judges:
            print(f"{len(judges.cases)} questions by hand, {len(judges.random)} random classes, {len(mutants)} mutants")
            unchanged = judges.try_one(Mutant("none", "none", 0, "", "", metrics.SQL))
            if unchanged.noticed_by != SURVIVED:
                print(f"The statement as it is: {unchanged.detail}")
                return 1
            verdicts = list(shown(judges.try_all(mutants), len(mutants)))
    verdicts.sort(key=lambda verdict: verdict.mutant.line)
    for verdict in verdicts:
        if part:
            print(f"{verdict.noticed_by}: line {verdict.mutant.line}: {verdict.mutant.name}\n    {verdict.detail[:300]}")
        if verdict.objection:
            print(f"line {verdict.mutant.line}: {verdict.mutant.name} {verdict.objection}")
    if not part:
        REPORT.write_text(report(verdicts, len(judges.cases)))
    objections = sum(verdict.objection is not None for verdict in verdicts)
    print(f"{objections} to look at; {time.monotonic() - began:.0f} seconds")
    return 1 if objections else 0


def shown(verdicts: Iterator[Verdict], total: int) -> Iterator[Verdict]:
    for n, verdict in enumerate(verdicts, 1):
        if n % 50 == 0 or n == total:
            print(f"{n}/{total}", flush=True)
        yield verdict


def report(verdicts: Sequence[Verdict], questions: int) -> str:
    tallies = {kind: Counter[str]() for kind in KINDS}
    for verdict in verdicts:
        outcome = "equivalent" if verdict.noticed_by == SURVIVED and not verdict.objection else verdict.noticed_by
        tallies[verdict.mutant.kind].update([outcome])
    total = sum(tallies.values(), Counter[str]())
    columns = (CASES, RANDOM, "equivalent", REFUSED, SURVIVED)
    rows = [f"| {KINDS[kind]} | {cells(tally, columns)} |" for kind, tally in tallies.items()]
    listed = ((known, sum(known.covers(v.mutant) for v in verdicts)) for known in EQUIVALENTS)
    known = [f"| {k.kind} | {k.place or 'any'} | `{k.was}` | {count} | {k.reason} |" for k, count in listed]
    return TEMPLATE.format(
        questions=questions,
        classes=RANDOM_CLASSES,
        rows="\n".join(rows),
        total=cells(total, columns),
        equivalents="\n".join(known),
    )


def cells(tally: Counter[str], columns: Sequence[str]) -> str:
    return " | ".join(str(n or "") for n in [tally.total(), *(tally[column] for column in columns)])


TEMPLATE = """# Do the tests notice?

`make mutants` spoils [metrics.sql](../app/metrics.sql) in every way it knows, one at a time, and asks each time whether
a test notices. It wrote this page, and fails when one is not noticed. Asked are first the {questions} questions of the
cases worked out by hand (tests/integration/metrics), then {classes} random classes that are the same in every run
(tests/strategies.py), held against the independent calculation (tests/independent.py); the first that notices counts.

| what is changed | mutants | noticed by the cases | only by random classes | equivalent | no valid SQL | not noticed |
|---|---|---|---|---|---|---|
{rows}
| all | {total} |

## Equivalent mutants

These change the text but can change no answer, so no test can notice them.

| kind | where | text | mutants | why |
|---|---|---|---|---|
{equivalents}
"""


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
