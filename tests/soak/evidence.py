"""What was sent, what was acknowledged, and what was seen: to be held against the database afterwards."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.soak.words import content, difference

NOTHING = -1.0  # before any time
ABSENT = None

# The promises. What is found wrong names the one that was broken.
KEPT = "nothing acknowledged is lost"
REBUILT = "every record equals a full rebuild"
CACHED = "cache equals database"
TOLD = "every subscriber has the newest version and never saw one go back"
ONE = "a version is the same to everybody"
ANSWERED = "nobody ends by itself or gives an answer that is none"
QUIET = "everything is calculated and told within bounded time"


@dataclass(frozen=True)
class Violation:
    promise: str
    text: str

    def __str__(self) -> str:
        return f"{self.promise}: {self.text}"


class Timeline:
    """What happened when, in seconds since the load began."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.lines: list[str] = []
        self.counts: Counter[str] = Counter()

    def begin(self) -> None:
        self.began = time.monotonic()

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began

    def note(self, text: str) -> None:
        self.lines.append(f"{self.elapsed:7.2f} s  {text}")


@dataclass
class Fact:
    """What was sent for one key: the content at each time. The later time wins; ABSENT was deleted."""

    sent: dict[float, Any] = field(default_factory=dict)
    acknowledged: float = NOTHING

    def allows(self, stored: Any) -> bool:
        """What was acknowledged, or something later that may have come through. Before anything was, nothing too."""
        if self.acknowledged == NOTHING and stored is ABSENT:
            return True
        return any(at >= self.acknowledged and what == stored for at, what in self.sent.items())


class Ledger:
    """Facts by kind and key."""

    def __init__(self) -> None:
        self.facts: defaultdict[str, dict[tuple[Any, ...], Fact]] = defaultdict(dict)

    def send(self, kind: str, key: tuple[Any, ...], at: float, what: Any) -> None:
        self.facts[kind].setdefault(key, Fact()).sent[at] = what

    def acknowledge(self, kind: str, key: tuple[Any, ...], at: float) -> None:
        fact = self.facts[kind][key]
        fact.acknowledged = max(fact.acknowledged, at)

    def violations(self, kind: str, stored: Mapping[tuple[Any, ...], Any]) -> list[Violation]:
        """`stored` are all there are of this kind: what nobody sent must not be there either."""
        facts = self.facts[kind]
        wrong = [
            f"{kind} {key}: stored is {stored.get(key, ABSENT)!r}, sent {_briefly(fact)}"
            for key, fact in facts.items()
            if not fact.allows(stored.get(key, ABSENT))
        ]
        wrong += [f"{kind} {key}: nobody sent {what!r}" for key, what in stored.items() if key not in facts]
        return [Violation(KEPT, text) for text in wrong]

    def acknowledged(self) -> int:
        return sum(fact.acknowledged != NOTHING for facts in self.facts.values() for fact in facts.values())


def _briefly(fact: Fact) -> str:
    late = sorted(fact.sent)[-3:]
    return ", ".join(f"{fact.sent[at]!r} at {at:.6f}" for at in late) + f"; acknowledged {fact.acknowledged:.6f}"


@dataclass
class Report:
    """One report, under one idempotency key. `value` is unlike any other; `versions` are those it was told it made."""

    class_id: str
    metric: str
    value: int | None
    key: str
    versions: list[int] = field(default_factory=list)
    refused: bool = False


class Sightings:
    """What anybody saw of each version of each record."""

    def __init__(self) -> None:
        self.contents: dict[tuple[str, int], bytes] = {}
        self.violations: list[Violation] = []

    def see(self, record: Mapping[str, Any], who: str) -> None:
        self.compare(record["classId"], record["version"], content(record), who)

    def compare(self, class_id: str, version: int, seen: bytes, who: str) -> None:
        first = self.contents.setdefault((class_id, version), seen)
        if first != seen:
            text = f"{class_id} version {version} was another to {who}: {difference(first, seen)}"
            self.violations.append(Violation(ONE, text))


class Evidence:
    """All of it."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.reports: list[Report] = []
        self.sightings = Sightings()
        self.complaints: list[Violation] = []
        self.timeline = Timeline()
        self.logs: list[str] = []

    def complain(self, promise: str, text: str) -> None:
        self.complaints.append(Violation(promise, text))
        self.timeline.note(f"! {text[:200]}")

    def count(self, what: str) -> None:
        self.timeline.counts[what] += 1
