"""Grades: worked out by hand, and asked of the SQL and of the independent calculation."""

from __future__ import annotations

from decimal import Decimal

from tests.classroom import LONG_AGO, MICROSECOND, NOW, YESTERDAY, Classroom, Expect


def test_the_average_is_of_students_not_of_rows(expect: Expect) -> None:
    c = Classroom("ann", "bob")
    c.activity("essay")
    c.activity("test", 30)
    c.grade("ann", "essay", 10)
    c.grade("ann", "test", 30)
    c.grade("bob", "test", 15)
    # Ann 40 / 40 = 100, Bob 15 / 30 = 50: (100 + 50) / 2; of the two, one reaches 60.
    expect(c, average_grade=75.0, highest_grade=100.0, lowest_grade=50.0, passing_rate=50.0)


def test_a_grade_is_all_points_reached_of_all_points_to_reach(expect: Expect) -> None:
    c = Classroom("ann")
    c.activity("essay")
    c.activity("test", 40)
    c.grade("ann", "essay", 10)
    c.grade("ann", "test", 10)
    # 20 / 50 = 40, not the mean of 100 and 25.
    expect(c, average_grade=40.0, highest_grade=40.0, lowest_grade=40.0)


def test_a_class_without_grades_has_no_average(expect: Expect) -> None:
    c = Classroom("ann")
    c.activity("essay")
    expect(c, average_grade=None, passing_rate=None, highest_grade=None, lowest_grade=None, grade_improvement=None)


def test_extra_credit_takes_a_grade_above_a_hundred(expect: Expect) -> None:
    c = Classroom("ann", "bob")
    c.activity("essay")
    c.grade("ann", "essay", 12)
    c.grade("bob", "essay", 1)
    expect(c, average_grade=65.0, highest_grade=120.0, lowest_grade=10.0)


def test_a_student_without_grades_is_in_no_average(expect: Expect) -> None:
    c = Classroom("ann", "bob")
    c.activity("essay")
    c.grade("ann", "essay", 7)
    expect(c, average_grade=70.0, passing_rate=100.0, lowest_grade=70.0)


def test_three_categories_reach_exactly_the_pass_mark(expect: Expect) -> None:
    c = Classroom("ann", weighted=True)
    for name, points, score in (("essay", 3, 4), ("quiz", 3, 1), ("test", 15, 2)):
        c.category(name, 1)
        c.activity(name, points, category=name)
        c.grade("ann", name, score)
    # 100 * (4/3 + 1/3 + 2/15) / 3 = 100 * (20 + 5 + 2) / 45 = 60
    expect(c, average_grade=60.0, passing_rate=100.0)


def test_a_grade_has_ten_decimals_when_it_meets_the_pass_mark(expect: Expect) -> None:
    c = Classroom("ann", "bob")
    c.activity("essay", 100)
    c.grade("ann", "essay", "59.99999999995")  # 60.0000000000
    c.grade("bob", "essay", "59.99999999994")  # 59.9999999999
    expect(c, passing_rate=50.0, average_grade=60.0, lowest_grade=60.0)


def test_a_repeating_grade_is_cut_at_ten_decimals_before_it_is_averaged(expect: Expect) -> None:
    c = Classroom("ann", "bob")
    c.activity("essay", 3)
    c.grade("ann", "essay", 1)
    c.grade("bob", "essay", 2)
    # 33.3333333333 + 66.6666666667 = 100, which the explanation says too.
    expect(c, average_grade=50.0, highest_grade=66.67, lowest_grade=33.33)


def test_the_pass_mark_is_the_schools(expect: Expect) -> None:
    c = Classroom("ann", "bob")
    c.activity("essay")
    c.grade("ann", "essay", 7)
    c.grade("bob", "essay", 8)
    c.policy(pass_mark=Decimal(80))
    expect(c, passing_rate=50.0)


def test_the_mean_of_grades_is_rounded_half_away_from_zero(expect: Expect) -> None:
    c = Classroom("ann", "bob")
    c.activity("essay", 100)
    c.grade("ann", "essay", "80.01")
    c.grade("bob", "essay", "80")
    # 160.01 / 2 = 80.005
    expect(c, average_grade=80.01)
    c.activity("test", 1000)
    c.grade("ann", "test", "800")
    c.grade("bob", "test", "800")
    # (880.01 / 1100 + 880 / 1100) / 2: 80.0004545...
    expect(c, average_grade=80.0, highest_grade=80.0)


