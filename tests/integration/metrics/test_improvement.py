"""Improvement from one window of due dates to the next: worked out by hand."""

from __future__ import annotations

from tests.classroom import DAY, LONG_AGO, MICROSECOND, NOW, YESTERDAY, Classroom, Expect

WINDOW = 30 * DAY


def term(*students: str, recent: int = 100, earlier: int = 100, **options) -> Classroom:
    """Two activities due, one yesterday and one 40 days ago, of so many points each."""
    c = Classroom(*students, **options)
    c.activity("essay", recent, due=YESTERDAY)
    c.activity("test", earlier, due=NOW - 40 * DAY)
    return c


def test_improvement_is_the_recent_percentage_less_the_earlier(expect: Expect) -> None:
    c = term("ann")
    c.activity("quiz", 20, due=NOW - 2 * DAY)
    c.activity("report", 50, due=NOW - 50 * DAY)
    for name, score in (("essay", 80), ("quiz", 10), ("test", 40), ("report", 35)):
        c.grade("ann", name, score)
    # 100 * 90 / 120 - 100 * 75 / 150 = 75 - 50
    expect(c, grade_improvement=25.0)


def test_improvement_is_a_mean_over_students_with_both_windows(expect: Expect) -> None:
    c = term("ann", "bob", "cid", "dan")
    for student, recent, earlier in (("ann", 50, 90), ("bob", 80, 70)):
        c.grade(student, "essay", recent)
        c.grade(student, "test", earlier)
    c.grade("cid", "essay", 100)
    c.grade("dan", "test", 1)
    # (-40 + 10) / 2
    expect(c, grade_improvement=-15.0)


def test_one_window_alone_makes_no_improvement(expect: Expect) -> None:
    c = term("ann", "bob")
    c.grade("ann", "essay", 100)
    c.grade("bob", "test", 1)
    expect(c, grade_improvement=None, average_grade=50.5)


def test_improvement_is_rounded_half_away_from_zero(expect: Expect) -> None:
    for recent, earlier, improvement in ((80.01, 80, 0.01), (80, 80.01, -0.01), (80.03, 80, 0.02), (80, 80.03, -0.02)):
        c = term("ann", "bob")
        for student in ("ann", "bob"):
            c.grade(student, "essay", str(recent if student == "ann" else 70))
            c.grade(student, "test", str(earlier if student == "ann" else 70))
        # Of two students one changed by 0.01 or 0.03: 0.005 or 0.015.
        expect(c, grade_improvement=improvement)


def test_a_change_that_repeats_is_explained_to_ten_decimals(expect: Expect) -> None:
    c = term("ann", recent=3, earlier=3)
    c.grade("ann", "essay", 2)
    c.grade("ann", "test", 1)
    # 66.66... - 33.33...; the explanation's numerator is held against the independent calculation.
    expect(c, grade_improvement=33.33)


def test_the_windows_are_open_at_their_begin_and_closed_at_their_end(expect: Expect) -> None:
    c = Classroom("ann")
    dues = {
        "essay": NOW,
        "quiz": NOW - WINDOW + MICROSECOND,
        "report": NOW - WINDOW,
        "test": NOW - 2 * WINDOW + MICROSECOND,
        "paper": NOW - 2 * WINDOW,
        "poster": NOW + MICROSECOND,
    }
    scores = {"essay": 1, "quiz": 2, "report": 4, "test": 8, "paper": 16, "poster": 32}
    for name, due in dues.items():
        c.activity(name, 100, due=due)
        c.grade("ann", name, scores[name])
    # Recent (1 + 2) / 200, earlier (4 + 8) / 200: 1.5 - 6.
    expect(c, grade_improvement=-4.5, next_change_at=NOW + MICROSECOND)
    # Recent (1 + 32) / 200, earlier (2 + 4) / 200: 16.5 - 3.
    expect(c, NOW + MICROSECOND, grade_improvement=13.5, next_change_at=NOW + WINDOW)
    # Recent 32 / 100, earlier (1 + 2) / 200: 32 - 1.5.
    expect(c, NOW + WINDOW, grade_improvement=30.5, next_change_at=NOW + WINDOW + MICROSECOND)


