"""Every class metric once more, in plain Python from the definitions, to hold the SQL against.

It shares no code with the application. Clarity comes before speed: each set and each metric is one comprehension,
and all arithmetic is exact (`Fraction`) until the rounding at the end.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import cached_property, lru_cache
from itertools import pairwise
from math import floor
from zoneinfo import ZoneInfo

INT_MIN, INT_MAX = -(2**31), 2**31 - 1
MICROSECOND = timedelta(microseconds=1)

Ratio = tuple[Fraction, int]


@dataclass(frozen=True)
class School:
    id: str
    title: str
    time_zone: str
    pass_mark: Decimal
    feedback_hours: int
    active_days: int
    improvement_days: int
    excused_counts: bool
    recorded_at: datetime


@dataclass(frozen=True)
class Class:
    id: str
    school_id: str
    title: str
    status: str
    begins: datetime | None
    ends: datetime | None
    weighted: bool
    recorded_at: datetime


@dataclass(frozen=True)
class Person:
    id: str
    school_id: str
    recorded_at: datetime


@dataclass(frozen=True)
class Enrollment:
    class_id: str
    id: str
    person_id: str
    role: str
    begins: datetime | None
    ends: datetime | None
    recorded_at: datetime


@dataclass(frozen=True)
class Category:
    class_id: str
    id: str
    title: str
    weight: Decimal
    recorded_at: datetime


@dataclass(frozen=True)
class Activity:
    class_id: str
    id: str
    category_id: str | None
    title: str
    max_points: Decimal
    due_at: datetime | None
    published_at: datetime | None
    deleted_at: datetime | None
    expects_submission: bool
    counts_toward_grade: bool
    recorded_at: datetime


@dataclass(frozen=True)
class Submission:
    class_id: str
    activity_id: str
    student_id: str
    attempt: int
    submitted_at: datetime | None
    recorded_at: datetime
    score: Decimal | None
    graded_at: datetime | None
    graded_automatically: bool
    feedback: str | None
    grade_recorded_at: datetime


@dataclass(frozen=True)
class Excusal:
    class_id: str
    activity_id: str
    student_id: str
    excused: bool
    recorded_at: datetime


@dataclass(frozen=True)
class Attendance:
    class_id: str
    student_id: str
    session_date: date
    session_key: str
    status: str
    recorded_at: datetime


@dataclass(frozen=True)
class PointsAward:
    class_id: str
    id: str
    student_id: str
    points: int
    awarded_at: datetime
    revoked_at: datetime | None
    recorded_at: datetime


@dataclass(frozen=True)
class Facts:
    """All that is stored about one class."""

    school: School
    klass: Class
    enrollments: list[Enrollment] = field(default_factory=list)
    categories: list[Category] = field(default_factory=list)
    activities: list[Activity] = field(default_factory=list)
    submissions: list[Submission] = field(default_factory=list)
    excusals: list[Excusal] = field(default_factory=list)
    attendance: list[Attendance] = field(default_factory=list)
    points_awards: list[PointsAward] = field(default_factory=list)

    @property
    def persons(self) -> list[Person]:
        """Everyone a fact names, whether enrolled or not."""
        by_student = (self.submissions, self.excusals, self.attendance, self.points_awards)
        ids = {e.person_id for e in self.enrollments} | {fact.student_id for facts in by_student for fact in facts}
        return [Person(name, self.school.id, self.school.recorded_at) for name in sorted(ids)]


@dataclass(frozen=True)
class Pair:
    """A student of E and an activity of A, as seen at T."""

    student: str
    activity: Activity
    excused: bool
    submitted: Submission | None  # the highest attempt with submitted at <= T
    graded: Submission | None  # the highest attempt with a score and graded at <= T

    @property
    def score(self) -> Fraction:
        assert self.graded is not None
        assert self.graded.score is not None
        return Fraction(self.graded.score)


def calculate(facts: Facts, at: datetime) -> dict[str, int | float | None]:
    c = Calculation(facts, at)
    ratios = c.ratios
    grades = c.grades.values()
    return {
        "average_grade": served(quotient(ratios["average_grade"])),
        "passing_rate": served(percentage(ratios["passing_rate"])),
        "highest_grade": served(max(grades, default=None)),
        "lowest_grade": served(min(grades, default=None)),
        "attendance_rate": served(percentage(ratios["attendance_rate"])),
        "present_count": c.attended("PRESENT"),
        "absent_count": c.attended("ABSENT"),
        "late_count": c.attended("LATE"),
        "excused_count": c.attended("EXCUSED"),
        "participation_rate": served(percentage(ratios["participation_rate"])),
        "active_students": len(c.active_students),
        "completion_rate": served(percentage(ratios["completion_rate"])),
        "submission_rate": served(percentage(ratios["submission_rate"])),
        "activities_created": len(c.activities),
        "activities_graded": len({p.activity.id for p in c.graded}),
        "total_points": max(INT_MIN, min(INT_MAX, c.points)),
        "average_points": served(quotient(ratios["average_points"])),
        "grade_improvement": served(quotient(ratios["grade_improvement"])),
        "teacher_feedback_rate": served(percentage(ratios["teacher_feedback_rate"])),
        "grading_timeliness": served(percentage(ratios["grading_timeliness"])),
    }


def explanation(facts: Facts, at: datetime) -> dict[str, Ratio]:
    """Numerator and denominator of every rate and mean; a rate is 100 times their quotient, a mean the quotient."""
    return Calculation(facts, at).ratios


class Calculation:
    """The sets of the definitions, for one class at one instant T (`at`)."""

    def __init__(self, facts: Facts, at: datetime) -> None:
        self.facts, self.at, self.zone = facts, at, ZoneInfo(facts.school.time_zone)
        ends = facts.klass.ends
        self.until = at if ends is None else min(at, ends)  # T*

    def happened(self, instant: datetime | None) -> bool:
        return instant is not None and instant <= self.at

    def within(self, instant: datetime | None, after: timedelta, until: timedelta = timedelta(0)) -> bool:
        """Whether it lies in (T* - after, T* - until]."""
        return instant is not None and self.until - after < instant <= self.until - until

    @cached_property
    def enrollments(self) -> list[Enrollment]:
        return [e for e in self.facts.enrollments if e.begins is None or e.begins != e.ends]

    def enrolled(self, role: str) -> set[str]:
        """The people with that role just before T*."""
        return {
            e.person_id
            for e in self.enrollments
            if e.role == role
            and (e.begins is None or e.begins < self.until)
            and (e.ends is None or e.ends >= self.until)
        }

    @cached_property
    def students(self) -> set[str]:
        """E"""
        return self.enrolled("STUDENT") - self.enrolled("TEACHER")

    @cached_property
    def activities(self) -> list[Activity]:
        """A"""
        return [a for a in self.facts.activities if self.happened(a.published_at) and not self.happened(a.deleted_at)]

    @cached_property
    def pairs(self) -> list[Pair]:
        return [self.pair(s, a) for s in sorted(self.students) for a in self.activities]

    def pair(self, student: str, activity: Activity) -> Pair:
        key = (student, activity.id)
        attempts = [s for s in self.facts.submissions if (s.student_id, s.activity_id) == key]
        return Pair(
            student,
            activity,
            any(e.excused for e in self.facts.excusals if (e.student_id, e.activity_id) == key),
            highest(s for s in attempts if self.happened(s.submitted_at)),
            highest(s for s in attempts if s.score is not None and self.happened(s.graded_at)),
        )

    @cached_property
    def unexcused(self) -> list[Pair]:
        """X"""
        return [p for p in self.pairs if not p.excused]

    @cached_property
    def due(self) -> list[Pair]:
        """D"""
        return [
            p
            for p in self.unexcused
            if self.happened(p.activity.due_at) and (self.joined_before_due(p) or p.submitted or p.graded)
        ]

    def joined_before_due(self, pair: Pair) -> bool:
        due = pair.activity.due_at
        assert due is not None
        enrollments = [e for e in self.enrollments if e.person_id == pair.student and e.role == "STUDENT"]
        return any(e.begins is None or e.begins <= due for e in enrollments)

    @cached_property
    def graded(self) -> list[Pair]:
        """G"""
        return [p for p in self.unexcused if p.graded]

    @cached_property
    def counting(self) -> list[Pair]:
        """C"""
        return [p for p in self.graded if p.activity.counts_toward_grade and p.activity.max_points > 0]

    @cached_property
    def grades(self) -> dict[str, Fraction]:
        """g(s) of every student that has one."""
        grades = {s: self.grade([p for p in self.counting if p.student == s]) for s in self.students}
        return {s: rounded(g, 10) for s, g in grades.items() if g is not None}

    def grade(self, pairs: list[Pair]) -> Fraction | None:
        if not self.facts.klass.weighted:
            return percent_of_points(pairs)
        weights = {c.id: Fraction(c.weight) for c in self.facts.categories}
        by_category = {k: percent_of_points([p for p in pairs if p.activity.category_id == k]) for k in weights}
        parts = {k: percent for k, percent in by_category.items() if percent is not None}
        total = sum((weights[k] for k in parts), Fraction(0))
        return sum((weights[k] * percent for k, percent in parts.items()), Fraction(0)) / total if total else None

    def attended(self, *statuses: str) -> int:
        today = self.at.astimezone(self.zone).date()
        return sum(
            1
            for r in self.facts.attendance
            if r.student_id in self.students
            and r.status in statuses
            and r.session_date <= today
            and self.was_student_on(r.student_id, r.session_date)
        )

    def was_student_on(self, person: str, day: date) -> bool:
        """Whether the local day and one of his enrollments as a student have an instant in common."""
        begins, ends = first_instant(day, self.zone), first_instant(day + timedelta(days=1), self.zone)
        return any(
            max(begins, e.begins or begins) < min(ends, e.ends or ends)
            for e in self.enrollments
            if e.person_id == person and e.role == "STUDENT"
        )

    @cached_property
    def active_students(self) -> set[str]:
        window = timedelta(days=self.facts.school.active_days)
        activities = {a.id for a in self.activities}
        submitting = {
            s.student_id
            for s in self.facts.submissions
            if s.activity_id in activities and self.within(s.submitted_at, window)
        }
        earning = {
            a.student_id
            for a in self.facts.points_awards
            if a.points > 0 and not self.happened(a.revoked_at) and self.within(a.awarded_at, window)
        }
        return self.students & (submitting | earning)

    @cached_property
    def points(self) -> int:
        return sum(
            a.points
            for a in self.facts.points_awards
            if a.student_id in self.students and self.happened(a.awarded_at) and not self.happened(a.revoked_at)
        )

    @cached_property
    def improvements(self) -> list[Fraction]:
        """recent - earlier of every student that has both."""
        w = timedelta(days=self.facts.school.improvement_days)
        both = [(self.percent_due(s, w), self.percent_due(s, 2 * w, w)) for s in self.students]
        return [recent - earlier for recent, earlier in both if recent is not None and earlier is not None]

    def percent_due(self, student: str, after: timedelta, until: timedelta = timedelta(0)) -> Fraction | None:
        """His percentage over the pairs of C due in (T* - after, T* - until]."""
        his = [p for p in self.counting if p.student == student]
        return percent_of_points([p for p in his if self.within(p.activity.due_at, after, until)])

    @cached_property
    def ratios(self) -> dict[str, Ratio]:
        grades, size = self.grades.values(), len(self.students)
        passed = [g for g in grades if g >= Fraction(self.facts.school.pass_mark)]
        expected = [p for p in self.due if p.activity.expects_submission]
        done = [p for p in self.due if p.submitted or (p.graded and p.score > 0)]
        answered = [p for p in self.graded if p.graded and (p.graded.feedback or "").strip()]
        excused = ["EXCUSED"] if self.facts.school.excused_counts else []
        return {
            "average_grade": (sum(grades, Fraction(0)), len(grades)),
            "passing_rate": (Fraction(len(passed)), len(grades)),
            "attendance_rate": (
                Fraction(self.attended("PRESENT", "LATE")),
                self.attended("PRESENT", "LATE", "ABSENT", *excused),
            ),
            "participation_rate": (Fraction(len(self.active_students)), size),
            "completion_rate": (Fraction(len(done)), len(self.due)),
            "submission_rate": (Fraction(sum(1 for p in expected if p.submitted)), len(expected)),
            "average_points": (Fraction(self.points), size),
            "grade_improvement": (sum(self.improvements, Fraction(0)), len(self.improvements)),
            "teacher_feedback_rate": (Fraction(len(answered)), len(self.graded)),
            "grading_timeliness": self.timeliness,
        }

    @cached_property
    def timeliness(self) -> Ratio:
        attempts = [
            (p.submitted, self.promise(p.submitted, p.activity))
            for p in self.unexcused
            if p.activity.expects_submission and p.submitted and not p.submitted.graded_automatically
        ]
        graded = [(s, promise) for s, promise in attempts if self.happened(s.graded_at)]
        overdue = [s for s, promise in attempts if not self.happened(s.graded_at) and self.at > promise]
        on_time = [s for s, promise in graded if s.score is not None and s.graded_at and s.graded_at <= promise]
        return Fraction(len(on_time)), len(graded) + len(overdue)

    def promise(self, attempt: Submission, activity: Activity) -> datetime:
        """Until when the teacher should have graded it."""
        start = max(instant for instant in (attempt.submitted_at, activity.due_at) if instant is not None)
        return start + timedelta(hours=self.facts.school.feedback_hours)


def highest(attempts: Iterable[Submission]) -> Submission | None:
    return max(attempts, key=lambda s: s.attempt, default=None)


def percent_of_points(pairs: list[Pair]) -> Fraction | None:
    if not pairs:
        return None
    return 100 * sum((p.score for p in pairs), Fraction(0)) / sum(Fraction(p.activity.max_points) for p in pairs)


def quotient(ratio: Ratio) -> Fraction | None:
    numerator, denominator = ratio
    return numerator / denominator if denominator else None


def percentage(ratio: Ratio) -> Fraction | None:
    numerator, denominator = ratio
    return quotient((100 * numerator, denominator))


def served(value: Fraction | None) -> float | None:
    return None if value is None else float(rounded(value, 2))


def rounded(value: Fraction, decimals: int) -> Fraction:
    """Halves go away from zero."""
    whole = floor(abs(value) * 10**decimals + Fraction(1, 2))
    return Fraction(whole if value >= 0 else -whole, 10**decimals)


@lru_cache(maxsize=10_000)
def first_instant(day: date, zone: ZoneInfo) -> datetime:
    """The first instant at which a clock on the wall shows 00:00 of that day or, where that is skipped, later."""
    midnight = datetime.combine(day, time(), UTC)
    reached = [(max(begins, midnight - offset), ends) for begins, ends, offset in spans(day, zone)]
    return min(instant for instant, ends in reached if instant < ends)


def spans(day: date, zone: ZoneInfo) -> list[tuple[datetime, datetime, timedelta]]:
    """The stretches of constant distance from UTC around the beginning of a day: begins, ends, distance."""

    def offset(instant: datetime) -> timedelta:
        distance = instant.astimezone(zone).utcoffset()
        assert distance is not None
        return distance

    # No zone is 24 hours from UTC, and none changes twice within a quarter of an hour.
    ticks = [datetime.combine(day, time(), UTC) + timedelta(minutes=15 * n) for n in range(-96, 193)]
    changes = [change_between(a, b, offset) for a, b in pairwise(ticks) if offset(a) != offset(b)]
    bounds = [ticks[0], *changes, ticks[-1]]
    return [(begins, ends, offset(begins)) for begins, ends in pairwise(bounds)]


def change_between(before: datetime, after: datetime, value: Callable[[datetime], timedelta]) -> datetime:
    """The first microsecond with the value that `after` has."""
    while after - before > MICROSECOND:
        middle = before + (after - before) // 2
        before, after = (middle, after) if value(middle) == value(before) else (before, middle)
    return after


def stored_instants(facts: Facts) -> set[datetime]:
    """Every instant of the facts that a definition speaks of (so no source times)."""
    held = [facts.klass.ends]
    held += [instant for e in facts.enrollments for instant in (e.begins, e.ends)]
    held += [instant for a in facts.activities for instant in (a.due_at, a.published_at, a.deleted_at)]
    held += [instant for s in facts.submissions for instant in (s.submitted_at, s.graded_at)]
    held += [instant for a in facts.points_awards for instant in (a.awarded_at, a.revoked_at)]
    return {instant for instant in held if instant is not None}


def changes(facts: Facts) -> set[datetime]:
    """A superset of the instants from which on the numbers may differ though nothing was written."""
    school, zone = facts.school, ZoneInfo(facts.school.time_zone)
    delays = [
        timedelta(0),
        timedelta(hours=school.feedback_hours),
        timedelta(days=school.active_days),
        timedelta(days=school.improvement_days),
        timedelta(days=2 * school.improvement_days),
    ]
    sliding = {instant + delay for instant in stored_instants(facts) for delay in delays}
    days = {r.session_date + timedelta(days=n) for r in facts.attendance for n in (0, 1)}
    midnights = {first_instant(day, zone) for day in days} | {
        begins for day in days for begins, _, _ in spans(day, zone)
    }
    return {instant + late for instant in sliding | midnights for late in (timedelta(0), MICROSECOND)}
