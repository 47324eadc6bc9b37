"""Attempts: which is graded, which is handed in, what is owed, and how soon a teacher answers."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.classroom import DAY, HOUR, MICROSECOND, NOW, YESTERDAY, Classroom, Expect

WHITE_SPACE = "\t\n\v\f\r\x1c\x1d\x1e\x1f\x20\x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B)))
WHITE_SPACE += "\u2028\u2029\u202f\u205f\u3000"


def test_a_score_that_is_not_graded_yet_does_not_count(expect: Expect) -> None:
    c = Classroom("ann", "bob")
    c.activity("essay")
    c.grade("ann", "essay", 4, graded=None)
    c.grade("bob", "essay", 6, graded=NOW + MICROSECOND)
    expect(c, average_grade=None, activities_graded=0, next_change_at=NOW + MICROSECOND)
    # Bob's is graded now.
    expect(c, NOW + MICROSECOND, average_grade=60.0, activities_graded=1, next_change_at=None)


def test_a_blank_score_is_no_zero_and_a_zero_is_a_score(expect: Expect) -> None:
    c = Classroom("ann", "bob")
    c.activity("essay")
    c.activity("test")
    c.work("ann", "essay", None, graded=YESTERDAY)
    c.grade("bob", "essay", 0)
    c.grade("ann", "test", 8)
    # Ann 8 / 10; Bob 0 / 10.
    expect(c, average_grade=40.0, lowest_grade=0.0, highest_grade=80.0, passing_rate=50.0, activities_graded=2)


def test_a_resubmission_not_graded_yet_keeps_the_earlier_score(expect: Expect) -> None:
    c = Classroom("ann", "bob")
    c.activity("essay", due=YESTERDAY)
    c.grade("ann", "essay", 8, submitted=NOW - 3 * DAY)
    c.work("ann", "essay", None, attempt=2, submitted=NOW - HOUR)
    c.work("ann", "essay", 1, attempt=3, submitted=NOW - HOUR, graded=NOW + HOUR)
    # One pair of two is handed in, once.
    expect(c, average_grade=80.0, submission_rate=50.0, completion_rate=50.0, activities_graded=1)


def test_the_highest_attempt_is_graded_whenever_it_was_graded(expect: Expect) -> None:
    c = Classroom("ann")
    c.activity("essay")
    c.grade("ann", "essay", 9, attempt=2, graded=NOW - HOUR, feedback="well done")
    c.grade("ann", "essay", 4, attempt=10, graded=NOW - 2 * HOUR)
    c.grade("ann", "essay", 7, attempt=1, graded=NOW, feedback="well done")
    # Not the best, not the last graded, nor the sum: attempt 10, without feedback.
    expect(c, average_grade=40.0, activities_graded=1, teacher_feedback_rate=0.0)


def test_each_pair_has_its_own_attempts(expect: Expect) -> None:
    c = Classroom("ann", "bob")
    for name in ("essay", "test"):
        c.activity(name, due=YESTERDAY)
    c.grade("ann", "essay", 10, attempt=4, submitted=NOW - 2 * DAY, feedback="yes")
    c.grade("bob", "test", 1, attempt=3, submitted=NOW - 2 * DAY)
    c.grade("ann", "test", 3, attempt=2)
    # Ann 13 / 20, Bob 1 / 10: (65 + 10) / 2. Handed in 2 of 4, done 3 of 4, answered 1 of 3.
    expect(c, average_grade=37.5, submission_rate=50.0, completion_rate=75.0, teacher_feedback_rate=33.33)
    expect(c, activities_created=2, activities_graded=2, grading_timeliness=100.0)


def test_a_zero_for_work_never_handed_in_is_not_done(expect: Expect) -> None:
    c = Classroom("ann", "bob", "cid", "dan", "eve")
    c.activity("essay", due=YESTERDAY)
    c.grade("ann", "essay", 0)
    c.grade("bob", "essay", 0, submitted=NOW - 2 * DAY)
    c.grade("cid", "essay", 1)
    c.grade("dan", "essay", "0.5")
    # Bob handed in; Cid and Dan have points; Ann and Eve have done nothing.
    expect(c, completion_rate=60.0, submission_rate=20.0, average_grade=3.75)


def test_a_zero_for_the_highest_attempt_is_not_undone_by_an_earlier_score(expect: Expect) -> None:
    c = Classroom("ann")
    c.activity("essay", due=YESTERDAY)
    c.grade("ann", "essay", 9)
    c.grade("ann", "essay", 0, attempt=2)
    expect(c, completion_rate=0.0, average_grade=0.0)


def test_work_that_expects_no_submission_is_in_no_rate_of_submissions(expect: Expect) -> None:
    c = Classroom("ann")
    c.activity("essay", due=YESTERDAY)
    c.activity("quiz", due=YESTERDAY, expects=False)
    c.grade("ann", "quiz", 1, submitted=YESTERDAY)
    # Done 1 of 2; of what is to be handed in 0 of 1; no promise was made.
    expect(c, completion_rate=50.0, submission_rate=0.0, grading_timeliness=None)
    c.work("ann", "essay", submitted=YESTERDAY)
    expect(c, completion_rate=100.0, submission_rate=100.0, grading_timeliness=None)


def test_nothing_due_makes_no_rate_of_work(expect: Expect) -> None:
    c = Classroom("ann")
    c.activity("essay")
    c.activity("test", due=NOW + MICROSECOND)
    c.work("ann", "essay", submitted=YESTERDAY)
    expect(c, completion_rate=None, submission_rate=None, next_change_at=NOW + MICROSECOND)


def test_work_of_a_day_on_which_the_clocks_change_is_due_as_the_next_begins(expect: Expect) -> None:
    c = Classroom("ann")
    c.policy(time_zone="Europe/London")
    # The 31st of March 2024 ends at 23:00 UTC: midnight in London, an hour early.
    due = datetime(2024, 3, 31, 23, tzinfo=UTC)
    c.activity("essay", due=due)
    expect(c, due - MICROSECOND, submission_rate=None, next_change_at=due)
    expect(c, due, submission_rate=0.0, next_change_at=due + 30 * DAY)


def test_work_due_exactly_now_is_owed(expect: Expect) -> None:
    c = Classroom("ann")
    c.activity("essay", due=NOW)
    c.activity("test", due=NOW + MICROSECOND)
    c.work("ann", "test", submitted=YESTERDAY)
    expect(c, submission_rate=0.0, completion_rate=0.0, next_change_at=NOW + MICROSECOND)
    expect(c, NOW + MICROSECOND, submission_rate=50.0, completion_rate=50.0)


def test_a_student_without_work_owes_what_is_due(expect: Expect) -> None:
    c = Classroom("ann")
    c.activity("essay", due=YESTERDAY)
    expect(c, completion_rate=0.0, submission_rate=0.0, average_grade=None, teacher_feedback_rate=None)
    expect(c, activities_graded=0, grading_timeliness=None, participation_rate=0.0, active_students=0)


def test_work_handed_in_late_is_handed_in(expect: Expect) -> None:
    c = Classroom("ann", "bob")
    c.activity("essay", due=NOW - 5 * DAY)
    c.work("ann", "essay", submitted=NOW)
    c.work("bob", "essay", submitted=NOW + MICROSECOND)
    expect(c, submission_rate=50.0, completion_rate=50.0, next_change_at=NOW + MICROSECOND)
    expect(c, NOW + MICROSECOND, submission_rate=100.0, completion_rate=100.0)


def test_a_late_joiner_owes_what_is_due_from_the_instant_of_joining(expect: Expect) -> None:
    due = NOW - 5 * DAY
    c = Classroom("ann")
    c.activity("essay", due=due)
    c.enroll("bob", begins=due)
    c.enroll("cid", begins=due + MICROSECOND)
    # Ann and Bob owe it, Cid does not.
    expect(c, submission_rate=0.0, completion_rate=0.0)
    c.work("ann", "essay", submitted=due)
    expect(c, submission_rate=50.0, completion_rate=50.0)


def test_a_late_joiner_who_did_the_work_all_the_same_is_counted(expect: Expect) -> None:
    c = Classroom("ann")
    c.activity("essay", due=NOW - 5 * DAY)
    c.enroll("bob", begins=NOW - 4 * DAY)
    c.enroll("cid", begins=NOW - 4 * DAY)
    c.enroll("dan", begins=NOW - 4 * DAY)
    c.work("bob", "essay", submitted=NOW)
    c.grade("cid", "essay", 5)
    # Ann owes it; Bob handed it in, Cid has it graded; Dan neither.
    expect(c, submission_rate=33.33, completion_rate=66.67)


def test_who_joined_before_as_a_student_owes_and_who_taught_then_does_not(expect: Expect) -> None:
    due = NOW - 20 * DAY
    c = Classroom()
    c.activity("essay", due=due)
    c.enroll("ann", begins=due - DAY, ends=due + DAY)
    c.enroll("ann", begins=NOW - 2 * DAY)
    c.enroll("bob", begins=due - DAY, ends=due + DAY, role="TEACHER")
    c.enroll("bob", begins=NOW - 2 * DAY)
    # Ann's first time makes it hers: 0 / 1. Bob was not a student then.
    expect(c, submission_rate=0.0, completion_rate=0.0)
    c.work("ann", "essay", submitted=due)
    expect(c, submission_rate=100.0, completion_rate=100.0)


def test_feedback_that_is_blank_is_none(expect: Expect) -> None:
    c = Classroom("ann")
    for n, blank in enumerate([*WHITE_SPACE, WHITE_SPACE, ""]):
        c.activity(str(n))
        c.grade("ann", str(n), 1, feedback=blank)
    assert len(WHITE_SPACE) == 29
    expect(c, activities_graded=31, teacher_feedback_rate=0.0)


def test_feedback_is_counted_by_graded_pairs(expect: Expect) -> None:
    c = Classroom("ann", "bob", "cid", "dan")
    c.activity("essay")
    c.grade("ann", "essay", 1, feedback="\u2003see me\t")
    c.grade("bob", "essay", 1)
    c.grade("cid", "essay", 0, feedback=" . ")
    c.work("dan", "essay", None, graded=YESTERDAY, feedback="a blank is not graded")
    # Ann and Cid of three; Bob has no feedback at all.
    expect(c, teacher_feedback_rate=66.67)


def test_grading_is_on_time_to_the_microsecond(expect: Expect) -> None:
    promised = NOW - 3 * DAY
    c = Classroom("ann", "bob", "cid")
    c.activity("essay")
    c.grade("ann", "essay", 5, submitted=promised - 168 * HOUR, graded=promised)
    c.grade("bob", "essay", 5, submitted=promised - 168 * HOUR, graded=promised + MICROSECOND)
    c.grade("cid", "essay", 5, submitted=promised - 168 * HOUR, graded=promised - DAY)
    # Ann and Cid of three.
    expect(c, grading_timeliness=66.67)


def test_the_clock_starts_at_the_later_of_due_and_handed_in(expect: Expect) -> None:
    c = Classroom("ann", "bob", "cid")
    c.policy(feedback_hours=24)
    c.activity("essay", due=NOW - 4 * DAY)
    c.grade("ann", "essay", 5, submitted=NOW - 9 * DAY, graded=NOW - 3 * DAY)
    c.grade("bob", "essay", 5, submitted=NOW - 2 * DAY, graded=NOW - DAY)
    c.grade("cid", "essay", 5, submitted=NOW - 9 * DAY, graded=NOW - 3 * DAY + MICROSECOND)
    # Ann: a day from the due date. Bob: a day from his late submission. Cid: too late.
    expect(c, grading_timeliness=66.67)


def test_a_promise_is_broken_a_microsecond_after_it(expect: Expect) -> None:
    c = Classroom("ann", "bob")
    c.activity("essay")
    c.work("ann", "essay", submitted=NOW - 168 * HOUR)
    c.grade("bob", "essay", 5, submitted=NOW - 2 * DAY)
    # Ann's is not overdue at the very end of the promise.
    expect(c, grading_timeliness=100.0, next_change_at=NOW + MICROSECOND)
    # Nothing else will happen but Bob's and Ann's activity running out, 14 days after each.
    expect(c, NOW + MICROSECOND, grading_timeliness=50.0, next_change_at=NOW + 7 * DAY)


def test_a_blank_given_by_a_teacher_is_graded_but_never_on_time(expect: Expect) -> None:
    c = Classroom("ann", "bob", "cid")
    c.activity("essay")
    c.work("ann", "essay", None, submitted=YESTERDAY, graded=NOW)
    c.grade("bob", "essay", 3, submitted=YESTERDAY, graded=NOW)
    c.work("cid", "essay", 3, submitted=YESTERDAY, graded=NOW + MICROSECOND)
    # Ann's is in the denominator, Bob's in both, Cid's neither graded nor overdue.
    expect(c, grading_timeliness=50.0, next_change_at=NOW + MICROSECOND)
    expect(c, NOW + MICROSECOND, grading_timeliness=66.67)


def test_what_a_machine_graded_is_left_out_of_timeliness(expect: Expect) -> None:
    c = Classroom("ann", "bob", "cid")
    c.activity("quiz")
    c.grade("ann", "quiz", 5, submitted=NOW - 2 * DAY, automatic=True)
    c.work("bob", "quiz", submitted=NOW - 8 * DAY, automatic=True)
    c.grade("cid", "quiz", 5, submitted=NOW - 30 * DAY, automatic=True)
    expect(c, grading_timeliness=None, activities_graded=1)


def test_timeliness_asks_of_the_highest_attempt_handed_in(expect: Expect) -> None:
    c = Classroom("ann", "bob", "cid")
    c.activity("essay")
    c.grade("ann", "essay", 5, submitted=NOW - 20 * DAY, graded=NOW - 2 * DAY)
    c.grade("ann", "essay", 5, attempt=2, submitted=NOW - 3 * DAY, graded=NOW - 2 * DAY)
    c.grade("ann", "essay", 5, attempt=3, graded=NOW - 2 * DAY)
    c.grade("bob", "essay", 5, submitted=NOW - 3 * DAY, graded=NOW - 2 * DAY)
    c.work("bob", "essay", attempt=2, submitted=NOW - 2 * DAY)
    c.work("cid", "essay", submitted=NOW - 20 * DAY)
    c.work("cid", "essay", attempt=2, submitted=NOW + MICROSECOND)
    # Ann's second in time (the third was never handed in), Bob's second still open, Cid's first overdue: 1 / 2.
    expect(c, grading_timeliness=50.0)
    # Now it is Cid's second, which is open too.
    expect(c, NOW + MICROSECOND, grading_timeliness=100.0)
