"""A school term as a state machine: facts of any kind in any order, with workers at work meanwhile."""

from __future__ import annotations

import itertools
import time
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.backstage import PATIENCE, Backstage
from tests.loaded import differences

CLASSES = ("a", "b", "c", "d", "e")
PEOPLE = ("ann", "bob")
ACTIVITIES = ("essay", "quiz")
SOON, HOUR, DAY = timedelta(seconds=0.2), timedelta(hours=1), timedelta(days=1)
numbers = itertools.count()

# Before now, on both sides of the windows; and seldom soon, for time too covers up what was left out.
LONG = [-200 * DAY, -60 * DAY, -31 * DAY, -20 * DAY, -13 * DAY, -DAY, -HOUR, 9 * DAY]
distances = st.sampled_from([*LONG * 4, -30 * DAY + SOON, -14 * DAY + SOON, SOON])
classes, people, activities = (st.sampled_from(names) for names in (CLASSES, PEOPLE, ACTIVITIES))
statuses = st.sampled_from(["PRESENT", "ABSENT", "LATE", "EXCUSED"])
ages = st.integers(0, 3)  # of a fact, in days: of two with one key the newer holds
maybe = st.none() | distances
TABLES = ("attendance", "points_award", "submission", "excusal", "enrollment")
ROLES = ("STUDENT", "STUDENT", "STUDENT", "TEACHER")

WRITES: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "enroll": {"person": people, "begins": distances, "ends": maybe, "role": st.sampled_from(ROLES)},
    "publish": {"activity": activities, "published": distances, "due": maybe, "deleted": maybe},
    "hand_in": {"activity": activities, "person": people, "submitted": distances, "age": ages},
    "grade": {"activity": activities, "person": people, "score": st.sampled_from([0, 6, 12]), "age": ages},
    "excuse": {"activity": activities, "person": people, "excused": st.booleans(), "age": ages},
    "attend": {"person": people, "day": st.integers(1, 5), "status": statuses},
    "award": {"person": people, "points": st.integers(-5, 50), "awarded": distances, "revoked": maybe},
    "take_back": {"table": st.sampled_from(TABLES)},
    "move": {"other": classes},
    "change_class": {"weighted": st.booleans(), "status": st.sampled_from(["ACTIVE", "ARCHIVED"]), "ends": maybe},
}
writes = st.one_of(
    *(st.tuples(st.just(name), st.fixed_dictionaries({"name": classes, **words})) for name, words in WRITES.items())
)

troubles = st.sampled_from([""] * 8 + ["wait"] * 4 + ["recalculate", "replace", "cut", "policy", "clear"])

POLICY = "UPDATE school SET pass_mark = 100 - pass_mark, active_days = 15 - active_days WHERE id = %s"
CUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND application_name = 'class-performance'"
)
SETTLED = """
    WITH now AS MATERIALIZED (SELECT clock_timestamp() AS at)
    SELECT at, NOT EXISTS (SELECT FROM class_change) AND NOT EXISTS (SELECT FROM performance_change)
               AND NOT EXISTS (SELECT FROM class_performance WHERE next_change_at <= at)
    FROM now
"""
HISTORY = """
    SELECT p.class_id, array_agg(h.version ORDER BY h.version) = array(SELECT generate_series(1, p.version))
    FROM class_performance p JOIN class_performance_history h USING (class_id)
    WHERE p.class_id = ANY(%s) GROUP BY p.class_id, p.version ORDER BY p.class_id
"""
VERSIONS = "SELECT class_id, version FROM class_performance WHERE class_id = ANY(%s)"
FAILURES = "SELECT count(*) FROM calculation_failure WHERE class_id = ANY(%s)"


