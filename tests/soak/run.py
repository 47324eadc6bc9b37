"""One run: load under faults, then quiet, then every promise is looked at."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from tests.soak import kept, rebuilt, served
from tests.soak.evidence import Evidence, Violation
from tests.soak.house import SOUND, House, Spoiled, house_in
from tests.soak.injection import Injector
from tests.soak.load import Load
from tests.soak.plan import Fault, written
from tests.soak.quiet import until_calculated, until_told

SHORT_SECONDS = 10.0  # of load, for the plan SHORT
BEGUN_WITHIN = 60.0
MOST_SHOWN = 8  # violations of one promise


@dataclass(frozen=True)
class Run:
    """Afterwards everything must be calculated within `patience` seconds, and told within half as many."""

    seed: int
    seconds: float
    plan: tuple[Fault, ...]
    spoiled: Spoiled = SOUND
    patience: float = 60.0


async def soak(run: Run, directory: Path) -> Evidence:
    evidence = Evidence()
    async with house_in(directory, evidence, run.spoiled) as house:
        load = Load(house, evidence, run.seed)
        try:
            # Until then a class has no record, which looks as if it were gone.
            await until_calculated(house.postgres.url, evidence, BEGUN_WITHIN)
            evidence.timeline.begin()
            async with load.watching():
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(load.write(run.seconds))
                    tasks.create_task(Injector(house).carry_out(run.plan))
                evidence.timeline.note("the load is over, and so are the faults")
                await _settle(house, load, evidence, run.patience)
                await _judge(house, load, evidence, run.seed)
        finally:
            await load.close()
        evidence.logs = [*house.logs()]
    return evidence


async def _settle(house: House, load: Load, evidence: Evidence, patience: float) -> None:
    await house.until_all_answer()
    if await until_calculated(house.postgres.url, evidence, patience):
        evidence.timeline.note("everything is calculated")
    await until_told(load.interests, house.postgres.url, patience / 2)
    evidence.timeline.note("everybody is told, or never will be")


async def _judge(house: House, load: Load, evidence: Evidence, seed: int) -> None:
    stored = await asyncio.to_thread(served.stored_in, house.postgres.url)
    with house.redis() as redis:
        found: list[Violation] = [*served.cached(redis, stored)]
    found += await served.answers(load.client("judge"), house, stored)
    found += served.told(load.interests, stored)
    found += await rebuilt.violations(house.settings, random.Random(seed))
    found += await asyncio.to_thread(lambda: [*kept.violations(house.postgres.url, evidence)])
    evidence.complaints += [*found, *evidence.sightings.violations]
    evidence.timeline.note("every promise is looked at")


def account(run: Run, evidence: Evidence) -> str:
    """What one needs to know of a run in which something was wrong."""
    parts = [
        f"seed {run.seed}, {run.seconds:g} s of load",
        "The plan:\n" + written(run.plan),
        "What happened:\n" + "\n".join(evidence.timeline.lines),
        "Counted: " + summary(evidence),
        *evidence.logs,
        "What is wrong:\n" + "\n".join(_shown(evidence.complaints)),
    ]
    return "\n\n".join(parts)


def summary(evidence: Evidence) -> str:
    counts = {**evidence.timeline.counts, "facts acknowledged": evidence.ledger.acknowledged()}
    return ", ".join(f"{number} {what}" for what, number in sorted(counts.items()))


def _shown(complaints: list[Violation]) -> list[str]:
    by_promise: defaultdict[str, list[Violation]] = defaultdict(list)
    for complaint in complaints:
        by_promise[complaint.promise].append(complaint)
    shown = []
    for promise, violations in by_promise.items():
        shown += [str(violation)[:600] for violation in violations[:MOST_SHOWN]]
        if len(violations) > MOST_SHOWN:
            shown.append(f"{promise}: and {len(violations) - MOST_SHOWN} more")
    return shown


def broken(evidence: Evidence) -> Counter[str]:
    """How often each promise was broken."""
    return Counter(complaint.promise for complaint in evidence.complaints)
