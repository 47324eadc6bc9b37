"""A believable school district, made from a number: the same plan gives the same facts, to the microsecond.

Every metric has something to say in it, and nothing is the same everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from app.calendar import start_of_day
from app.facts import SchoolFact

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
Values = tuple[Any, ...]

ZONES = ("Europe/London", "America/New_York", "Atlantic/Azores", "Asia/Kathmandu", "Africa/Cairo", "America/Denver")
NAMES = ("Hillside", "Riverbend", "Oak Grove", "Harbour", "Northgate", "Meadow", "St. Brigid's", "Kingsway")
PASS_MARKS = (60, 50, 65, 40)
SUBJECTS = ("Algebra", "Biology", "Chemistry", "Drama", "English", "French", "Geography", "History", "Music", "Physics")
SECTIONS = "ABCDE"
GRADINGS = (
    (("homework", "Homework", 20), ("quizzes", "Quizzes", 30), ("tests", "Tests", 50)),
    (("homework", "Homework", 40), ("quizzes", "Quizzes", 25), ("tests", "Tests", 35)),
    (("homework", "Problem sets", 10), ("quizzes", "Reading checks", 20), ("tests", "Exams", 70)),
)
MAX_POINTS = (10, 20, 25, 50, 100)
SCORES = tuple(Decimal(half) / 2 for half in range(260))
FEEDBACK = (
    "Well argued.",
    "Show your working.",
    "Much better than last time!",
    "See me about question 3.",
    "A clear structure; now shorten it.",
    "Check your units.",
    "Lovely examples.",
    "Please cite your sources.",
)


@dataclass(frozen=True, slots=True)
class Plan:
    """How large a district, and as seen when. `activities` are those due so far in a class in mid-term.

    `attendance_days`: attendance is kept for so many school days before `now`, or the end of the class; all if None.
    """

    now: datetime
    seed: int = 1
    classes: int = 200
    students: int = 30
    activities: int = 40
    schools: int = 4
    attendance_days: int | None = None

    def zone(self, school: int) -> ZoneInfo:
        return ZoneInfo(ZONES[school % len(ZONES)])

    @property
    def students_of_school(self) -> int:
        """A student takes about five classes."""
        return max(self.students + 10, -(-self.classes // self.schools) * self.students // 5)

    @property
    def teachers_of_school(self) -> int:
        """A teacher has about four."""
        return max(2, -(-self.classes // self.schools) // 4)


def school_id(school: int) -> str:
    return f"school-{school + 1:02}"


def student_id(school: int, number: int) -> str:
    return f"student-{school + 1:02}-{number + 1:05}"


def teacher_id(school: int, number: int) -> str:
    return f"teacher-{school + 1:02}-{number + 1:04}"


def class_id(number: int) -> str:
    return f"class-{number:05}"


def schools_of(plan: Plan) -> list[SchoolFact]:
    return [
        SchoolFact(
            id=school_id(n),
            title=f"{NAMES[n % len(NAMES)]} School",
            time_zone=plan.zone(n).key,
            pass_mark=Decimal(PASS_MARKS[n % len(PASS_MARKS)]),
            feedback_hours=(168, 120, 240)[n % 3],
            active_days=(14, 7, 21)[n % 3],
            improvement_days=(30, 21)[n % 2],
            excused_counts=n % 2 == 0,
            recorded_at=plan.now - 700 * DAY,
        )
        for n in range(plan.schools)
    ]


@dataclass(slots=True)
class Pupil:
    """A student in a class: how able and how diligent, until giving up at some share of the work; and there from when
    until when, with a gap for who left and came back."""

    id: str
    ability: float
    trend: float
    diligence: float
    presence: float
    gives_up: float
    begins: datetime
    ends: datetime | None
    returns: datetime | None

    def there(self, instant: datetime) -> bool:
        if self.returns and instant >= self.returns:
            return True
        return self.begins <= instant and (self.ends is None or instant < self.ends)


class Classroom:
    """One class and all that happened in it. Its rows are in the order of the columns of their shelves."""

    def __init__(self, plan: Plan, number: int) -> None:
        self.plan, self.number, self.id = plan, number, class_id(number)
        self.random = Random(f"{plan.seed}/{number}")  # noqa: S311 (a district, not a secret)
        self.school = number % plan.schools
        self.zone = plan.zone(self.school)
        self.begins, self.ends = self._term()
        self.seen = min(self.ends or plan.now, plan.now)
        self.speed, self.talk = self.random.uniform(0.15, 1.6), self.random.uniform(0.05, 0.95)
        self.zeal, self.order = self.random.uniform(0.8, 0.99), self.random.uniform(4, 22)
        self.weighted = self.random.random() < 0.6
        self.pupils = [] if number % 40 == 17 else self._pupils()

    def _term(self) -> tuple[datetime, datetime | None]:
        """Mostly in mid-term; some finished, archived or not, some only begun, some without end."""
        draw, now = self.random.random(), self.plan.now
        back = 9 if self.fresh else 280 if self.archived else self.random.randint(70, 115)
        ahead = -95 if self.archived else -5 if draw < 0.04 else self.random.randint(25, 90)
        ends = None if not self.archived and draw > 0.9 else self.day(now + ahead * DAY)
        return self.day(now - back * DAY), ends

    @property
    def archived(self) -> bool:
        return self.number % 8 == 5

    @property
    def fresh(self) -> bool:
        return self.number % 25 == 9 and not self.archived

    def day(self, instant: datetime) -> datetime:
        return start_of_day(instant.astimezone(self.zone).date(), self.zone)

    def classes(self) -> list[Values]:
        subject = SUBJECTS[self.random.randrange(len(SUBJECTS))]
        title = f"{subject} {self.random.randint(6, 12)}{self.random.choice(SECTIONS)}"
        status = "ARCHIVED" if self.archived else "ACTIVE"
        school = school_id(self.school)
        return [(self.id, school, title, status, self.begins, self.ends, self.weighted, self.begins - 30 * DAY)]

    def _pupils(self) -> list[Pupil]:
        size = max(1, self.plan.students + self.random.randint(-3, 3))
        level = self.random.gauss(0.74, 0.09)
        chosen = self.random.sample(range(self.plan.students_of_school), min(size, self.plan.students_of_school))
        return [self._pupil(student_id(self.school, number), level) for number in sorted(chosen)]

    def _pupil(self, id: str, level: float) -> Pupil:
        draw, length = self.random.random(), self.seen - self.begins
        begins = self.begins + length * self.random.uniform(0.2, 0.7) if draw < 0.08 else self.begins
        leaves = 0.08 <= draw < 0.16
        ends = self.begins + length * self.random.uniform(0.3, 0.7) if leaves else None
        returns = ends + length * 0.15 if ends and draw < 0.11 else None
        return Pupil(
            id,
            self.random.gauss(level, 0.14),
            self.random.gauss(0.02, 0.08),
            self.random.gauss(self.zeal, 0.06),
            self.random.betavariate(self.order, 1.2),
            self.random.uniform(0.5, 0.95) if self.random.random() > self.zeal else 2,
            begins,
            ends,
            returns,
        )

    def enrollments(self) -> list[Values]:
        teachers, turn = self.plan.teachers_of_school, self.number // self.plan.schools
        rows: list[Values] = [self._enrollment("t1", teacher_id(self.school, turn % teachers), "TEACHER")]
        if self.number % 7 == 3:
            rows.append(self._enrollment("t2", teacher_id(self.school, (turn + 1) % teachers), "TEACHER"))
        for place, pupil in enumerate(self.pupils, 1):
            rows.append(self._enrollment(f"s{place:03}-1", pupil.id, "STUDENT", pupil.begins, pupil.ends))
            if pupil.returns:
                rows.append(self._enrollment(f"s{place:03}-2", pupil.id, "STUDENT", pupil.returns))
        return rows

    def _enrollment(
        self, id: str, person: str, role: str, begins: datetime | None = None, ends: datetime | None = None
    ) -> Values:
        return (self.id, id, person, role, begins or self.begins, ends, min(ends or self.begins, self.plan.now))

    def categories(self) -> list[Values]:
        worthless = self.number % 40 == 11
        grading = GRADINGS[self.random.randrange(len(GRADINGS))]
        return [(self.id, id, title, 0 if worthless else weight, self.begins) for id, title, weight in grading]

    def attendance(self) -> list[Values]:
        sessions = ("am", "pm") if self.number % 10 == 3 else ("",)
        return [
            (self.id, pupil.id, day, session, self._presence(pupil), noon)
            for day in self._school_days()
            for noon in [datetime.combine(day, time(12), self.zone)]
            for session in sessions
            for pupil in self.pupils
            if pupil.there(noon)
        ]

    def _school_days(self) -> list[date]:
        first, last = (i.astimezone(self.zone).date() for i in (self.begins, min(self.seen, self.plan.now - DAY)))
        days = [first + n * DAY for n in range((last - first).days + 1)]
        days = [day for day in days if day.weekday() < 5]
        keep = self.plan.attendance_days
        return days if keep is None else days[max(0, len(days) - keep) :]

    def _presence(self, pupil: Pupil) -> str:
        draw = self.random.random()
        if draw < pupil.presence:
            return "PRESENT"
        rest = (draw - pupil.presence) / (1 - pupil.presence)
        return "LATE" if rest < 0.4 else "EXCUSED" if rest < 0.65 else "ABSENT"

    def points_awards(self) -> list[Values]:
        rows: list[Values] = []
        for pupil in self.pupils:
            for _ in range(self.random.randrange(4)):
                awarded = pupil.begins + (self.seen - pupil.begins) * self.random.random()
                revoked = awarded + DAY if self.random.random() < 0.05 else None
                points = -5 if self.random.random() < 0.12 else self.random.choice((1, 2, 5, 10))
                rows.append((self.id, f"award-{len(rows) + 1:04}", pupil.id, points, awarded, revoked, awarded))
        return rows