class Writer(RuleBasedStateMachine):
    """Facts of classes of this term's own, some by SQL and some by the gradebook."""

    stage: Backstage
    sql: psycopg.Connection[Any]

    def __init__(self) -> None:
        super().__init__()
        self.number = next(numbers)
        self.recorded = datetime(2021, 1, 1, tzinfo=UTC)

    def id(self, name: str) -> str:
        return f"{self.number}-{name}"

    def at(self, distance: timedelta | None) -> datetime | None:
        return None if distance is None else datetime.now(UTC) + distance

    def store(self, table: str, key: int, **row: Any) -> None:
        """As a program does that knows only SQL: the newest word holds. `key`: so many columns of the row."""
        names = list(row)
        changes = ", ".join(f"{name} = excluded.{name}" for name in names[key:])
        statement = (
            f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(['%s'] * len(names))}) "
            f"ON CONFLICT ({', '.join(names[:key])}) DO UPDATE SET {changes}"
        )
        self.sql.execute(statement.encode(), list(row.values()))

    def record(self, kind: str, age: int, time: str = "recorded_at", **fact: Any) -> None:
        self.stage.do(self.stage.record(kind, {**fact, time: self.recorded - age * DAY}))

    def enroll(self, name: str, person: str, begins: timedelta, ends: timedelta | None, role: str) -> None:
        until = self.at(None if ends is None else max(begins, ends) + SOON)
        row = {"class_id": self.id(name), "id": person, "person_id": self.id(person), "role": role}
        self.store("enrollment", 2, **row, begins=self.at(begins), ends=until)

    def publish(self, name: str, activity: str, published: timedelta, **ends: timedelta | None) -> None:
        row = {"class_id": self.id(name), "id": activity, "title": activity, "max_points": 10}
        times = {"due_at": self.at(ends.get("due")), "deleted_at": self.at(ends.get("deleted"))}
        self.store("activity", 2, **row, published_at=self.at(published), **times)

    def hand_in(self, name: str, activity: str, person: str, submitted: timedelta, age: int) -> None:
        key = {"class_id": self.id(name), "activity_id": activity, "student_id": self.id(person)}
        self.record("submissions", age, **key, submitted_at=self.at(submitted))

    def grade(self, name: str, activity: str, person: str, score: int, age: int) -> None:
        key = {"class_id": self.id(name), "activity_id": activity, "student_id": self.id(person)}
        self.record("grades", age, "grade_recorded_at", **key, score=score, graded_at=self.at(-HOUR), feedback="yes")

    def excuse(self, name: str, activity: str, person: str, excused: bool, age: int) -> None:
        key = {"class_id": self.id(name), "activity_id": activity, "student_id": self.id(person)}
        self.record("excusals", age, **key, excused=excused)

    def attend(self, name: str, person: str, day: int, status: str) -> None:
        key = {"class_id": self.id(name), "student_id": self.id(person), "session_date": date(2026, 1, day)}
        self.store("attendance", 4, **key, session_key="", status=status)

    def award(
        self, name: str, person: str, points: int, awarded: timedelta = -HOUR, revoked: timedelta | None = None
    ) -> None:
        row = {"class_id": self.id(name), "id": person, "student_id": self.id(person), "points": points}
        self.store("points_award", 2, **row, awarded_at=self.at(awarded), revoked_at=self.at(revoked))

    def take_back(self, name: str, table: str) -> None:
        self.sql.execute(f"DELETE FROM {table} WHERE class_id = %s".encode(), [self.id(name)])

    def move(self, name: str, other: str) -> None:
        """Points that were given to the wrong class."""
        self.sql.execute(
            "UPDATE points_award SET class_id = %s, id = gen_random_uuid() WHERE class_id = %s",
            [self.id(other), self.id(name)],
        )

    def change_class(self, name: str, weighted: bool, status: str, ends: timedelta | None) -> None:
        row = {"weighted": weighted, "status": status, "ends": self.at(ends)}
        self.store("class", 1, id=self.id(name), school_id=self.id("school"), title=name, **row)


class Term(Writer):
    late: psycopg.Connection[Any]
    eye: psycopg.Connection[Any]
    is_late = False

    @initialize()
    def begin(self) -> None:
        self.store("school", 1, id=self.id("school"), title="School", time_zone="UTC")
        for person in PEOPLE:
            self.store("person", 1, id=self.id(person), school_id=self.id("school"))
        for name in CLASSES:
            self.store("class", 1, id=self.id(name), school_id=self.id("school"), title=name)
            self.enroll(name, "ann", -200 * DAY, None, "STUDENT")
            self.publish(name, "essay", -60 * DAY)
            self.award(name, "ann", 5)

    @rule(several=st.lists(writes, min_size=2, max_size=7), trouble=troubles, compares=st.booleans())
    def write(self, several: list[tuple[str, dict[str, Any]]], trouble: str, compares: bool) -> None:
        """Comparing often, for each calculation covers up what an earlier one left out."""
        for number, (name, words) in enumerate(several):
            getattr(self, name)(**words)
            if number == 1:
                self.trouble(trouble)
        if compares:
            self.compare()

    @rule(name=classes, person=people, status=statuses)
    @precondition(lambda self: not self.is_late)
    def begin_late(self, name: str, person: str, status: str) -> None:
        """A writer that is not finished: what it marked has an older number than what others mark and commit."""
        self.late.execute(
            "INSERT INTO attendance (class_id, student_id, session_date, session_key, status) "
            "VALUES (%s, %s, '2026-02-01', gen_random_uuid(), %s)",
            [self.id(name), self.id(person), status],
        )
        self.is_late = True

    @rule(commits=st.booleans())
    @precondition(lambda self: self.is_late)
    def end_late(self, commits: bool) -> None:
        self.late.commit() if commits else self.late.rollback()
        self.is_late = False

    def trouble(self, what: str) -> None:
        match what:
            case "recalculate":
                self.stage.do(self.stage.recalculate([self.id("a"), self.id("b")]))
            case "replace":
                self.stage.do(self.stage.replace())
            case "cut":
                self.sql.execute(CUT)
            case "policy":
                self.sql.execute(POLICY, [self.id("school")])
            case "clear" if not self.is_late:
                self.sql.execute("TRUNCATE attendance")
            case "wait":
                time.sleep(0.03)

    def compare(self) -> None:
        ids = [self.id(name) for name in CLASSES]
        at = self.settle()
        try:
            assert {class_id: differences(self.eye, class_id, at) for class_id in ids} == {id_: {} for id_ in ids}
            assert self.eye.execute(HISTORY, [ids]).fetchall() == [(class_id, True) for class_id in ids]
            assert self.eye.execute(FAILURES, [ids]).fetchone() == (0,)
            versions = dict(self.eye.execute(VERSIONS, [ids]).fetchall())
        finally:
            self.eye.rollback()
        cached = self.stage.do(self.stage.cached(ids))
        assert all(cached[class_id].version >= versions[class_id] for class_id in ids)

    def settle(self) -> datetime:
        """An instant at which nothing is left to do, not before anything that `eye` sees from now on."""
        deadline = time.monotonic() + PATIENCE
        while True:
            at, settled = self.eye.execute(SETTLED).fetchone() or (None, False)
            if at and settled:
                return at
            self.eye.rollback()
            assert time.monotonic() < deadline, "not settled in time"
            time.sleep(0.02)

    def teardown(self) -> None:
        self.late.commit()
        self.compare()
