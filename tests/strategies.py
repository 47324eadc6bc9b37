"""Random classes, made to hit the edges of the definitions.

All instants of a class come from a small lattice around one anchor, so that exact coincidences are common: due
exactly now, graded at the very end of the promise, an enrollment that begins as the class ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import TypeVar
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from tests.independent import (
    MICROSECOND,
    Activity,
    Attendance,
    Category,
    Class,
    Enrollment,
    Excusal,
    Facts,
    PointsAward,
    School,
    Submission,
    changes,
    first_instant,
    stored_instants,
)

T = TypeVar("T")

ZONES = [
    "UTC",
    "Europe/London",
    "America/New_York",
    "Atlantic/Azores",  # its midnight is skipped in March and repeated in October
    "America/Havana",  # likewise
    "Asia/Kathmandu",
    "Pacific/Apia",  # had no 30 December 2011
]
RECORDED = datetime(2010, 1, 1, tzinfo=UTC)
SIZES = [2, 3, 1, 4, 2, 3, 4, 5, 0, 6, 6, 5]
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

OUTSIDER = "outsider"  # never enrolled
SCORES = [Decimal(s) for s in ("1", "0", "2", "4", "6", "7.5", "9.99", "10", "12", "0.01")]
MAX_POINTS = [Decimal(s) for s in ("10", "10", "3", "15", "100", "7.5", "20", "12", "0.1", "0")]
WEIGHTS = [Decimal(s) for s in ("1", "1", "0", "2", "33.33", "0.5", "60")]
FEEDBACK = ["well done", "see me", " ok ", "better", None, "", " ", "\t\r\n", "\u00a0", "\u2003"]
POINTS = [10, 1, 0, -5, 100, -250, 2_000_000_000, 2**31 - 1, -(2**31)]


@dataclass(frozen=True)
class Lattice:
    """What one class is made of: instants before all else, before the anchor, in both windows of improvement, about the
    anchor; and the days near it."""

    early: list[datetime]
    before: list[datetime]
    due: list[datetime]
    about: list[datetime]
    days: list[date]


@lru_cache
def below(count: int) -> st.SearchStrategy[int]:
    return st.integers(0, count - 1)


class Sketch:
    """One class in the making: what has been drawn so far, and how to draw more."""

    def __init__(self, draw: st.DrawFn, prefix: str) -> None:
        self.draw, self.prefix = draw, prefix
        self.school = self.draw_school()
        self.lattice = self.draw_lattice()
        self.klass = self.draw_class()
        self.people = [f"{prefix}person-{n}" for n in range(self.one_of(SIZES))]

    def one_of(self, choices: Sequence[T]) -> T:
        return choices[self.draw(below(len(choices)))]

    def chance(self, times: int, of: int) -> bool:
        """The likelier answer is the simpler one, so that a class that shrinks stays an ordinary class."""
        drawn = self.draw(below(of))
        return drawn < times if 2 * times > of else drawn >= of - times

    def about(self) -> datetime:
        return self.one_of(self.lattice.about)

    def mostly_before(self) -> datetime:
        return self.about() if self.chance(1, 4) else self.one_of(self.lattice.before)

    def mostly_early(self) -> datetime:
        return self.mostly_before() if self.chance(1, 3) else self.one_of(self.lattice.early)

    def maybe(self, instant: datetime, times: int, of: int) -> datetime | None:
        return instant if self.chance(times, of) else None

    def beside(self, instant: datetime) -> datetime:
        """That instant, or the microsecond to either side of it."""
        return instant + self.one_of([0, 0, 1, -1]) * MICROSECOND

    def draw_school(self) -> School:
        return School(
            id=f"{self.prefix}school",
            title="School",
            time_zone=self.one_of(ZONES),
            pass_mark=self.one_of([Decimal(s) for s in ("60", "60", "40", "66.67", "100", "0")]),
            feedback_hours=self.one_of([168, 1, 24]),
            active_days=self.one_of([14, 14, 7, 1]),
            improvement_days=self.one_of([30, 30, 7, 1]),
            excused_counts=self.one_of([True, False]),
            recorded_at=RECORDED,
        )

    def draw_lattice(self) -> Lattice:
        school, zone = self.school, ZoneInfo(self.school.time_zone)
        today = self.one_of(special_days(school.time_zone))
        anchor = first_instant(today, zone) + self.one_of([0, 1, 12]) * HOUR
        promise, active = school.feedback_hours * HOUR, school.active_days * DAY
        window = school.improvement_days * DAY
        days = [today + n * DAY for n in (0, 1, -1, 2, -2)]
        midnights = [first_instant(day, zone) for day in days]
        delays = [HOUR, promise, active, window, window + HOUR, 2 * window]
        early = [anchor - n * DAY for n in (90, 61, 120)]
        before = [anchor - n * DAY for n in (60, 20)] + [anchor - delay for delay in delays]
        near = [
            anchor,
            *midnights,
            anchor - HOUR,
            anchor + HOUR,
            *(anchor - delay for delay in delays),
            anchor + promise,
        ]
        due = [anchor - window * n / 4 for n in (2, 6, 1, 5, 3, 4, 8, 0)]
        return Lattice(early, before, due, [i + n * MICROSECOND for i in near for n in (0, 1, -1)] + near * 2, days)

    def draw_class(self) -> Class:
        ends = self.maybe(self.about(), 1, 4)
        return Class(
            id=f"{self.prefix}class",
            school_id=self.school.id,
            title="Class",
            status=self.one_of(["ACTIVE", "ARCHIVED"]),
            begins=self.maybe(min([*self.lattice.early, *([ends] if ends else [])]), 1, 2),
            ends=ends,
            weighted=self.one_of([False, True]),
            recorded_at=RECORDED,
        )

    def draw_enrollments(self) -> list[Enrollment]:
        drawn: list[Enrollment] = []
        for person in self.people:
            ended: datetime | None = None
            for _ in range(self.one_of([1, 1, 1, 2, 2, 3])):
                begins = self.one_of([self.mostly_early(), self.mostly_before(), ended, None])
                ends = self.draw_end(begins)
                role = self.one_of(["STUDENT"] * 6 + ["TEACHER"])
                name = f"enrollment-{len(drawn)}"
                drawn.append(Enrollment(self.klass.id, name, person, role, begins, ends, RECORDED))
                ended = ends
        return drawn

    def draw_end(self, begins: datetime | None) -> datetime | None:
        """Mostly none; else something not before the beginning, now and then the beginning itself."""
        if not self.chance(1, 4):
            return None
        ends = self.klass.ends if self.klass.ends and self.chance(1, 4) else self.about()
        return max(begins, ends) if begins else ends

    def draw_categories(self) -> list[Category]:
        weights = [Decimal(0)] if self.chance(1, 7) else WEIGHTS
        count = self.one_of([2, 1, 3, 2, 0, 3])
        names = [f"category-{n}" for n in range(count)]
        return [Category(self.klass.id, name, name.title(), self.one_of(weights), RECORDED) for name in names]

    def draw_activities(self, categories: list[Category]) -> list[Activity]:
        known = [c.id for c in categories]
        return [self.draw_activity(f"activity-{n}", known) for n in range(self.one_of(SIZES))]

    def draw_activity(self, name: str, categories: list[str]) -> Activity:
        return Activity(
            class_id=self.klass.id,
            id=name,
            category_id=self.one_of([*categories, *categories, None]),
            title=name.title(),
            max_points=self.one_of(MAX_POINTS),
            due_at=self.maybe(self.one_of(self.lattice.due) if self.chance(4, 5) else self.about(), 9, 10),
            published_at=self.maybe(self.mostly_early(), 11, 12),
            deleted_at=self.maybe(self.about(), 1, 10),
            expects_submission=self.one_of([True, True, True, False]),
            counts_toward_grade=self.one_of([True, True, True, True, False]),
            recorded_at=RECORDED,
        )

    def draw_submissions(self, activities: list[Activity]) -> list[Submission]:
        pairs = [(activity, person) for person in self.people for activity in activities]
        if activities and self.chance(1, 2):
            pairs.append((self.one_of(activities), self.prefix + OUTSIDER))
        counted = [(activity, person, self.one_of([1, 1, 1, 2, 1, 3, 0])) for activity, person in pairs]
        return [self.draw_submission(a, p, 1 + n) for a, p, attempts in counted for n in range(attempts)]

    def draw_submission(self, activity: Activity, student: str, attempt: int) -> Submission:
        submitted = self.maybe(self.mostly_before(), 6, 7)
        graded = self.chance(4, 5)
        score = self.one_of([activity.max_points, *SCORES]) if graded else None
        return Submission(
            class_id=self.klass.id,
            activity_id=activity.id,
            student_id=student,
            attempt=attempt,
            submitted_at=submitted,
            recorded_at=RECORDED,
            score=score,
            graded_at=self.draw_grading(activity, submitted) if graded or self.chance(1, 3) else None,
            graded_automatically=self.chance(1, 6),
            feedback=self.one_of(FEEDBACK),
            grade_recorded_at=RECORDED,
        )

    def draw_grading(self, activity: Activity, submitted: datetime | None) -> datetime | None:
        """At the end of the promise, give or take a microsecond, or at any instant, or never."""
        starts = [instant for instant in (submitted, activity.due_at) if instant]
        match self.one_of(["before", "before", "before", "promise", "promise", "about", "never"]):
            case "promise" if starts:
                return self.beside(max(starts) + self.school.feedback_hours * HOUR)
            case "before" | "promise":
                return self.mostly_before()
            case "about":
                return self.about()
        return None

    def draw_excusals(self, activities: list[Activity]) -> list[Excusal]:
        if not activities or not self.people:
            return []
        keys = {(self.one_of(activities).id, self.one_of(self.people)) for _ in range(self.one_of([0, 1, 1, 2, 4]))}
        return [Excusal(self.klass.id, a, p, self.one_of([True, True, False]), RECORDED) for a, p in sorted(keys)]

    def draw_attendance(self, enrollments: list[Enrollment]) -> list[Attendance]:
        days = self.session_days(enrollments)
        sessions = [""] if self.chance(3, 4) else ["", "2"]
        people = [*self.people, *self.people, self.prefix + OUTSIDER]
        count = self.one_of([3, 6, 0, 8, 10, 12])
        keys = {(self.one_of(people), self.one_of(days), self.one_of(sessions)) for _ in range(count)}
        statuses = ["PRESENT", "ABSENT", "LATE", "EXCUSED"]
        return [Attendance(self.klass.id, *key, self.one_of(statuses), RECORDED) for key in sorted(keys)]

    def session_days(self, enrollments: list[Enrollment]) -> list[date]:
        """The days about the anchor, and those on and beside which an enrollment begins or ends."""
        zone = ZoneInfo(self.school.time_zone)
        bounds = [bound for e in enrollments for bound in (e.begins, e.ends) if bound]
        edges = {bound.astimezone(zone).date() + n * DAY for bound in bounds for n in (-1, 0, 1)}
        return self.lattice.days * 2 + sorted(edges)

    def draw_points_awards(self) -> list[PointsAward]:
        people = [*self.people, *self.people, self.prefix + OUTSIDER]
        return [
            PointsAward(
                class_id=self.klass.id,
                id=f"award-{n}",
                student_id=self.one_of(people),
                points=self.one_of(POINTS[:5]) if self.chance(7, 8) else self.one_of(POINTS),
                awarded_at=self.mostly_before(),
                revoked_at=self.maybe(self.about(), 1, 4),
                recorded_at=RECORDED,
            )
            for n in range(self.one_of([2, 3, 0, 4, 6]))
        ]


@st.composite
def facts(draw: st.DrawFn, prefix: str = "") -> Facts:
    """One class with all its facts. The prefix keeps the ids of school, class and people apart from others'."""
    sketch = Sketch(draw, prefix)
    enrollments = sketch.draw_enrollments()
    categories = sketch.draw_categories()
    activities = sketch.draw_activities(categories)
    return Facts(
        school=sketch.school,
        klass=sketch.klass,
        enrollments=enrollments,
        categories=categories,
        activities=activities,
        submissions=sketch.draw_submissions(activities),
        excusals=sketch.draw_excusals(activities),
        attendance=sketch.draw_attendance(enrollments),
        points_awards=sketch.draw_points_awards(),
    )


