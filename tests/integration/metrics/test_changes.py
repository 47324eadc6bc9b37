"""When the numbers could differ next though nothing is written: worked out by hand."""

from __future__ import annotations

from tests.classroom import DAY, HOUR, LONG_AGO, MICROSECOND, NOW, Classroom, Expect


def test_where_nothing_is_to_come_nothing_changes(expect: Expect) -> None:
    c = Classroom("ann")
    c.activity("essay", due=LONG_AGO)
    c.grade("ann", "essay", 5, submitted=LONG_AGO, graded=LONG_AGO)
    c.attend("ann", NOW.date())
    c.award("ann", 3, at=LONG_AGO)
    c.award("ann", 3, at=LONG_AGO, revoked=LONG_AGO + DAY)
    # The last was that the essay left the second window of 30 days, 60 days after it was due.
    expect(c, next_change_at=None)
    expect(c, LONG_AGO + 59 * DAY, next_change_at=LONG_AGO + 60 * DAY)


def test_an_enrollment_begins_and_ends_a_microsecond_later(expect: Expect) -> None:
    c = Classroom()
    c.enroll("ann", begins=NOW + DAY, ends=NOW + 2 * DAY)
    expect(c, next_change_at=NOW + DAY + MICROSECOND)
    expect(c, NOW + DAY, next_change_at=NOW + DAY + MICROSECOND)
    expect(c, NOW + DAY + MICROSECOND, participation_rate=0.0, next_change_at=NOW + 2 * DAY + MICROSECOND)
    expect(c, NOW + 2 * DAY + MICROSECOND, participation_rate=None, next_change_at=None)


def test_an_activity_is_published_falls_due_leaves_two_windows_and_is_deleted(expect: Expect) -> None:
    c = Classroom("ann")
    c.activity("essay", published=NOW + DAY, due=NOW + 2 * DAY, deleted=NOW + 90 * DAY)
    following = [NOW + n * DAY for n in (1, 2, 32, 62, 90)]
    for at, then in zip([NOW, *following], [*following, None], strict=True):
        expect(c, at, next_change_at=then)
        expect(c, at + MICROSECOND, next_change_at=then)


def test_an_activity_that_is_never_published_or_deleted_by_now_wakes_nobody(expect: Expect) -> None:
    c = Classroom("ann")
    c.activity("essay", published=None, due=NOW + DAY, deleted=NOW + 2 * DAY)
    c.activity("test", due=NOW + DAY, deleted=NOW)
    c.activity("quiz", due=NOW + DAY, published=NOW + 3 * DAY, deleted=NOW - DAY)
    c.work("ann", "essay", submitted=NOW + DAY)
    c.work("ann", "test", submitted=NOW + DAY)
    expect(c, next_change_at=None)


def test_work_is_handed_in_and_graded_and_a_window_later_is_not_recent(expect: Expect) -> None:
    c = Classroom("ann")
    c.activity("essay")
    c.work("ann", "essay", 5, submitted=NOW + DAY, graded=NOW + 3 * DAY)
    expect(c, next_change_at=NOW + DAY)
    expect(c, NOW + DAY, active_students=1, next_change_at=NOW + 3 * DAY)
    # The grade came within the promise, so that no more is to be expected of it.
    expect(c, NOW + 3 * DAY, activities_graded=1, next_change_at=NOW + 15 * DAY)
    expect(c, NOW + 15 * DAY, active_students=0, next_change_at=None)


def test_a_promise_breaks_a_microsecond_after_it_unless_it_is_kept(expect: Expect) -> None:
    c = Classroom("ann", "bob", "cid", "dan")
    c.policy(active_days=1)
    c.activity("essay", due=NOW)
    c.work("ann", "essay", submitted=NOW - 5 * DAY)
    c.work("bob", "essay", 5, submitted=NOW - 5 * DAY, graded=NOW + 169 * HOUR)
    c.work("cid", "essay", 5, submitted=NOW - 5 * DAY, graded=NOW - 4 * DAY)
    broken = NOW + 168 * HOUR + MICROSECOND
    expect(c, grading_timeliness=100.0, next_change_at=broken)
    expect(c, broken - MICROSECOND, grading_timeliness=100.0, next_change_at=broken)
    # Ann's and Bob's are overdue; an hour later Bob's is graded. Then the essay leaves its windows.
    expect(c, broken, grading_timeliness=33.33, next_change_at=NOW + 169 * HOUR)
    expect(c, NOW + 169 * HOUR, grading_timeliness=33.33, next_change_at=NOW + 30 * DAY)


def test_a_promise_kept_at_its_very_end_is_never_broken(expect: Expect) -> None:
    c = Classroom("ann")
    c.policy(active_days=1)
    c.activity("essay")
    c.work("ann", "essay", 5, submitted=NOW - 2 * DAY, graded=NOW + 5 * DAY)
    expect(c, next_change_at=NOW + 5 * DAY)
    expect(c, NOW + 5 * DAY, grading_timeliness=100.0, next_change_at=None)


def test_a_machine_promises_nothing(expect: Expect) -> None:
    c = Classroom("ann")
    c.policy(active_days=1)
    c.activity("quiz")
    c.work("ann", "quiz", submitted=NOW - 2 * DAY, automatic=True)
    expect(c, grading_timeliness=None, next_change_at=None)