def test_highest_and_lowest_are_rounded_half_away_from_zero(expect: Expect) -> None:
    c = Classroom("ann", "bob")
    c.activity("essay", 100)
    c.grade("ann", "essay", "80.125")
    c.grade("bob", "essay", "70.375")
    # (80.125 + 70.375) / 2 = 75.25
    expect(c, highest_grade=80.13, lowest_grade=70.38, average_grade=75.25)


def test_rates_are_rounded_to_two_decimals(expect: Expect) -> None:
    c = Classroom("ann", "bob", "cid")
    c.activity("essay")
    for student, score in (("ann", 9), ("bob", 8), ("cid", 1)):
        c.grade(student, "essay", score)
    # 2 of 3 pass.
    expect(c, passing_rate=66.67, average_grade=60.0)


def test_categories_are_weighed_not_their_points(expect: Expect) -> None:
    c = Classroom("ann", weighted=True)
    c.category("tests", 3)
    c.category("essays", 1)
    c.activity("test", 10, category="tests")
    c.activity("essay", 90, category="essays")
    c.activity("report", 10, category="essays")
    c.grade("ann", "test", 5)
    c.grade("ann", "essay", 80)
    c.grade("ann", "report", 10)
    # (3 * 5/10 + 1 * 90/100) / (3 + 1) = 2.4 / 4 = 60
    expect(c, average_grade=60.0)


def test_weights_may_be_fractions_and_sum_to_less_than_one(expect: Expect) -> None:
    c = Classroom("ann", weighted=True)
    c.category("tests", "0.25")
    c.category("essays", "0.5")
    c.activity("test", category="tests")
    c.activity("essay", category="essays")
    c.grade("ann", "test", 10)
    c.grade("ann", "essay", 4)
    # (0.25 * 1 + 0.5 * 0.4) / 0.75 = 0.45 / 0.75
    expect(c, average_grade=60.0)


def test_excused_work_takes_its_category_out_of_a_weighted_grade(expect: Expect) -> None:
    c = Classroom("ann", weighted=True)
    c.category("tests", 3)
    c.category("essays", 1)
    c.activity("test", category="tests", due=YESTERDAY)
    c.activity("essay", category="essays", due=YESTERDAY)
    c.grade("ann", "test", 2)
    c.grade("ann", "essay", 9)
    # (3 * 20 + 1 * 90) / 4 = 37.5; without the test 1 * 90 / 1.
    expect(c, average_grade=37.5, activities_graded=2, completion_rate=100.0, submission_rate=0.0)
    c.excuse("ann", "test")
    expect(c, average_grade=90.0, activities_graded=1, completion_rate=100.0, submission_rate=0.0)


def test_an_excusal_taken_back_excuses_nothing(expect: Expect) -> None:
    c = Classroom("ann")
    c.activity("essay")
    c.grade("ann", "essay", 2)
    c.excuse("ann", "essay", excused=False)
    expect(c, average_grade=20.0)


def test_a_resubmission_does_not_take_an_excusal_back(expect: Expect) -> None:
    c = Classroom("ann")
    c.activity("essay", due=YESTERDAY)
    c.activity("test", due=YESTERDAY)
    c.grade("ann", "test", 8)
    c.excuse("ann", "essay")
    c.grade("ann", "essay", 1, submitted=NOW - 2 * MICROSECOND, graded=NOW)
    c.grade("ann", "essay", 2, attempt=2, submitted=NOW - MICROSECOND, graded=NOW, feedback="better")
    # Only the test counts: graded above 0, never handed in.
    expect(c, average_grade=80.0, activities_graded=1, completion_rate=100.0, submission_rate=0.0)
    expect(c, teacher_feedback_rate=0.0, grading_timeliness=None)


def test_an_excusal_is_of_one_student_and_one_activity(expect: Expect) -> None:
    c = Classroom("ann", "bob")
    for name in ("essay", "test"):
        c.activity(name)
        c.grade("ann", name, 4)
        c.grade("bob", name, 10)
    c.grade("ann", "test", 10, attempt=2)
    c.excuse("ann", "essay")
    # Ann's test 100, Bob's both 100.
    expect(c, average_grade=100.0)


