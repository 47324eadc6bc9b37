"""Attendance: worked out by hand, the days of clock changes too."""

from __future__ import annotations

from datetime import UTC, date, datetime

from tests.classroom import DAY, HOUR, MICROSECOND, NOW, Classroom, Expect

TODAY = NOW.date()


def test_present_and_late_are_attended(expect: Expect) -> None:
    c = Classroom("ann", "bob")
    for n, status in enumerate(("PRESENT", "PRESENT", "PRESENT", "ABSENT", "ABSENT", "LATE", "EXCUSED")):
        c.attend("ann", TODAY - n * DAY, status)
    # (3 + 1) / 7
    expect(c, present_count=3, absent_count=2, late_count=1, excused_count=1, attendance_rate=57.14)


def test_a_school_may_leave_excused_absences_out_of_the_rate(expect: Expect) -> None:
    c = Classroom("ann")
    for n, status in enumerate(("PRESENT", "PRESENT", "ABSENT", "LATE", "EXCUSED")):
        c.attend("ann", TODAY - n * DAY, status)
    expect(c, attendance_rate=60.0, excused_count=1)
    c.policy(excused_counts=False)
    # 3 / 4
    expect(c, attendance_rate=75.0, excused_count=1)


def test_excused_absences_alone_make_a_rate_only_where_they_count(expect: Expect) -> None:
    c = Classroom("ann")
    c.attend("ann", TODAY, "EXCUSED")
    expect(c, attendance_rate=0.0, excused_count=1)
    c.policy(excused_counts=False)
    expect(c, attendance_rate=None, excused_count=1)


def test_each_session_of_a_day_counts(expect: Expect) -> None:
    c = Classroom("ann", "bob")
    c.attend("ann", TODAY, "PRESENT", "1")
    c.attend("ann", TODAY, "ABSENT", "2")
    c.attend("bob", TODAY, "LATE", "1")
    expect(c, present_count=1, absent_count=1, late_count=1, attendance_rate=66.67)


def test_who_is_not_in_the_class_attends_nothing(expect: Expect) -> None:
    c = Classroom("ann")
    c.enroll("bob", ends=NOW - DAY)
    c.enroll("cid", role="TEACHER")
    for person in ("bob", "cid", "dan"):
        c.attend(person, TODAY - 5 * DAY)
    expect(c, present_count=0, attendance_rate=None)


def test_tomorrow_counts_from_midnight_on(expect: Expect) -> None:
    midnight = datetime(2024, 5, 16, tzinfo=UTC)
    c = Classroom("ann")
    c.attend("ann", TODAY)
    c.attend("ann", TODAY + DAY, "ABSENT")
    expect(c, present_count=1, absent_count=0, next_change_at=midnight)
    expect(c, midnight - MICROSECOND, absent_count=0, attendance_rate=100.0, next_change_at=midnight)
    expect(c, midnight, absent_count=1, attendance_rate=50.0, next_change_at=None)


def test_the_day_is_that_of_the_school(expect: Expect) -> None:
    c = Classroom("ann")
    c.attend("ann", TODAY + DAY)
    c.policy(time_zone="Asia/Kathmandu")
    # 5:45 ahead: its 16th of May begins at 18:15 UTC on the 15th.
    begins = datetime(2024, 5, 15, 18, 15, tzinfo=UTC)
    expect(c, begins - MICROSECOND, present_count=0, next_change_at=begins)
    expect(c, begins, present_count=1, next_change_at=None)
    c.policy(time_zone="America/New_York")
    # 4 hours behind in May.
    begins = datetime(2024, 5, 16, 4, tzinfo=UTC)
    expect(c, begins - MICROSECOND, present_count=0, next_change_at=begins)
    expect(c, begins, present_count=1, next_change_at=None)


