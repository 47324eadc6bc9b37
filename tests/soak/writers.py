"""Those who record facts through the API, read records, and report values."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.soak import world
from tests.soak.clients import Client
from tests.soak.evidence import ANSWERED, Evidence, Report
from tests.soak.words import GRAPHQL_NAMES, READ, UNPIN, UPDATE, recording

PAUSE = 0.07  # seconds between two things one writer does, on average
MOST_ITEMS = 6
SOON = 4.0  # seconds until something that is recorded now comes to count
REPORTED_METRICS = ("total_points", "present_count", "absent_count", "late_count")

Item = tuple[str, tuple[Any, ...], Any, dict[str, Any]]  # kind, key, content, as the API takes it


async def again_and_again(client: Client, act: Callable[[], Awaitable[None]], pause: float = PAUSE) -> None:
    while not client.until.is_set():
        await act()
        await asyncio.sleep(client.choice.expovariate(1 / pause))


class Recorder:
    """Records facts, often about the same students again: the newest source time wins."""

    def __init__(self, number: int, client: Client) -> None:
        self.number, self.client = number, client
        self.choice = client.choice
        self.evidence = client.evidence
        self._made = 0

    async def act(self) -> None:
        mutation, make = self.choice.choice(
            [
                ("recordAttendance", self._attendance),
                ("recordGrades", self._grade),
                ("recordSubmissions", self._submission),
                ("awardPoints", self._award),
            ]
        )
        # Of one key once: of two in a batch nobody said which is later.
        at = time.time()
        items = {(item[0], item[1]): item for item in (make(at) for _ in range(self.choice.randint(1, MOST_ITEMS)))}
        for kind, key, what, _ in items.values():
            self.evidence.ledger.send(kind, key, at, what)
        data = await self.client.insist(
            recording(mutation), {"items": {"items": [sent for _, _, _, sent in items.values()]}}
        )
        if data is not None and is_done(data[mutation], self.evidence):
            for kind, key, _, _ in items.values():
                self.evidence.ledger.acknowledge(kind, key, at)

    def _attendance(self, at: float) -> Item:
        key = (self._class(), self._student(), world.DAYS[self.choice.randrange(10)].isoformat(), f"g{self.number}")
        status = self.choice.choice(("PRESENT", "ABSENT", "LATE", "EXCUSED"))
        named = zip(("classId", "studentId", "sessionDate", "sessionKey"), key, strict=True)
        return "attendance", key, status, {**dict(named), "status": status, "recordedAt": written(at)}

    def _attempt(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        key = (self._class(), self.choice.choice(world.ACTIVITIES), self._student(), self.number + 1)
        return key, dict(zip(("classId", "activityId", "studentId", "attempt"), key, strict=True))

    def _grade(self, at: float) -> Item:
        key, named = self._attempt()
        score = self.choice.randrange(80) / 4
        feedback = self.choice.choice((None, "", "well done"))
        graded = self._instant(at)
        given = {"score": score, "feedback": feedback, "gradedAt": graded, "gradeRecordedAt": written(at)}
        return "grade", key, (score, feedback, graded), {**named, **given}

    def _submission(self, at: float) -> Item:
        key, named = self._attempt()
        submitted = self._instant(at)
        return "submission", key, submitted, {**named, "submittedAt": submitted, "recordedAt": written(at)}

    def _award(self, at: float) -> Item:
        self._made += 1
        key = (self._class(), f"g{self.number}-{self._made}")
        student, points, awarded = self._student(), self.choice.randrange(-5, 20), self._instant(at)
        given = {"studentId": student, "points": points, "awardedAt": awarded, "recordedAt": written(at)}
        return "award", key, (student, points), {"classId": key[0], "id": key[1], **given}

    def _instant(self, at: float) -> str:
        """Past, but for a few: these come to count in a moment, when nobody writes anything."""
        soon = self.choice.random() < 0.02
        return written(at + self.choice.random() * SOON if soon else at - self.choice.random() * 86_400 * 20)

    def _class(self) -> str:
        return world.pick(self.choice, self.evidence.timeline.elapsed)

    def _student(self) -> str:
        return self.choice.choice(world.STUDENTS)


def is_done(outcome: dict[str, Any], evidence: Evidence) -> bool:
    if outcome["__typename"] == "RecordFactsSuccess":
        evidence.count("facts recorded")
        return True
    evidence.complain(ANSWERED, f"a fact was refused: {outcome}")
    return False


def written(at: float) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=round(at * 1e6))).isoformat()


class Reporter:
    """Reports values that are each unlike any other, so that history tells which came through, and how often."""

    def __init__(self, number: int, client: Client) -> None:
        self.number, self.client = number, client
        self.choice = client.choice
        self.evidence = client.evidence
        self._made = 0
        self._told: dict[str, list[int]] = {}  # by class, the versions of earlier reports

    async def act(self) -> None:
        self._made += 1
        metric = REPORTED_METRICS[self.number % 2 :: 2][self.choice.randrange(2)]
        value = None if self.choice.random() < 0.2 else self.number * 1_000_000 + 100_000 + self._made
        class_id = world.pick(self.choice, self.evidence.timeline.elapsed, world.REPORTED)
        report = Report(class_id, metric, value, f"{self.number}-{self._made}")
        self.evidence.reports.append(report)
        given: dict[str, Any] = {"classId": report.class_id, "idempotencyKey": report.key}
        told = self._told.get(report.class_id)
        if told and self.choice.random() < 0.3:
            given["expectedVersion"] = self.choice.choice(told[-3:])
        # Somebody clicks twice: both must be told the same.
        await asyncio.gather(*(self._send(report, given) for _ in range(1 + (self.choice.random() < 0.2))))

    async def _send(self, report: Report, given: dict[str, Any]) -> None:
        if report.value is None:
            mutation, query, said = "unpinMetrics", UNPIN, {"metrics": [report.metric.upper()]}
        else:
            mutation, query, said = "updateMetrics", UPDATE, {"data": {GRAPHQL_NAMES[report.metric]: report.value}}
        data = await self.client.insist(query, {"input": {**given, **said}})
        if data is None:
            return
        outcome = data[mutation]
        if record := outcome.get("classPerformance"):
            report.versions.append(record["version"])
            self._told.setdefault(report.class_id, []).append(record["version"])
            self.evidence.sightings.see(record, f"whoever reported {report.key}")
            self.evidence.count("reports")
        elif outcome["__typename"] == "VersionConflict":
            report.refused = True
            self.evidence.count("conflicts")
        else:
            self.evidence.complain(ANSWERED, f"a report was refused: {outcome}")


class Registrar:
    """Opens classes, for those to find who watch a school."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.opened = 0

    async def act(self) -> None:
        class_id = world.newcomer(self.opened)
        self.opened += 1
        school = world.school_of(class_id)
        self.client.evidence.ledger.send("class", (class_id,), 0.0, school)
        if await self._record("recordClasses", {"id": class_id, "schoolId": school, "title": class_id}):
            self.client.evidence.ledger.acknowledge("class", (class_id,), 0.0)
            student = {"classId": class_id, "id": "1", "personId": world.STUDENTS[0], "role": "STUDENT"}
            await self._record("recordEnrollments", student)

    async def _record(self, mutation: str, item: dict[str, Any]) -> bool:
        data = await self.client.insist(recording(mutation), {"items": {"items": [item]}})
        return data is not None and is_done(data[mutation], self.client.evidence)


class Reader:
    """Reads, classes too that do not exist yet, so that the caches hold something to be wrong about."""

    def __init__(self, client: Client, registrar: Registrar) -> None:
        self.client = client
        self._registrar = registrar

    async def act(self) -> None:
        elapsed = self.client.evidence.timeline.elapsed
        # Those that are written to now or in a moment, for these are what one can be wrong about.
        written_to = [world.pick(self.client.choice, elapsed + self.client.choice.random() * 2) for _ in range(16)]
        newcomers = [world.newcomer(n) for n in range(self._registrar.opened + 1)]
        ids = [*dict.fromkeys(written_to), *self.client.choice.sample(world.CLASSES, 2), *newcomers[-3:]]
        data = await self.client.insist(READ, {"ids": ids}, times=1)
        for record in (data or {}).get("classPerformances", ()):
            if record is not None:
                self.client.evidence.sightings.see(record, "a reader")
        self.client.evidence.count("reads")