def test_work_without_a_category_has_no_weight(expect: Expect) -> None:
    c = Classroom("ann", "bob", weighted=True)
    c.category("tests", 2)
    c.activity("test", category="tests")
    c.activity("essay")
    c.grade("ann", "test", 6)
    c.grade("ann", "essay", 10)
    c.grade("bob", "essay", 10)
    # Ann's test alone; Bob has no grade.
    expect(c, average_grade=60.0, passing_rate=100.0, lowest_grade=60.0, activities_graded=2)


def test_categories_do_not_matter_where_they_do_not_weigh(expect: Expect) -> None:
    c = Classroom("ann")
    c.category("tests", 0)
    c.category("essays", 9)
    c.activity("test", category="tests")
    c.activity("essay", 30, category="essays")
    c.activity("report")
    c.grade("ann", "test", 10)
    c.grade("ann", "essay", 15)
    c.grade("ann", "report", 2)
    # (10 + 15 + 2) / (10 + 30 + 10) = 54
    expect(c, average_grade=54.0)


def test_weights_that_sum_to_zero_make_no_grade(expect: Expect) -> None:
    c = Classroom("ann", "bob", weighted=True)
    c.category("tests", 0)
    c.category("essays", 2)
    c.activity("test", category="tests")
    c.activity("essay", category="essays")
    c.grade("ann", "test", 5)
    expect(c, average_grade=None, passing_rate=None, highest_grade=None, lowest_grade=None, activities_graded=1)
    c.grade("bob", "test", 5)
    c.grade("bob", "essay", 8)
    # Bob: (0 * 50 + 2 * 80) / 2. Ann still has none, and is not counted among those who do not pass.
    expect(c, average_grade=80.0, passing_rate=100.0, lowest_grade=80.0)


def test_a_category_weighs_only_for_those_who_have_work_in_it(expect: Expect) -> None:
    c = Classroom("ann", "bob", weighted=True)
    c.category("tests", 3)
    c.category("essays", 1)
    c.activity("test", category="tests")
    c.activity("essay", category="essays")
    c.grade("ann", "test", 10)
    c.grade("ann", "essay", 2)
    c.grade("bob", "essay", 2)
    # Ann (3 * 100 + 1 * 20) / 4 = 80, Bob 1 * 20 / 1.
    expect(c, highest_grade=80.0, lowest_grade=20.0, average_grade=50.0)


def test_work_that_does_not_count_toward_the_grade_is_graded_all_the_same(expect: Expect) -> None:
    c = Classroom("ann")
    c.activity("essay")
    c.activity("quiz", counts=False)
    c.grade("ann", "essay", 8)
    c.grade("ann", "quiz", 0)
    expect(c, average_grade=80.0, activities_graded=2, teacher_feedback_rate=0.0)


def test_work_worth_no_points_divides_nothing(expect: Expect) -> None:
    c = Classroom("ann", "bob")
    c.activity("essay", 0)
    c.grade("ann", "essay", 5)
    expect(c, average_grade=None, passing_rate=None, activities_graded=1)
    c.activity("test", "0.5")
    c.grade("ann", "test", "0.25")
    # 0.25 / 0.5, the other 5 points aside.
    expect(c, average_grade=50.0)


def test_work_published_long_ago_and_not_deleted_counts(expect: Expect) -> None:
    c = Classroom("ann")
    c.activity("essay", published=None)
    c.activity("quiz", published=NOW + MICROSECOND)
    c.activity("report", deleted=NOW)
    c.activity("test", published=LONG_AGO, deleted=NOW + MICROSECOND)
    for name, score in (("essay", 1), ("quiz", 2), ("report", 3), ("test", 4)):
        c.grade("ann", name, score)
    # Of the four only the test: 4 / 10. A microsecond later the test is deleted, and the quiz published.
    expect(c, average_grade=40.0, activities_created=1, activities_graded=1, next_change_at=NOW + MICROSECOND)
    expect(c, NOW + MICROSECOND, average_grade=20.0, activities_created=1, activities_graded=1, next_change_at=None)
