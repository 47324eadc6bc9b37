"""The record of a class as it travels: from the database through the cache to whoever asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import orjson

from app.metrics import METRIC_NAMES

INSTANTS = ("last_updated", "created_at", "updated_at")


@dataclass(slots=True)
class Record:
    """Everything about a class that is served. Its content is determined by class and version, and never changed here;
    it is not frozen only because that makes each of the thousands made in a second four times as slow to make.

    `school_id` and `status` are the class's: with them access and time to live are decided without another look.
    """

    class_id: str
    school_id: str
    status: str
    version: int
    pinned_metrics: list[str]
    explanation: dict[str, Any]
    custom: dict[str, Any] | None
    last_updated: datetime
    created_at: datetime
    updated_at: datetime

    average_grade: float | None
    passing_rate: float | None
    highest_grade: float | None
    lowest_grade: float | None
    attendance_rate: float | None
    present_count: int
    absent_count: int
    late_count: int
    excused_count: int
    participation_rate: float | None
    active_students: int
    completion_rate: float | None
    submission_rate: float | None
    activities_created: int
    activities_graded: int
    total_points: int
    average_points: float | None
    grade_improvement: float | None
    teacher_feedback_rate: float | None
    grading_timeliness: float | None

    @classmethod
    def from_row(cls, row: Mapping[Any, Any]) -> Self:
        return cls(**row)

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        values = orjson.loads(data)
        for name in INSTANTS:
            values[name] = datetime.fromisoformat(values[name])
        return cls(**values)

    def to_json(self) -> bytes:
        return orjson.dumps(self)


# The columns of a record: its own, and those of its class.
OWN = ("class_id", "version", "pinned_metrics", "explanation", "custom", *INSTANTS, *METRIC_NAMES)
OF_CLASS = ("school_id", "status")
# To be selected FROM class_performance p JOIN class c ON c.id = p.class_id.
COLUMNS = ", ".join([*(f"p.{name}" for name in OWN), *(f"c.{name}" for name in OF_CLASS)])