def test_a_day_counts_that_overlaps_an_enrollment(expect: Expect) -> None:
    c = Classroom()
    midnight = datetime(2024, 5, 10, tzinfo=UTC)
    c.enroll("ann", begins=midnight + DAY - MICROSECOND)
    c.enroll("bob", begins=midnight + DAY)
    c.enroll("cid", ends=midnight + MICROSECOND)
    c.enroll("dan", ends=midnight)
    for person, status in (("ann", "PRESENT"), ("bob", "ABSENT"), ("cid", "LATE"), ("dan", "EXCUSED")):
        c.attend(person, midnight.date(), status)
        if person in ("cid", "dan"):
            c.enroll(person, begins=midnight + 2 * DAY)
    # Ann had a microsecond left of that day, Bob came at its end; Cid left a microsecond into it, Dan as it began.
    expect(c, present_count=1, absent_count=0, late_count=1, excused_count=0, attendance_rate=100.0)


def test_a_day_on_which_one_taught_is_not_attended_as_a_student(expect: Expect) -> None:
    c = Classroom()
    c.enroll("ann", ends=NOW - 5 * DAY, role="TEACHER")
    c.enroll("ann", begins=NOW - 5 * DAY)
    c.attend("ann", TODAY - 6 * DAY)
    c.attend("ann", TODAY - 4 * DAY)
    expect(c, present_count=1)


def test_one_students_days_are_not_anothers(expect: Expect) -> None:
    c = Classroom("ann")
    c.enroll("bob", begins=NOW - 2 * DAY)
    c.attend("bob", TODAY - 4 * DAY)
    c.attend("bob", TODAY - DAY, "LATE")
    c.attend("ann", TODAY - 8 * DAY, "ABSENT")
    expect(c, present_count=0, late_count=1, absent_count=1, attendance_rate=50.0)


def test_the_night_of_spring_in_london_is_an_hour_short(expect: Expect) -> None:
    c = Classroom("ann")
    c.policy(time_zone="Europe/London")
    sunday, monday = date(2024, 3, 31), date(2024, 4, 1)
    c.attend("ann", sunday)
    c.attend("ann", monday, "LATE")
    # Sunday begins at 00:00 UTC; at 01:00 the clocks go to 02:00, so Monday begins at 23:00 UTC.
    begins, ends = datetime(2024, 3, 31, tzinfo=UTC), datetime(2024, 3, 31, 23, tzinfo=UTC)
    expect(c, begins - MICROSECOND, present_count=0, late_count=0, next_change_at=begins)
    expect(c, begins, present_count=1, late_count=0, next_change_at=ends)
    expect(c, ends - MICROSECOND, present_count=1, late_count=0, next_change_at=ends)
    expect(c, ends, present_count=1, late_count=1, next_change_at=None)


def test_who_comes_in_the_missing_hour_of_london_comes_on_monday(expect: Expect) -> None:
    c = Classroom()
    c.policy(time_zone="Europe/London")
    monday = datetime(2024, 3, 31, 23, tzinfo=UTC)
    c.enroll("ann", begins=monday - MICROSECOND)
    c.enroll("bob", begins=monday)
    c.attend("ann", date(2024, 3, 31))
    c.attend("bob", date(2024, 3, 31), "ABSENT")
    expect(c, present_count=1, absent_count=0)


def test_a_skipped_midnight_is_the_first_instant_after_the_gap(expect: Expect) -> None:
    c = Classroom()
    c.policy(time_zone="Atlantic/Azores")
    # An hour behind; at 01:00 UTC on 31 March, 00:00 there, the clocks go to 01:00.
    gap = datetime(2024, 3, 31, 1, tzinfo=UTC)
    c.enroll("ann")
    c.enroll("bob", begins=gap)
    c.enroll("cid", begins=gap - MICROSECOND)
    c.attend("ann", date(2024, 3, 31))
    expect(c, gap - MICROSECOND, present_count=0, next_change_at=gap)
    expect(c, gap, present_count=1, next_change_at=gap + MICROSECOND)
    c.attend("bob", date(2024, 3, 30), "ABSENT")
    c.attend("cid", date(2024, 3, 30), "LATE")
    # The 30th ends with the gap: Cid was there for its last microsecond.
    expect(c, present_count=1, absent_count=0, late_count=1)


