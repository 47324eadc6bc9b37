"""Points, and who is active: worked out by hand."""

from __future__ import annotations

from tests.classroom import DAY, HOUR, LONG_AGO, MICROSECOND, NOW, YESTERDAY, Classroom, Expect


def test_penalties_are_subtracted(expect: Expect) -> None:
    c = Classroom("ann", "bob")
    c.award("ann", 10)
    c.award("bob", -25)
    c.award("bob", 4)
    # -11 / 2
    expect(c, total_points=-11, average_points=-5.5)


def test_average_points_are_rounded_half_away_from_zero(expect: Expect) -> None:
    c = Classroom("ann", "bob", "cid", "dan", "eve", "fay", "gus", "hal")
    c.award("ann", 1)
    # 1 / 8 = 0.125
    expect(c, total_points=1, average_points=0.13)
    c.award("bob", -2)
    expect(c, total_points=-1, average_points=-0.13)


def test_no_points_are_zero_points(expect: Expect) -> None:
    expect(Classroom("ann"), total_points=0, average_points=0.0)
    expect(Classroom(), total_points=0, average_points=None)


def test_an_award_counts_from_the_instant_it_is_given_until_it_is_revoked(expect: Expect) -> None:
    c = Classroom("ann")
    c.award("ann", 1, at=NOW)
    c.award("ann", 10, at=NOW + MICROSECOND)
    c.award("ann", 100, revoked=NOW)
    c.award("ann", 1000, revoked=NOW + MICROSECOND)
    c.award("ann", 10_000, at=NOW + DAY, revoked=NOW + DAY)
    expect(c, total_points=1001, next_change_at=NOW + MICROSECOND)
    # A microsecond later 10 more, 1000 less.
    expect(c, NOW + MICROSECOND, total_points=11, next_change_at=NOW + DAY)
    # The last is revoked as it is given: nothing is left but the ends of the active window.
    expect(c, NOW + DAY, total_points=11, next_change_at=NOW + 14 * DAY + MICROSECOND)


def test_more_points_than_32_bits_hold_are_served_as_the_most_they_hold(expect: Expect) -> None:
    c = Classroom("ann", "bob")
    c.award("ann", 2**31 - 1)
    expect(c, total_points=2147483647, average_points=1073741823.5)
    c.award("ann", 1)
    # 2^31 / 2
    expect(c, total_points=2147483647, average_points=1073741824.0)
    c.award("bob", 2**31 - 1)
    # (2^32 - 1) / 2: the mean is of the true sum.
    expect(c, total_points=2147483647, average_points=2147483647.5)


def test_fewer_points_than_32_bits_hold_are_served_as_the_least_they_hold(expect: Expect) -> None:
    c = Classroom("ann", "bob")
    c.award("ann", -(2**31) + 1)
    expect(c, total_points=-2147483647)
    c.award("ann", -1)
    expect(c, total_points=-2147483648, average_points=-1073741824.0)
    c.award("bob", -1)
    expect(c, total_points=-2147483648, average_points=-1073741824.5)


def test_a_penalty_makes_nobody_active(expect: Expect) -> None:
    c = Classroom("ann", "bob", "cid", "dan")
    c.award("ann", -5)
    c.award("bob", 0)
    c.award("cid", 1)
    expect(c, active_students=1, participation_rate=25.0)


def test_an_award_revoked_by_now_makes_nobody_active(expect: Expect) -> None:
    c = Classroom("ann", "bob")
    c.award("ann", 5, revoked=NOW)
    c.award("bob", 5, revoked=NOW + MICROSECOND)
    expect(c, active_students=1, next_change_at=NOW + MICROSECOND)
    expect(c, NOW + MICROSECOND, active_students=0, next_change_at=None)


def test_the_active_window_is_open_at_its_begin_and_closed_at_its_end(expect: Expect) -> None:
    c = Classroom("ann", "bob", "cid", "dan", "eve", "fay")
    c.activity("essay")
    c.award("ann", 5, at=NOW - 14 * DAY)
    c.award("bob", 5, at=NOW - 14 * DAY + MICROSECOND)
    c.award("cid", 5, at=NOW)
    c.work("dan", "essay", submitted=NOW - 14 * DAY)
    c.work("eve", "essay", submitted=NOW - 14 * DAY + MICROSECOND)
    c.work("fay", "essay", submitted=NOW)
    # Not Ann and Dan; in a microsecond not Bob and Eve either.
    expect(c, active_students=4, participation_rate=66.67, next_change_at=NOW + MICROSECOND)
    expect(c, NOW + MICROSECOND, active_students=2, participation_rate=33.33)
    expect(c, NOW - MICROSECOND, active_students=4, participation_rate=66.67, next_change_at=NOW)


def test_the_active_window_is_the_schools_and_ends_with_the_class(expect: Expect) -> None:
    end = NOW - DAY
    c = Classroom("ann", "bob", "cid", ends=end)
    c.policy(active_days=1)
    c.award("ann", 5, at=end)
    c.award("bob", 5, at=end - DAY)
    c.award("cid", 5, at=end + MICROSECOND)
    # In (end - 1 day, end] Ann alone.
    expect(c, active_students=1, participation_rate=33.33, total_points=15, next_change_at=None)
    # Before the end it is Bob until a day after his award, and Ann from hers.
    expect(c, end - MICROSECOND, active_students=1, next_change_at=end)


def test_who_did_several_things_is_one_active_student(expect: Expect) -> None:
    c = Classroom("ann", "bob")
    c.activity("essay")
    c.work("ann", "essay", submitted=NOW - 2 * DAY)
    c.work("ann", "essay", attempt=2, submitted=NOW - HOUR)
    c.award("ann", 1)
    c.award("ann", 2)
    c.award("ann", -9)
    expect(c, active_students=1, participation_rate=50.0, total_points=-6)


def test_work_at_what_is_not_an_activity_now_makes_nobody_active(expect: Expect) -> None:
    c = Classroom("ann", "bob", "cid")
    c.activity("essay", deleted=NOW)
    c.activity("test", published=NOW + MICROSECOND)
    c.work("ann", "essay", submitted=YESTERDAY)
    c.work("bob", "test", submitted=YESTERDAY)
    expect(c, active_students=0, activities_created=0, next_change_at=NOW + MICROSECOND)
    expect(c, NOW + MICROSECOND, active_students=1, activities_created=1)


def test_excused_work_makes_active_all_the_same(expect: Expect) -> None:
    c = Classroom("ann")
    c.activity("essay", due=YESTERDAY)
    c.work("ann", "essay", submitted=YESTERDAY)
    c.excuse("ann", "essay")
    expect(c, active_students=1, completion_rate=None, submission_rate=None)


def test_being_graded_makes_nobody_active(expect: Expect) -> None:
    c = Classroom("ann")
    c.activity("essay", published=LONG_AGO)
    c.grade("ann", "essay", 10)
    expect(c, active_students=0, average_grade=100.0)


def test_activities_are_counted_from_publication_to_deletion(expect: Expect) -> None:
    c = Classroom()
    c.activity("essay", published=NOW)
    c.activity("quiz", published=NOW, deleted=NOW + HOUR)
    c.activity("report", published=NOW + 2 * HOUR)
    c.activity("test", published=None, due=NOW + HOUR)
    expect(c, NOW - MICROSECOND, activities_created=0, next_change_at=NOW)
    expect(c, NOW, activities_created=2, next_change_at=NOW + HOUR)
    expect(c, NOW + HOUR, activities_created=1, next_change_at=NOW + 2 * HOUR)
    expect(c, NOW + 2 * HOUR, activities_created=2, next_change_at=None)
