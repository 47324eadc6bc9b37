"""`make sabotage`: puts one fault at a time into the code, and shows that the soak notices. Writes docs/faults.md."""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop

from tests.soak.evidence import CACHED, KEPT, ONE, REBUILT, TOLD
from tests.soak.house import SOUND, Spoiled
from tests.soak.plan import APIS, CUT, DELAY, EMPTY, KILL, LINKS, PAUSE, SHORT, WORKERS, Fault, wire
from tests.soak.run import SHORT_SECONDS, Run, account, broken, soak
from tests.soak.spoiled import SPOILS

REPORT = Path(__file__).parent.parent.parent / "docs" / "faults.md"
TRIES = 3
LONG, SHORTER = 60.0, 20.0  # seconds in which everything must be calculated


def often(kind: str, target: str, seconds: float, extent: float = 0.0, every: float = 1.5) -> tuple[Fault, ...]:
    times = round((SHORT_SECONDS - 1) / every)
    return tuple(Fault(1.0 + n * every, kind, target, seconds, extent) for n in range(times))


KILLED_WORKERS = tuple(Fault(2.0 + 2.0 * n, KILL, worker, 0.1) for n in range(5) for worker in WORKERS)
LATE_WORKER = (Fault(0.5, DELAY, wire("worker-1", "valkey"), 9.5, 0.12),)
# What is read from the database, because Redis was emptied, is held up until Redis was emptied once more.
EMPTIED_WHILE_READ = (
    Fault(6.5, EMPTY, "valkey"),
    Fault(6.5, DELAY, wire("api-0", "postgres"), 3.0, 0.15),
    Fault(7.3, PAUSE, "api-0", 1.5),
    Fault(8.5, EMPTY, "valkey"),
)
KILLED_APIS = tuple(Fault(9.5, KILL, api, 0.0) for api in APIS)  # what they had heard is forgotten
TO_REDIS = [wire(process, server) for process, server in LINKS if server == "valkey"]
LOST_REDIS = tuple(fault for link in TO_REDIS for fault in often(CUT, link, 0, every=0.7))


@dataclass(frozen=True)
class Sabotage:
    """`promise`: the one that must be seen broken, whichever others are."""

    promise: str
    does: str
    spoiled: Spoiled
    plan: tuple[Fault, ...] = SHORT


def in_code(name: str, promise: str, plan: tuple[Fault, ...] = SHORT) -> Sabotage:
    return Sabotage(promise, SPOILS[name].__doc__ or "", Spoiled(code=name), plan)


SABOTAGES = {
    **{
        sabotage.spoiled.code: sabotage
        for sabotage in (
            in_code("acknowledge-first", KEPT, often(KILL, "api-0", 0.0)),
            in_code("forget-keys", KEPT),
            in_code("take-every-mark", REBUILT),
            in_code("take-marks-afterwards", REBUILT),
            in_code("commit-the-claim-first", REBUILT, KILLED_WORKERS),
            in_code("lock-nothing", KEPT),
            in_code("stop-the-clock", REBUILT),
            in_code("tell-nobody", CACHED),
            in_code("take-silence-for-consent", CACHED, often(PAUSE, "valkey", 1.2, every=3.0)),
            in_code("put-anything", CACHED, LATE_WORKER),
            in_code("publish-nothing", TOLD),
            in_code("fill-anything", CACHED, EMPTIED_WHILE_READ),
            in_code("trust-every-redis", CACHED, (*often(KILL, "valkey", 0.1, 1.0, every=3.0), *KILLED_APIS)),
            in_code("mind-no-gap", TOLD, LOST_REDIS),
            in_code("watch-later", TOLD),
            in_code("keep-the-first", TOLD),
            in_code("pass-on-anything", TOLD, LATE_WORKER),
        )
    },
    "commit-without-writing": Sabotage(
        KEPT,
        "PostgreSQL says that it has committed before it has written (`synchronous_commit = off`)",
        Spoiled(postgres=("-c", "synchronous_commit=off", "-c", "wal_writer_delay=2s")),
        often(KILL, "postgres", 0.1, every=4.0),
    ),
    "mark-new-class-only": Sabotage(
        REBUILT,
        "Of a fact that moves to another class only the new class is marked",
        Spoiled(
            sql="""
            CREATE OR REPLACE FUNCTION mark_classes_of_facts() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF tg_op = 'DELETE' THEN
                    INSERT INTO class_change (class_id) SELECT DISTINCT class_id FROM old_rows;
                ELSE
                    INSERT INTO class_change (class_id) SELECT DISTINCT class_id FROM new_rows;
                END IF;
                RETURN NULL;
            END $$"""
        ),
    ),
    "update-without-version": Sabotage(
        ONE,
        "A record that a program changes keeps its version",
        Spoiled(sql="DROP TRIGGER raise_version_update ON class_performance"),
    ),
}


def attempt(seed: int, plan: tuple[Fault, ...], spoiled: Spoiled) -> Counter[str]:
    run = Run(seed, SHORT_SECONDS, plan, spoiled, LONG if spoiled == SOUND else SHORTER)
    with tempfile.TemporaryDirectory() as name:
        began = time.monotonic()
        evidence = uvloop.run(soak(run, Path(name)))
        print(f"seed {seed}: {dict(broken(evidence))}, {time.monotonic() - began:.0f} s", flush=True)
        if spoiled == SOUND and evidence.complaints:
            print(account(run, evidence))
        return broken(evidence)


def convict(name: str) -> tuple[int, Counter[str]]:
    """The number of runs it took, or 0; and the promises that were broken in the last."""
    sabotage = SABOTAGES[name]
    seen: Counter[str] = Counter()
    for seed in range(1, TRIES + 1):
        print(name, end=", ")
        seen = attempt(seed, sabotage.plan, sabotage.spoiled)
        if sabotage.promise in seen:
            return seed, seen
    return 0, seen


def acquit(names: Sequence[str]) -> list[str]:
    """Nothing is wrong with the code as it is: by each plan, the promises that were broken all the same."""
    wrong = []
    for plan in dict.fromkeys(SABOTAGES[name].plan for name in names):
        print("sound", end=", ")
        wrong += [f"{promise} (without a fault)" for promise in attempt(1, plan, SOUND)]
    return wrong


def main(*names: str) -> int:
    wrong = acquit(names or [*SABOTAGES])
    verdicts = {name: convict(name) for name in names or SABOTAGES}
    wrong += [f"{name} went unnoticed" for name, (tries, _) in verdicts.items() if not tries]
    if not names and not wrong:
        REPORT.write_text(REPORT.read_text().partition(MARK)[0] + MARK + "\n\n" + table(verdicts))
    print("\n".join(wrong) or "All were noticed, and nothing else.")
    return 1 if wrong else 0


MARK = "<!-- Written by `make sabotage`. -->"


def table(verdicts: dict[str, tuple[int, Counter[str]]]) -> str:
    lines = ["| fault put in | noticed by | in run |", "|---|---|---|"]
    for name, (tries, seen) in verdicts.items():
        sabotage = SABOTAGES[name]
        # The promise that is the reason for trying first, then what else was seen.
        promises = sorted(seen, key=lambda promise: promise != sabotage.promise)
        lines.append(f"| {sabotage.does} | {'; '.join(promises) or 'nobody'} | {tries or 'none'} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
