"""The independent calculation against numbers worked out by hand."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from tests.independent import (
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
    calculate,
    first_instant,
)

NOW = datetime(2024, 5, 15, 12, tzinfo=UTC)
DAY, MICROSECOND = timedelta(days=1), timedelta(microseconds=1)


def school(time_zone: str = "UTC", excused_counts: bool = True) -> School:
    return School("s", "S", time_zone, Decimal(60), 168, 14, 30, excused_counts, NOW)


def class_(weighted: bool = False, ends: datetime | None = None) -> Class:
    return Class("c", "s", "C", "ACTIVE", None, ends, weighted, NOW)


def enrolled(
    person: str, begins: datetime | None = None, ends: datetime | None = None, role: str = "STUDENT", n: int = 0
):
    return Enrollment("c", f"{person}-{role}-{n}", person, role, begins, ends, NOW)


def activity(id: str, points: object = 10, category: str | None = None, due: datetime | None = NOW - DAY) -> Activity:
    return Activity("c", id, category, id, Decimal(str(points)), due, NOW - 50 * DAY, None, True, True, NOW)


def graded(activity: str, score: object, attempt: int = 1, at: datetime | None = NOW - DAY, student: str = "ann"):
    points = None if score is None else Decimal(str(score))
    return Submission("c", activity, student, attempt, NOW - 2 * DAY, NOW, points, at, False, None, NOW)


def numbers(facts: Facts, *names: str, at: datetime = NOW) -> list[int | float | None]:
    metrics = calculate(facts, at)
    return [metrics[name] for name in names]


def test_excused_work_leaves_its_category_out_of_a_weighted_grade():
    categories = [Category("c", "tests", "Tests", Decimal(3), NOW), Category("c", "essays", "Essays", Decimal(1), NOW)]
    facts = Facts(
        school(),
        class_(weighted=True),
        enrollments=[enrolled("ann")],
        categories=categories,
        activities=[activity("test", category="tests"), activity("essay", category="essays"), activity("loose")],
        submissions=[graded("test", 2), graded("essay", 9), graded("loose", 10)],
    )
    # (3 * 20 + 1 * 90) / (3 + 1) = 37.5; the activity without a category has no weight.
    assert numbers(facts, "average_grade") == [37.5]
    facts.excusals.append(Excusal("c", "test", "ann", True, NOW))
    # Only the essay is left: 1 * 90 / 1 = 90.
    assert numbers(facts, "average_grade", "activities_graded") == [90.0, 2]
    facts.excusals[0] = Excusal("c", "test", "ann", False, NOW)
    assert numbers(facts, "average_grade", "activities_graded") == [37.5, 3]


def test_three_categories_make_exactly_the_pass_mark():
    names = ["a", "b", "c"]
    facts = Facts(
        school(),
        class_(weighted=True),
        enrollments=[enrolled("ann")],
        categories=[Category("c", name, name, Decimal(1), NOW) for name in names],
        activities=[activity("a", 3, "a"), activity("b", 3, "b"), activity("c", 15, "c")],
        submissions=[graded("a", 4), graded("b", 1), graded("c", 2)],
    )
    # 100 * (4/3 + 1/3 + 2/15) / 3 = 100 * (20 + 5 + 2) / 45 = 60
    assert numbers(facts, "average_grade", "passing_rate") == [60.0, 100.0]


def test_weights_that_sum_to_zero_make_no_grade():
    facts = Facts(
        school(),
        class_(weighted=True),
        enrollments=[enrolled("ann")],
        categories=[Category("c", "tests", "Tests", Decimal(0), NOW)],
        activities=[activity("test", category="tests")],
        submissions=[graded("test", 5)],
    )
    # 0 * 50 / 0: no grade, though the work is graded.
    assert numbers(facts, "average_grade", "passing_rate", "activities_graded") == [None, None, 1]


def test_blank_is_not_zero_and_an_ungraded_resubmission_keeps_the_earlier_score():
    facts = Facts(
        school(),
        class_(),
        enrollments=[enrolled("ann")],
        activities=[activity("one"), activity("two"), activity("three"), activity("nothing", 0)],
        submissions=[
            graded("one", 8),
            graded("one", None, attempt=2, at=None),
            graded("two", 0),
            graded("three", None),
            graded("nothing", 5),
        ],
    )
    # 100 * (8 + 0) / (10 + 10) = 40: the blank of `three` is left out, and so is work of 0 points.
    # All four pairs are submitted: 4 / 4. Graded: one, two, nothing.
    assert numbers(facts, "average_grade", "completion_rate", "activities_graded") == [40.0, 100.0, 3]


def test_a_late_joiner_owes_what_was_due_from_the_instant_he_joined():
    due = NOW - DAY
    facts = Facts(
        school(),
        class_(),
        enrollments=[enrolled("ann"), enrolled("bob", begins=due + MICROSECOND)],
        activities=[activity("one", due=due), activity("two", due=due), activity("now", due=NOW)],
        submissions=[graded("one", 5)],
    )
    # Ann owes one, two and now (due exactly at T), Bob only now. Submitted: Ann's one, so 1 / 4.
    assert numbers(facts, "submission_rate", "completion_rate") == [25.0, 25.0]
    facts.enrollments[1] = enrolled("bob", begins=due)
    # Joined exactly when it was due, Bob owes all three: 1 / 6 = 16.67.
    assert numbers(facts, "submission_rate") == [16.67]


def test_members_at_the_end_stay_and_are_counted_once():
    end = NOW - 10 * DAY
    facts = Facts(
        school(),
        class_(ends=end),
        enrollments=[
            enrolled("ann", ends=end),  # until the very end
            enrolled("bob", ends=end - MICROSECOND),  # left before
            enrolled("cid", ends=end - 9 * DAY),  # left, and came again twice over
            enrolled("cid", begins=end - 5 * DAY, n=1),
            enrolled("cid", begins=end - 4 * DAY, n=2),
            enrolled("dan", begins=end),  # came too late
            enrolled("eve"),
            enrolled("eve", role="TEACHER"),
        ],
        points_awards=[
            PointsAward("c", "1", "ann", 5, end, None, NOW),
            PointsAward("c", "2", "cid", -1, end, None, NOW),  # a penalty makes nobody active
            PointsAward("c", "3", "cid", 9, end, NOW, NOW),  # revoked just now
            PointsAward("c", "4", "eve", 100, end, None, NOW),
        ],
    )
    # E is Ann and Cid. Points 5 - 1 = 4, 4 / 2 = 2 each; active is Ann, 1 / 2.
    names = ["total_points", "average_points", "active_students", "participation_rate"]
    assert numbers(facts, *names) == [4, 2.0, 1, 50.0]


def test_attendance_counts_on_days_that_overlap_an_enrollment():
    joined = datetime(2024, 5, 13, 23, tzinfo=UTC)  # in London already the 14th
    days = {date(2024, 5, 13): "ABSENT", date(2024, 5, 14): "LATE", date(2024, 5, 15): "EXCUSED"}
    days[date(2024, 5, 16)] = "PRESENT"  # tomorrow
    facts = Facts(
        school("Europe/London"),
        class_(),
        enrollments=[enrolled("ann", begins=joined)],
        attendance=[Attendance("c", "ann", day, "", status, NOW) for day, status in days.items()],
    )
    # Counted: one late, one excused: 1 / 2. Without the excused one 1 / 1.
    names = ["present_count", "absent_count", "late_count", "excused_count", "attendance_rate"]
    assert numbers(facts, *names) == [0, 0, 1, 1, 50.0]
    strict = replace(facts, school=school("Europe/London", excused_counts=False))
    assert numbers(strict, *names) == [0, 0, 1, 1, 100.0]


def test_feedback_is_on_time_to_the_microsecond():
    promised = NOW - 3 * DAY
    start = promised - 7 * DAY

    def handed_in(name: str, score: object, graded_at: datetime | None) -> Submission:
        points = None if score is None else Decimal(str(score))
        return Submission("c", name, "ann", 1, start - DAY, NOW, points, graded_at, False, " \n", NOW)

    facts = Facts(
        school(),
        class_(),
        enrollments=[enrolled("ann")],
        activities=[activity(name, due=start) for name in ("on time", "late", "blank", "overdue")],
        submissions=[
            handed_in("on time", 5, promised),
            handed_in("late", 5, promised + MICROSECOND),
            handed_in("blank", None, promised),
            handed_in("overdue", None, None),
        ],
    )
    # The clock starts at the due date. One of four in time; neither graded pair (2) has feedback that is not blank.
    assert numbers(facts, "grading_timeliness", "teacher_feedback_rate") == [25.0, 0.0]
    # At the very end of the promise the last one is not overdue yet, and the late one not graded: 1 / (1 + 1 blank).
    assert numbers(facts, "grading_timeliness", at=promised) == [50.0]


def test_improvement_compares_two_windows_by_due_date():
    w = 30 * DAY
    facts = Facts(
        school(),
        class_(),
        enrollments=[enrolled("ann"), enrolled("bob")],
        activities=[
            activity("recent", due=NOW),
            activity("edge", due=NOW - w),
            activity("earlier", due=NOW - 2 * w + MICROSECOND),
            activity("too old", due=NOW - 2 * w),
        ],
        submissions=[graded("recent", 9), graded("edge", 5), graded("earlier", 6), graded("too old", 0)],
    )
    # Ann: 100 * 9/10 - 100 * (5 + 6) / 20 = 90 - 55 = 35. Bob has neither.
    assert numbers(facts, "grade_improvement") == [35.0]


def test_a_class_with_no_students_has_counts_of_nothing_and_no_rates():
    facts = Facts(school(), class_(), activities=[activity("one")])
    metrics = calculate(facts, NOW)
    assert {name for name, value in metrics.items() if value == 0} == {
        *("present_count", "absent_count", "late_count", "excused_count"),
        *("active_students", "activities_graded", "total_points"),
    }
    assert metrics["activities_created"] == 1
    assert sum(value is None for value in metrics.values()) == 12


@pytest.mark.parametrize(
    ("zone", "day", "expected"),
    [
        ("UTC", date(2024, 3, 31), datetime(2024, 3, 31, tzinfo=UTC)),
        ("America/New_York", date(2024, 3, 11), datetime(2024, 3, 11, 4, tzinfo=UTC)),  # after the change: 4 h behind
        ("Atlantic/Azores", date(2024, 3, 31), datetime(2024, 3, 31, 1, tzinfo=UTC)),  # 00:00 (1 h behind) is skipped
        ("Atlantic/Azores", date(2024, 10, 27), datetime(2024, 10, 27, 0, tzinfo=UTC)),  # twice: at 00:00 and 01:00 UTC
        ("America/Havana", date(2024, 11, 3), datetime(2024, 11, 3, 4, tzinfo=UTC)),  # twice: at 04:00 and 05:00 UTC
        ("Pacific/Apia", date(2011, 12, 30), datetime(2011, 12, 30, 10, tzinfo=UTC)),  # no such day: the 31st
        ("Pacific/Apia", date(2011, 12, 31), datetime(2011, 12, 30, 10, tzinfo=UTC)),
    ],
)
def test_a_day_begins_at_the_first_instant_of_it(zone: str, day: date, expected: datetime):
    assert first_instant(day, ZoneInfo(zone)) == expected
