"""Who is in the class, and when: worked out by hand."""

from __future__ import annotations

from tests.classroom import DAY, LONG_AGO, MICROSECOND, NOW, YESTERDAY, Classroom, Expect

NOTHING_COUNTED = {
    **dict.fromkeys(("present_count", "absent_count", "late_count", "excused_count"), 0),
    **dict.fromkeys(("active_students", "activities_graded", "total_points"), 0),
}
NO_RATES = {
    **dict.fromkeys(("average_grade", "passing_rate", "highest_grade", "lowest_grade", "attendance_rate")),
    **dict.fromkeys(("participation_rate", "completion_rate", "submission_rate", "average_points")),
    **dict.fromkeys(("grade_improvement", "teacher_feedback_rate", "grading_timeliness")),
}


def test_a_class_with_nothing_in_it_counts_nothing_and_has_no_rates(expect: Expect) -> None:
    expect(Classroom(), **NOTHING_COUNTED, **NO_RATES, activities_created=0, next_change_at=None)


def test_a_class_without_students_counts_its_activities_alone(expect: Expect) -> None:
    c = Classroom()
    c.activity("essay", due=YESTERDAY)
    c.grade("ann", "essay", 5, submitted=YESTERDAY)
    c.attend("ann", YESTERDAY.date())
    c.award("ann", 5)
    expect(c, **NOTHING_COUNTED, **NO_RATES, activities_created=1)


def test_a_class_of_students_without_facts_has_no_rates_but_of_its_students(expect: Expect) -> None:
    rates = {**NO_RATES, "participation_rate": 0.0, "average_points": 0.0}
    expect(Classroom("ann"), **NOTHING_COUNTED, **rates, activities_created=0, next_change_at=None)


def test_an_enrollment_is_felt_just_after_it_begins_and_until_it_ends(expect: Expect) -> None:
    c = Classroom("ann")
    c.enroll("bob", begins=NOW)
    c.enroll("cid", begins=NOW - MICROSECOND)
    c.enroll("dan", ends=NOW)
    c.enroll("eve", ends=NOW - MICROSECOND)
    for n, student in enumerate(("ann", "bob", "cid", "dan", "eve")):
        c.award(student, 10**n, at=LONG_AGO)
    # Ann 1, Cid 100, Dan 1000: 1101 / 3. A microsecond later Bob instead of Dan: 111 / 3.
    expect(c, total_points=1101, average_points=367.0, next_change_at=NOW + MICROSECOND)
    expect(c, NOW + MICROSECOND, total_points=111, average_points=37.0, next_change_at=None)


def test_who_has_left_is_nowhere(expect: Expect) -> None:
    c = Classroom()
    c.enroll("ann", ends=YESTERDAY)
    c.activity("essay", due=NOW - 5 * DAY)
    c.grade("ann", "essay", 5, submitted=NOW - 6 * DAY, feedback="yes")
    c.attend("ann", (NOW - 6 * DAY).date())
    c.award("ann", 10)
    expect(c, **NOTHING_COUNTED, **NO_RATES, activities_created=1)
    # At her last instant: 5 / 10, due and handed in, there that day.
    expect(c, YESTERDAY, average_grade=50.0, submission_rate=100.0, present_count=1, active_students=1, total_points=10)


def test_who_left_and_came_again_is_counted_once(expect: Expect) -> None:
    c = Classroom("bob")
    c.enroll("ann", ends=NOW - 20 * DAY)
    c.enroll("ann", begins=NOW - 10 * DAY, ends=NOW - 5 * DAY)
    c.enroll("ann", begins=NOW - 5 * DAY)
    c.enroll("ann", begins=NOW - 4 * DAY, ends=NOW + DAY)
    c.activity("essay", due=NOW - 15 * DAY)
    c.grade("ann", "essay", 8, submitted=NOW - 15 * DAY)
    c.attend("ann", NOW.date())
    c.attend("ann", (NOW - 5 * DAY).date())
    c.award("ann", 6)
    # Ann's points once, 6 / 2; one of two handed in, one of two active; there on two days, the 10th by two enrollments.
    expect(c, total_points=6, average_points=3.0, submission_rate=50.0, participation_rate=50.0, present_count=2)
    expect(c, average_grade=80.0, active_students=1)


def test_between_two_enrollments_one_is_not_a_student(expect: Expect) -> None:
    c = Classroom("bob")
    c.enroll("ann", ends=NOW - 2 * DAY)
    c.enroll("ann", begins=NOW + 2 * DAY)
    c.award("ann", 6, at=LONG_AGO)
    expect(c, average_points=0.0, next_change_at=NOW + 2 * DAY + MICROSECOND)
    expect(c, NOW - 2 * DAY, average_points=3.0, next_change_at=NOW - 2 * DAY + MICROSECOND)
    expect(c, NOW + 2 * DAY + MICROSECOND, average_points=3.0, next_change_at=None)


def test_leaving_and_coming_at_one_instant_leaves_no_gap(expect: Expect) -> None:
    c = Classroom()
    c.enroll("ann", ends=NOW)
    c.enroll("ann", begins=NOW)
    c.award("ann", 6, at=LONG_AGO)
    for instant in (NOW - MICROSECOND, NOW, NOW + MICROSECOND):
        expect(c, instant, average_points=6.0)