@st.composite
def instants(draw: st.DrawFn, facts: Facts) -> datetime:
    """A T for these facts: mostly one of their own instants, or one from which a number may change."""
    own = sorted(stored_instants(facts)) or [datetime(2020, 1, 1, tzinfo=UTC)]
    late = own[len(own) * 3 // 4 :]
    pivots = [facts.klass.ends, *(a.due_at for a in facts.activities), *(a.published_at for a in facts.activities)]
    pivots += [instant for e in facts.enrollments for instant in (e.begins, e.ends)]
    match draw(st.sampled_from(["late", "late", "near", "near", "pivot", "pivot", "own", "change"])):
        case "late":
            instant = draw(st.sampled_from(late))
        case "near":
            instant = draw(st.sampled_from(late)) + draw(st.sampled_from([1, 12, 24, 48, 24 * 7, 24 * 30, -1])) * HOUR
        case "pivot":
            instant = draw(st.sampled_from([pivot for pivot in pivots if pivot] or late))
        case "own":
            instant = draw(st.sampled_from(own))
        case _:
            instant = draw(st.sampled_from(sorted(changes(facts)) or own))
    return instant + draw(st.sampled_from([0, 0, 0, 1, -1])) * MICROSECOND


@lru_cache
def special_days(time_zone: str) -> list[date]:
    """Some ordinary days, and every day on which the clocks change, from 2010 to 2030."""
    zone = ZoneInfo(time_zone)
    noons = [datetime(2010, 7, 1, 12, tzinfo=UTC) + n * DAY for n in range(365 * 19)]
    distances = [noon.astimezone(zone).utcoffset() for noon in noons]
    changed = [n for n in range(1, len(noons)) if distances[n] != distances[n - 1]]
    ordinary = [date(2024, 5, 15), date(2024, 2, 29), date(2023, 12, 31), date(2012, 9, 3), date(2026, 1, 1)]
    return ordinary + [noons[n].astimezone(zone).date() for n in changed]
