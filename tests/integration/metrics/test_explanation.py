"""The numerator and denominator of every rate: worked out by hand."""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy import Engine

from tests.classroom import DAY, NOW, YESTERDAY, Classroom, Expect
from tests.stored import calculate, store


def everything() -> Classroom:
    c = Classroom("ann", "bob", "cid", weighted=True)
    c.policy(pass_mark=Decimal("62.5"), feedback_hours=24, active_days=7, improvement_days=21, excused_counts=False)
    c.category("tests", 3)
    c.category("essays", 1)
    c.activity("test", category="tests", due=YESTERDAY)
    c.activity("essay", category="essays", due=NOW - 22 * DAY)
    c.activity("quiz", due=YESTERDAY, expects=False)
    c.grade("ann", "test", 10, submitted=NOW - 2 * DAY, graded=NOW, feedback="well done")
    c.grade("ann", "essay", 5, submitted=NOW - 30 * DAY)
    c.grade("bob", "test", 5)
    c.work("cid", "essay", submitted=NOW - 2 * DAY)
    for n, status in enumerate(("PRESENT", "PRESENT", "LATE", "ABSENT", "EXCUSED")):
        c.attend("bob", NOW.date() - n * DAY, status)
    c.award("bob", 7)
    c.award("cid", -3)
    return c


def test_every_rate_has_its_numerator_and_denominator(calculator: Engine) -> None:
    with calculator.connect() as connection:
        store(connection, everything().facts)
        (row,) = calculate(connection, ["class"], NOW).values()
    fractions = {
        name: tuple(f.values()) for name, f in row["explanation"].items() if name not in ("students", "policy")
    }
    assert fractions == {
        "averageGrade": (137.5, 2),  # Ann (3 * 100 + 1 * 50) / 4, Bob 50
        "passingRate": (1, 2),
        "attendanceRate": (3, 4),
        "participationRate": (3, 3),  # Ann and Cid handed in, Bob earned points
        "completionRate": (4, 9),
        "submissionRate": (3, 6),
        "averagePoints": (4, 3),
        "gradeImprovement": (50, 1),  # Ann 100 - 50
        "teacherFeedbackRate": (1, 3),
        "gradingTimeliness": (1, 3),  # Ann's test; her essay was late, and Cid's is overdue
    }


def test_the_explanation_names_the_students_counted_and_the_policy(calculator: Engine) -> None:
    with calculator.connect() as connection:
        store(connection, everything().facts)
        (row,) = calculate(connection, ["class"], NOW).values()
    assert row["explanation"]["students"] == 3
    assert row["explanation"]["policy"] == {
        "passMark": 62.5,
        "feedbackHours": 24,
        "activeDays": 7,
        "improvementDays": 21,
        "excusedCounts": False,
        "weighted": True,
        "timeZone": "UTC",
    }


def test_the_metrics_are_what_the_explanation_explains(expect: Expect) -> None:
    expect(everything(), average_grade=68.75, passing_rate=50.0, attendance_rate=75.0, participation_rate=100.0)
    expect(everything(), completion_rate=44.44, submission_rate=50.0, average_points=1.33, grade_improvement=50.0)
    expect(everything(), teacher_feedback_rate=33.33, grading_timeliness=33.33)


def test_a_class_without_anything_explains_zeros(calculator: Engine) -> None:
    with calculator.connect() as connection:
        store(connection, Classroom().facts)
        (row,) = calculate(connection, ["class"], NOW).values()
    explanation = row["explanation"]
    rates = [value for name, value in explanation.items() if name not in ("students", "policy")]
    assert rates == [{"numerator": 0, "denominator": 0}] * 10
    assert explanation["students"] == 0


def test_a_class_that_does_not_exist_has_no_row(calculator: Engine) -> None:
    with calculator.connect() as connection:
        store(connection, everything().facts)
        assert calculate(connection, ["nowhere"], NOW) == {}
        assert calculate(connection, [], NOW) == {}
        assert list(calculate(connection, ["nowhere", "class"], NOW)) == ["class"]