def test_the_promise_of_work_not_handed_in_yet_is_counted_from_then(expect: Expect) -> None:
    c = Classroom("ann")
    c.activity("essay", due=NOW - 70 * DAY)
    c.work("ann", "essay", submitted=NOW + DAY)
    expect(c, next_change_at=NOW + DAY)
    expect(c, NOW + DAY, next_change_at=NOW + DAY + 168 * HOUR + MICROSECOND)


def test_points_are_given_revoked_and_a_window_later_not_recent(expect: Expect) -> None:
    c = Classroom("ann")
    c.award("ann", 5, at=NOW + DAY, revoked=NOW + 3 * DAY)
    c.award("ann", 2, at=NOW + 2 * DAY)
    c.award("ann", -2, at=NOW + 20 * DAY)
    c.award("ann", -2, at=NOW - DAY, revoked=NOW + 30 * DAY)
    following = [NOW + n * DAY for n in (1, 2, 3, 16, 20, 30)]
    for at, then in zip([NOW, *following], [*following, None], strict=True):
        expect(c, at, next_change_at=then)


def test_an_award_revoked_before_it_is_given_wakes_nobody(expect: Expect) -> None:
    c = Classroom("ann")
    c.award("ann", 5, at=NOW + DAY, revoked=NOW)
    expect(c, next_change_at=None)
    expect(c, NOW - MICROSECOND, next_change_at=NOW)


def test_only_the_last_sign_of_a_student_leaves_the_active_window(expect: Expect) -> None:
    c = Classroom("ann", "bob")
    c.award("ann", 5, at=NOW - 10 * DAY)
    c.award("ann", 5, at=NOW - 3 * DAY)
    c.award("bob", 5, at=NOW - 5 * DAY)
    # Bob's 14 days end first, for Ann has been active since.
    expect(c, active_students=2, next_change_at=NOW + 9 * DAY)
    expect(c, NOW + 9 * DAY, active_students=1, next_change_at=NOW + 11 * DAY)
    expect(c, NOW + 11 * DAY, active_students=0, next_change_at=None)


def test_what_belongs_to_nobody_in_the_class_wakes_nobody(expect: Expect) -> None:
    c = Classroom("ann")
    c.enroll("cid", ends=NOW - DAY)
    c.activity("essay")
    for person in ("bob", "cid"):
        c.work(person, "essay", 5, submitted=NOW - HOUR, graded=NOW + DAY)
        c.award(person, 5, at=NOW + DAY)
        c.attend(person, (NOW + 2 * DAY).date())
    expect(c, next_change_at=None)


def test_a_day_wakes_only_whom_it_counts_for(expect: Expect) -> None:
    c = Classroom()
    c.enroll("ann", ends=NOW + DAY)
    c.attend("ann", (NOW + 3 * DAY).date())
    # She will be gone by then.
    expect(c, next_change_at=NOW + DAY + MICROSECOND)
    expect(c, NOW + DAY + MICROSECOND, next_change_at=None)


def test_after_the_end_windows_and_membership_stand_still(expect: Expect) -> None:
    end = NOW + DAY
    c = Classroom("ann", ends=end)
    c.enroll("bob", ends=end)
    c.activity("essay", due=end - 30 * DAY)
    c.activity("test", due=end - 60 * DAY)
    c.award("ann", 5, at=end - 14 * DAY)
    # At the end itself the windows slide a last time: the essay becomes earlier, the test leaves, Ann is not active.
    expect(c, active_students=1, next_change_at=end)
    expect(c, end, active_students=0, participation_rate=0.0, next_change_at=None)


def test_what_would_slide_a_microsecond_after_the_end_does_not(expect: Expect) -> None:
    end = NOW + DAY
    c = Classroom("ann", ends=end)
    c.enroll("bob", ends=end)
    c.activity("essay", due=end - 30 * DAY + MICROSECOND)
    c.award("ann", 5, at=end - 14 * DAY + MICROSECOND)
    expect(c, active_students=1, participation_rate=50.0, next_change_at=None)
    expect(c, end + DAY, active_students=1, participation_rate=50.0, next_change_at=None)


def test_an_activity_deleted_after_the_end_wakes_nobody(expect: Expect) -> None:
    c = Classroom("ann", ends=NOW - 5 * DAY)
    c.activity("essay", due=NOW + DAY, deleted=NOW - DAY)
    expect(c, activities_created=0, next_change_at=None)
    expect(c, NOW - 2 * DAY, activities_created=1, next_change_at=NOW - DAY)


def test_facts_after_the_end_still_change_the_numbers(expect: Expect) -> None:
    end = NOW - 50 * DAY
    c = Classroom("ann", ends=end)
    c.activity("essay", published=NOW + DAY, due=NOW + 2 * DAY, deleted=NOW + 8 * DAY)
    c.work("ann", "essay", 5, submitted=NOW + 3 * DAY, graded=NOW + 4 * DAY)
    c.attend("ann", (NOW + 5 * DAY).date())
    c.award("ann", 5, at=NOW + 6 * DAY, revoked=NOW + 7 * DAY)
    midnight = (NOW + 5 * DAY).replace(hour=0)
    following = [*(NOW + n * DAY for n in (1, 2, 3, 4)), midnight, NOW + 6 * DAY, NOW + 7 * DAY, NOW + 8 * DAY]
    for at, then in zip([NOW, *following], [*following, None], strict=True):
        expect(c, at, next_change_at=then)