def test_an_enrollment_that_ends_as_it_begins_never_was(expect: Expect) -> None:
    c = Classroom("ann")
    c.activity("essay", due=NOW - 5 * DAY)
    c.enroll("bob", begins=NOW - 6 * DAY, ends=NOW - 6 * DAY)
    c.enroll("bob", begins=NOW - 4 * DAY)
    c.enroll("cid", begins=NOW, ends=NOW)
    c.attend("bob", (NOW - 6 * DAY).date())
    # Bob was not there when the essay was due, nor on the 9th: Ann alone owes it.
    # Next, the essay leaves the window of 30 days.
    expect(c, completion_rate=0.0, present_count=0, average_points=0.0, next_change_at=NOW + 25 * DAY)
    expect(c, NOW - 6 * DAY + MICROSECOND, participation_rate=0.0)
    c.work("ann", "essay", submitted=NOW - 5 * DAY)
    expect(c, completion_rate=100.0, participation_rate=50.0)


def test_a_teacher_who_is_enrolled_as_a_student_too_is_no_student(expect: Expect) -> None:
    c = Classroom("ann", "bob")
    c.enroll("bob", role="TEACHER")
    c.enroll("cid", role="TEACHER")
    c.award("bob", 6)
    c.award("cid", 7)
    expect(c, total_points=0, average_points=0.0, participation_rate=0.0)


def test_who_teaches_at_another_time_is_a_student_now(expect: Expect) -> None:
    c = Classroom("ann", "bob", "cid", "dan")
    c.enroll("ann", begins=LONG_AGO, ends=NOW - MICROSECOND, role="TEACHER")
    c.enroll("bob", begins=NOW, role="TEACHER")
    c.enroll("cid", ends=NOW, role="TEACHER")
    c.enroll("dan", begins=NOW - MICROSECOND, role="TEACHER")
    for n, student in enumerate(("ann", "bob", "cid", "dan")):
        c.award(student, 10**n, at=LONG_AGO)
    # Ann does not teach any more, Bob not yet: 11 / 2. In a microsecond Bob does and Cid does not: 101 / 2.
    expect(c, total_points=11, average_points=5.5, next_change_at=NOW + MICROSECOND)
    expect(c, NOW + MICROSECOND, total_points=101, average_points=50.5, next_change_at=None)


def test_a_finished_class_keeps_its_students(expect: Expect) -> None:
    end = NOW - 200 * DAY
    c = Classroom("ann", ends=end)
    c.enroll("bob", ends=end)
    c.enroll("cid", ends=end - MICROSECOND)
    c.enroll("dan", begins=end)
    c.enroll("eve", begins=end - MICROSECOND)
    for n, student in enumerate(("ann", "bob", "cid", "dan", "eve")):
        c.award(student, 10**n, at=end - DAY)
    # Just before the end: Ann, Bob and Eve, all three of whom had been awarded points the day before.
    expect(c, total_points=10011, average_points=3337.0, active_students=3, participation_rate=100.0)
    expect(c, next_change_at=None)
    expect(c, end, total_points=10011, average_points=3337.0, active_students=3, next_change_at=None)
    expect(c, end + MICROSECOND, total_points=10011, average_points=3337.0, active_students=3, next_change_at=None)


def test_who_taught_at_the_end_of_a_class_is_no_student_of_it_and_who_teaches_later_is(expect: Expect) -> None:
    end = NOW - 20 * DAY
    c = Classroom("ann", "bob", "cid", "dan", ends=end)
    c.enroll("bob", ends=end, role="TEACHER")
    c.enroll("cid", begins=end, role="TEACHER")
    c.enroll("dan", begins=LONG_AGO, ends=end - MICROSECOND, role="TEACHER")
    for n, student in enumerate(("ann", "bob", "cid", "dan")):
        c.award(student, 10**n, at=LONG_AGO)
    # Ann, Cid and Dan: 1101 / 3.
    expect(c, total_points=1101, average_points=367.0)


def test_a_class_that_has_not_ended_has_the_students_of_now(expect: Expect) -> None:
    c = Classroom(ends=NOW + DAY)
    c.enroll("ann", begins=NOW - DAY)
    c.enroll("bob", begins=NOW)
    c.award("ann", 4, at=LONG_AGO)
    expect(c, average_points=4.0, next_change_at=NOW + MICROSECOND)
    expect(c, NOW + MICROSECOND, average_points=2.0, next_change_at=None)


def test_grading_after_the_end_still_counts(expect: Expect) -> None:
    end = NOW - 20 * DAY
    c = Classroom("ann", ends=end)
    c.activity("essay", due=end + DAY, published=end + MICROSECOND)
    c.activity("test", published=NOW + DAY)
    c.work("ann", "essay", 9, submitted=end + 2 * DAY, graded=end + 9 * DAY, feedback="yes")
    c.award("ann", 5, at=end + MICROSECOND)
    # Graded 7 days after, to the microsecond. Handed in and awarded after the end, so not active in the class.
    expect(c, average_grade=90.0, submission_rate=100.0, grading_timeliness=100.0, teacher_feedback_rate=100.0)
    expect(c, activities_created=1, activities_graded=1, total_points=5, active_students=0, participation_rate=0.0)
    expect(c, next_change_at=NOW + DAY, grade_improvement=None)
    expect(c, end + 9 * DAY - MICROSECOND, average_grade=None, grading_timeliness=None, next_change_at=end + 9 * DAY)


def test_a_class_is_asked_about_whatever_others_there_are(expect: Expect) -> None:
    # Everybody of the class next door, with its work, awards and days, but none of them here.
    c = Classroom("zoe")
    for name in ("essay", "quiz", "test", "report"):
        c.activity(name)
    expect(c, **NOTHING_COUNTED, **{**NO_RATES, "participation_rate": 0.0, "average_points": 0.0}, activities_created=4)
