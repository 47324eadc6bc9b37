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
from fnmatch import fnmatchcase
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
CASES, RANDOM, REFUSED = "the cases", "the random classes", "PostgreSQL"
EQUIVALENT, SURVIVED = "equivalent", "survived"
WRONG_STATEMENT = "42"  # the class of SQLSTATE for syntax, names and types


@dataclass(frozen=True)
class Equivalent:
    """Mutants that can change no answer: those whose name the pattern matches."""

    pattern: str
    reason: str

    def covers(self, mutant: Mutant) -> bool:
        return fnmatchcase(mutant.name, self.pattern)


EQUIVALENTS = (
    Equivalent("condition | * | *class_id = ANY (*", "Joined to `classes` all the same: it says where to look."),
    Equivalent("join | * | JOIN classes -> LEFT JOIN", "What is joined came from `classes`: there always is one."),
    Equivalent("join | classes | JOIN school -> LEFT JOIN", "Every class has its school, by foreign key."),
    Equivalent("join | periods | JOIN enrollment -> LEFT JOIN", "Makes a period of nobody, in no role."),
    Equivalent("join | * | JOIN activity -> LEFT JOIN", "Makes an activity that is not published."),
    Equivalent("join | attempts | JOIN submission -> LEFT JOIN", "Makes an attempt at no activity, which is left out."),
    Equivalent("join | pairs | JOIN students -> LEFT JOIN", "Makes a pair of no class."),
    Equivalent("join | pairs | JOIN activities -> LEFT JOIN", "Makes a pair that is not due, graded or done."),
    Equivalent("join | session_days | JOIN attendance -> LEFT JOIN", "Makes a day without a date, of no record."),
    Equivalent(
        "join | attended | JOIN session_days -> LEFT JOIN", "The days are made from the records: each has its own."
    ),
    Equivalent("join | awards | JOIN points_award -> LEFT JOIN", "Makes an award to nobody, which is left out."),
    Equivalent("condition | students | p.role = 'STUDENT' -> TRUE (#2)", "Who does not teach is a student."),
    Equivalent("else | activities | ELSE '' -> nothing", "Null is as good a name for the only part."),
    Equivalent("number | activities | *ELSE 1 END* -> 2", "The weight of the only part cancels out."),
    Equivalent("function | works | max(b.score) -> min", "One attempt has the number of the graded attempt."),
    Equivalent("function | works | bool_or(b.has_feedback) -> bool_and", "Likewise."),
    Equivalent("function | works | bool_or(*b.graded_at <= b.at*", "One attempt has the number of the submitted one."),
    Equivalent(
        "condition | works | (b.graded_at <= b.at) IS NOT TRUE -> TRUE", "Graded or overdue, it is counted once."
    ),
    Equivalent("comparison | works | ((b.graded_at <= b.at) IS -> <", "Likewise."),
    Equivalent("condition | parts | weight IS NOT NULL -> TRUE", "Sums leave a part without weight out."),
    Equivalent("grouping | parts | weight -> nothing", "A part has one weight."),
    Equivalent("wrapper | result | nullif(f.graded_students, 0) -> (f.graded_students)", "No grades: a sum of null."),
    Equivalent("wrapper | result | nullif(f.improving_students, 0) -> *", "No changes: a sum of null."),
)


def equivalent_to(mutant: Mutant) -> Equivalent | None:
    return next((known for known in EQUIVALENTS if known.covers(mutant)), None)


@dataclass(frozen=True)
class Verdict:
    """Who noticed, and what."""

    mutant: Mutant
    notices: dict[str, str]

    @property
    def outcomes(self) -> set[str]:
        if self.notices:
            return {*self.notices}
        return {EQUIVALENT} if equivalent_to(self.mutant) else {SURVIVED}

    @property
    def objection(self) -> str | None:
        """Why a run should fail."""
        if self.outcomes == {SURVIVED}:
            return "is noticed by no test"
        if self.notices and equivalent_to(self.mutant):
            return "is listed as an equivalent, but is noticed"
        return None

    def __str__(self) -> str:
        details = "".join(f"\n    by {who}: {what[:300]}" for who, what in self.notices.items())
        return f"line {self.mutant.line}: {self.mutant.name}: {' and '.join(sorted(self.outcomes))}{details}"