def test_the_windows_end_with_the_class(expect: Expect) -> None:
    end = NOW - 20 * DAY
    c = Classroom("ann", ends=end)
    dues = {"essay": end, "quiz": end - WINDOW, "test": end - 2 * WINDOW, "report": end + MICROSECOND}
    for n, (name, due) in enumerate(dues.items()):
        c.activity(name, 100, due=due)
        c.grade("ann", name, 10 ** min(n, 2))
    # The essay 1, the quiz 10; the test was due too long ago, the report after the end.
    expect(c, grade_improvement=-9.0, next_change_at=None)
    expect(c, end, grade_improvement=None, next_change_at=end + MICROSECOND)


def test_the_windows_of_a_finished_class_do_not_slide(expect: Expect) -> None:
    end = NOW - 20 * DAY
    c = Classroom("ann", ends=end)
    c.activity("essay", due=end - 29 * DAY)
    c.activity("test", due=end - 59 * DAY)
    c.grade("ann", "essay", 9)
    c.grade("ann", "test", 2)
    # Due 29 and 59 days before the end, 49 and 79 before now: 90 - 20.
    expect(c, grade_improvement=70.0)


def test_the_window_is_the_schools(expect: Expect) -> None:
    c = term("ann")
    c.grade("ann", "essay", 60)
    c.grade("ann", "test", 20)
    c.policy(improvement_days=40)
    # The test was due 40 days ago, which is the end of the earlier window.
    expect(c, grade_improvement=40.0)
    c.policy(improvement_days=41)
    expect(c, grade_improvement=None)
    c.policy(improvement_days=20)
    expect(c, grade_improvement=None)
    c.policy(improvement_days=21)
    expect(c, grade_improvement=40.0)


def test_a_window_of_days_is_of_24_hours_each_whatever_the_clocks_do(expect: Expect) -> None:
    # Between 8 March and 7 April 2024 New York went to summer time: 30 days of 24 hours are an hour more on its clocks.
    c = Classroom("ann")
    c.policy(time_zone="America/New_York", active_days=30)
    at = NOW.replace(month=4, day=7)
    c.activity("essay", due=at)
    c.activity("test", due=at - WINDOW)
    c.grade("ann", "essay", 8, graded=at)
    c.grade("ann", "test", 3, graded=at)
    c.award("ann", 1, at=at - WINDOW)
    expect(c, at, grade_improvement=50.0, active_students=0)
    expect(c, at - MICROSECOND, grade_improvement=None, active_students=1)


def test_only_what_counts_toward_the_grade_makes_improvement(expect: Expect) -> None:
    c = term("ann", "bob")
    c.activity("quiz", 100, due=YESTERDAY, counts=False)
    c.activity("report", 0, due=NOW - 40 * DAY)
    c.activity("poster", 100)
    for student in ("ann", "bob"):
        for name, score in (("essay", 70), ("test", 60), ("quiz", 1), ("report", 9), ("poster", 1)):
            c.grade(student, name, score)
    c.grade("bob", "essay", 3, attempt=2)
    c.excuse("bob", "essay")
    # Ann 70 - 60; Bob has nothing recent.
    expect(c, grade_improvement=10.0)


def test_weights_do_not_matter_to_improvement(expect: Expect) -> None:
    c = Classroom("ann", weighted=True)
    c.category("tests", 9)
    c.category("essays", 0)
    c.activity("test", 10, category="tests", due=YESTERDAY)
    c.activity("essay", 30, category="essays", due=YESTERDAY)
    c.activity("report", 10, due=NOW - 40 * DAY)
    for name, score in (("test", 2), ("essay", 30), ("report", 5)):
        c.grade("ann", name, score)
    # 100 * 32 / 40 - 50, and a grade of 20 by the test alone.
    expect(c, grade_improvement=30.0, average_grade=20.0)


def test_slow_grading_is_no_decline(expect: Expect) -> None:
    c = term("ann")
    c.work("ann", "essay", 90, submitted=YESTERDAY, graded=NOW + DAY)
    c.grade("ann", "test", 50, graded=LONG_AGO + 65 * DAY)
    expect(c, grade_improvement=None)
    expect(c, NOW + DAY, grade_improvement=40.0)