def test_a_doubled_midnight_is_the_earlier_one(expect: Expect) -> None:
    c = Classroom()
    c.policy(time_zone="Atlantic/Azores")
    # At 01:00 UTC on 27 October, 01:00 there, the clocks go back to 00:00: midnight was at 00:00 UTC already.
    first, second = datetime(2024, 10, 27, tzinfo=UTC), datetime(2024, 10, 27, 1, tzinfo=UTC)
    c.enroll("ann")
    c.enroll("bob", begins=first)
    c.enroll("cid", begins=first - MICROSECOND)
    c.attend("ann", first.date())
    expect(c, first - MICROSECOND, present_count=0, next_change_at=first)
    expect(c, first, present_count=1, next_change_at=first + MICROSECOND)
    expect(c, second, present_count=1, next_change_at=None)
    c.attend("bob", date(2024, 10, 26), "ABSENT")
    c.attend("cid", date(2024, 10, 26), "LATE")
    # The 26th ends with the first midnight.
    expect(c, second, present_count=1, absent_count=0, late_count=1)


def test_a_doubled_midnight_far_from_greenwich_is_the_earlier_one(expect: Expect) -> None:
    c = Classroom()
    c.policy(time_zone="America/Havana")
    # 4 hours behind; at 05:00 UTC on 3 November, 01:00 there, the clocks go back to 00:00.
    first, second = datetime(2024, 11, 3, 4, tzinfo=UTC), datetime(2024, 11, 3, 5, tzinfo=UTC)
    c.enroll("ann")
    c.enroll("bob", begins=first)
    c.attend("ann", first.date())
    c.attend("bob", date(2024, 11, 2), "ABSENT")
    expect(c, first - MICROSECOND, present_count=0, next_change_at=first)
    # Bob came as the 2nd had ended.
    expect(c, second, present_count=1, absent_count=0, next_change_at=None)


def test_the_day_after_a_doubled_midnight_is_an_ordinary_one(expect: Expect) -> None:
    c = Classroom("ann")
    c.policy(time_zone="Atlantic/Azores")
    c.attend("ann", date(2024, 10, 28))
    # An hour behind again.
    begins = datetime(2024, 10, 28, 1, tzinfo=UTC)
    expect(c, begins - MICROSECOND, present_count=0, next_change_at=begins)
    expect(c, begins, present_count=1, next_change_at=None)


def test_a_day_that_never_was_is_attended_by_nobody(expect: Expect) -> None:
    c = Classroom("ann")
    c.policy(time_zone="Pacific/Apia")
    # Samoa went from 10 hours behind on the 29th to 14 hours ahead on the 31st of December 2011, at 10:00 UTC.
    c.attend("ann", date(2011, 12, 30))
    c.attend("ann", date(2011, 12, 31), "LATE")
    begins = datetime(2011, 12, 30, 10, tzinfo=UTC)
    expect(c, begins - MICROSECOND, present_count=0, late_count=0, next_change_at=begins)
    expect(c, begins, present_count=0, late_count=1, next_change_at=None)


def test_a_doubled_hour_that_is_not_midnight_moves_no_day(expect: Expect) -> None:
    c = Classroom("ann")
    c.policy(time_zone="Europe/London")
    c.attend("ann", date(2024, 10, 28))
    # The 27th has 25 hours: at 01:00 UTC, 02:00 there, the clocks go back to 01:00.
    begins = datetime(2024, 10, 28, tzinfo=UTC)
    expect(c, begins - HOUR, present_count=0, next_change_at=begins)
    expect(c, begins, present_count=1, next_change_at=None)