@dataclass(frozen=True)
class Court:
    """The stored questions, and the database that answers them."""

    engine: Engine
    cases: Sequence[Item]
    random: Sequence[Item]

    def try_one(self, mutant: Mutant) -> Verdict:
        notices: dict[str, str] = {}
        for who, items in ((CASES, self.cases), (RANDOM, self.random)):
            state, detail = self.ask_in_turns(mutant.sql, items)
            if state.startswith(WRONG_STATEMENT):
                return Verdict(mutant, {REFUSED: detail})
            if detail:
                notices[who] = detail
        return Verdict(mutant, notices)

    def ask_in_turns(self, sql: str, items: Sequence[Item]) -> tuple[str, str]:
        """Until something is wrong; of few first, for where a join is lost many would take long."""
        for turn in (items[:FEW], *(items[n : n + MANY] for n in range(FEW, len(items), MANY))):
            state, detail = self.ask(sql, turn)
            if detail:
                return state, detail
        return "", ""

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
            unchanged = judges.try_one(Mutant("nothing", "nowhere", 0, "", "", metrics.SQL))
            if unchanged.notices:
                print(unchanged)
                return 1
            verdicts = list(shown(judges.try_all(mutants), len(mutants)))
    verdicts.sort(key=lambda verdict: verdict.mutant.line)
    objections = [verdict for verdict in verdicts if verdict.objection]
    for verdict in verdicts if part else objections:
        print(verdict, f"\n    It {verdict.objection}." if verdict.objection else "")
    if not part:
        REPORT.write_text(report(verdicts, len(judges.cases)))
    print(f"{len(objections)} to look at; {time.monotonic() - began:.0f} seconds")
    return 1 if objections else 0


def shown(verdicts: Iterator[Verdict], total: int) -> Iterator[Verdict]:
    for n, verdict in enumerate(verdicts, 1):
        if n % 50 == 0 or n == total:
            print(f"{n}/{total}", flush=True)
        yield verdict


def report(verdicts: Sequence[Verdict], questions: int) -> str:
    tallies = {kind: Counter[str]() for kind in KINDS}
    for verdict in verdicts:
        tallies[verdict.mutant.kind].update(["mutants", *verdict.outcomes])
    total = sum(tallies.values(), Counter[str]())
    matched = [(known, sum(known.covers(v.mutant) for v in verdicts)) for known in EQUIVALENTS]
    return TEMPLATE.format(
        questions=questions,
        classes=RANDOM_CLASSES,
        rows="\n".join(f"| {KINDS[kind]} | {cells(tally)} |" for kind, tally in tallies.items()),
        total=cells(total),
        equivalents="\n".join(
            f"| `{known.pattern.replace('|', '·')}` | {count} | {known.reason} |" for known, count in matched
        ),
    )


def cells(tally: Counter[str]) -> str:
    return " | ".join(str(tally[name] or "") for name in ("mutants", CASES, RANDOM, EQUIVALENT, REFUSED, SURVIVED))


TEMPLATE = """# Do the tests notice?

`make mutants` spoils [metrics.sql](../app/metrics.sql) in every way it knows, one at a time, and asks each time whether
the tests notice. It wrote this page, and fails when one mutant is not noticed. Asked are the {questions} questions of
the cases worked out by hand (tests/integration/metrics), and {classes} random classes that are the same in every run
(tests/strategies.py), held against the independent calculation (tests/independent.py).

| what is changed | mutants | noticed by cases | noticed by random classes | equivalent | no valid SQL | not noticed |
|---|---|---|---|---|---|---|
{rows}
| **all** | {total} |

## Equivalent mutants

These change the text but can change no answer, so no test can notice them.

| kind · where · what | mutants | why |
|---|---|---|
{equivalents}
"""


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
