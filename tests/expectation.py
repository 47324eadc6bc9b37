"""What one class should give at one instant, from the independent calculation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.metrics import METRICS
from tests import independent
from tests.independent import MICROSECOND, Facts, Ratio

GRAPHQL_NAMES = {metric.name: metric.graphql_name for metric in METRICS}


@dataclass(frozen=True)
class Expectation:
    """`next_change_at` is the one worked out by hand, if any. However it comes out, it must not be after `changes_at`,
    from which instant on the numbers differ (None: never)."""

    facts: Facts
    at: datetime
    numbers: dict[str, Any]
    explanation: dict[str, Any]
    changes_at: datetime | None
    next_change_at: tuple[datetime | None, ...] = ()

    @classmethod
    def of(cls, facts: Facts, at: datetime) -> Expectation:
        return cls(facts, at, independent.calculate(facts, at), explain(facts, at), first_difference(facts, at))

    def differences(self, row: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
        """What was expected and what came instead, by name; empty when all is as it should be."""
        return {name: (wanted, got) for name, wanted, got in self.compare(row) if wanted != got}

    def compare(self, row: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
        for name, number in self.numbers.items():
            yield name, number, row[name]
        yield "explanation", self.explanation, row["explanation"]
        got = row["next_change_at"]
        for by_hand in self.next_change_at:
            yield "next_change_at", by_hand, got
        if got is not None and got <= self.at:
            yield "next_change_at", "later", got
        if self.changes_at is not None and (got is None or got > self.changes_at):
            yield "next_change_at", f"by {self.changes_at}", got


def explain(facts: Facts, at: datetime) -> dict[str, Any]:
    school = facts.school
    calculation = independent.Calculation(facts, at)
    return {
        **{GRAPHQL_NAMES[name]: fraction(ratio) for name, ratio in calculation.ratios.items()},
        "students": len(calculation.students),
        "policy": {
            "passMark": float(school.pass_mark),
            "feedbackHours": school.feedback_hours,
            "activeDays": school.active_days,
            "improvementDays": school.improvement_days,
            "excusedCounts": school.excused_counts,
            "weighted": facts.klass.weighted,
            "timeZone": school.time_zone,
        },
    }


def fraction(ratio: Ratio) -> dict[str, float]:
    numerator, denominator = ratio
    return {"numerator": float(independent.rounded(numerator, 10)), "denominator": denominator}


def first_difference(facts: Facts, at: datetime) -> datetime | None:
    now = numbers_at(facts, at)
    changes = independent.changes(facts)
    probes = {probe for change in changes for probe in (change, change - MICROSECOND) if probe > at}
    return next((probe for probe in sorted(probes) if numbers_at(facts, probe) != now), None)


def numbers_at(facts: Facts, at: datetime) -> tuple[Any, Any]:
    calculation = independent.Calculation(facts, at)
    return independent.calculate(facts, at), calculation.ratios
