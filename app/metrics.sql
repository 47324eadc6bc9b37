-- Every metric of any set of classes, at one instant T, in one statement.
--
-- :class_ids text[], :at timestamptz (T). One row for each class that exists. docs/metrics.md says what each number means.
-- T* is the earlier of T and the class's end: membership and sliding windows are taken at T*, everything else at T.
--
-- Every table is narrowed by :class_ids itself, so that its own key finds the rows: what follows then joins by hash, for
-- no plan can foresee how many rows a class has (performance.PLAN turns nested loops off; one wrong guess cost minutes).

WITH
-- The classes, with the policy of their school. A window of n days is n * 24 hours, whatever the clocks did.
classes AS MATERIALIZED (
    SELECT
        c.id AS class_id,
        c.weighted,
        c.ends,
        t.at,
        least(t.at, c.ends) AS at_star,
        s.time_zone,
        s.pass_mark,
        s.excused_counts,
        s.feedback_hours,
        s.active_days,
        s.improvement_days,
        make_interval(hours => s.feedback_hours) AS promise,
        make_interval(hours => 24 * s.active_days) AS active,
        make_interval(hours => 24 * s.improvement_days) AS improvement
    FROM (SELECT CAST(:at AS timestamptz) AS at) AS t
    JOIN class AS c ON c.id = ANY (CAST(:class_ids AS text[]))
    JOIN school AS s ON s.id = c.school_id
),

-- Who belonged to a class, when: half open, a missing bound is none. An enrollment that ends as it begins never was.
periods AS MATERIALIZED (
    SELECT c.class_id, e.person_id, e.role, p.begins, p.ends
    FROM classes AS c
    JOIN enrollment AS e ON e.class_id = c.class_id AND e.class_id = ANY (CAST(:class_ids AS text[]))
    CROSS JOIN LATERAL (
        SELECT coalesce(e.begins, '-infinity') AS begins, coalesce(e.ends, 'infinity') AS ends
    ) AS p
    WHERE p.begins < p.ends
),

-- E: enrolled as students just before T*, and not teaching the class then. `joined`: when first enrolled as a student.
students AS MATERIALIZED (
    SELECT
        p.class_id,
        p.person_id AS student_id,
        min(p.begins) FILTER (WHERE p.role = 'STUDENT') AS joined
    FROM periods AS p
    JOIN classes AS c ON c.class_id = p.class_id
    GROUP BY p.class_id, p.person_id
    HAVING bool_or(p.role = 'STUDENT' AND p.begins < c.at_star AND p.ends >= c.at_star)
       AND NOT bool_or(p.role = 'TEACHER' AND p.begins < c.at_star AND p.ends >= c.at_star)
),

-- A: published and not deleted at T. `weight` is that of the part of the grade that the activity belongs to: the category
-- in a weighted class (none without a category), the whole in any other.
activities AS MATERIALIZED (
    SELECT
        a.class_id,
        a.id AS activity_id,
        a.due_at,
        a.expects_submission,
        a.max_points,
        a.counts_toward_grade AND a.max_points > 0 AS counts,
        CASE WHEN c.weighted THEN a.category_id ELSE '' END AS part,
        CASE WHEN c.weighted THEN k.weight ELSE 1 END AS weight,
        a.due_at > c.at_star - c.improvement AND a.due_at <= c.at_star AS recent,
        a.due_at > c.at_star - 2 * c.improvement AND a.due_at <= c.at_star - c.improvement AS earlier
    FROM classes AS c
    JOIN activity AS a ON a.class_id = c.class_id AND a.class_id = ANY (CAST(:class_ids AS text[]))
    LEFT JOIN (SELECT * FROM category WHERE class_id = ANY (CAST(:class_ids AS text[]))) AS k ON k.class_id = a.class_id AND k.id = a.category_id
    WHERE a.published_at <= c.at
      AND (a.deleted_at IS NULL OR a.deleted_at > c.at)
),

-- Every attempt of E at A.
attempts AS MATERIALIZED (
    SELECT
        b.class_id,
        b.activity_id,
        b.student_id,
        b.attempt,
        c.at,
        b.submitted_at,
        b.score,
        b.graded_at,
        b.graded_automatically,
        btrim(b.feedback, blanks.all) <> '' AS has_feedback,
        greatest(b.submitted_at, a.due_at) + c.promise AS promised_by
    FROM classes AS c
    JOIN submission AS b ON b.class_id = c.class_id AND b.class_id = ANY (CAST(:class_ids AS text[]))
    JOIN activities AS a ON a.class_id = b.class_id AND a.activity_id = b.activity_id
    JOIN students AS s ON s.class_id = b.class_id AND s.student_id = b.student_id
    -- Unicode's white space, written out: what a character class matches depends on the locale of the database.
    CROSS JOIN (
        SELECT E' \t\n\x0B\f\r\x1C\x1D\x1E\x1F\u0085\u00A0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008'
            '\u2009\u200A\u2028\u2029\u202F\u205F\u3000' AS all
    ) AS blanks
),

-- Which attempt of a pair counts: for the grade the highest with a score (a blank is not a zero; a zero is a score), for the
-- judgement of grading the highest that is submitted.
ranked AS (
    SELECT
        b.*,
        max(b.attempt) FILTER (WHERE b.score IS NOT NULL AND b.graded_at <= b.at) OVER pair AS graded_attempt,
        max(b.attempt) FILTER (WHERE b.submitted_at <= b.at) OVER pair AS submitted_attempt
    FROM attempts AS b
    WINDOW pair AS (PARTITION BY b.class_id, b.activity_id, b.student_id)
),

works AS (
    SELECT
        b.class_id,
        b.activity_id,
        b.student_id,
        max(b.score) FILTER (WHERE b.attempt = b.graded_attempt) AS score,
        bool_or(b.has_feedback) FILTER (WHERE b.attempt = b.graded_attempt) AS has_feedback,
        bool_or(b.attempt = b.submitted_attempt) AS is_submitted,
        bool_or(b.graded_at <= b.at) FILTER (WHERE b.attempt = b.submitted_attempt AND NOT b.graded_automatically)
            AS is_graded,
        bool_or(b.graded_at <= b.at AND b.score IS NOT NULL AND b.graded_at <= b.promised_by)
            FILTER (WHERE b.attempt = b.submitted_attempt AND NOT b.graded_automatically) AS is_on_time,
        bool_or((b.graded_at <= b.at) IS NOT TRUE AND b.at > b.promised_by)
            FILTER (WHERE b.attempt = b.submitted_attempt AND NOT b.graded_automatically) AS is_overdue
    FROM ranked AS b
    GROUP BY b.class_id, b.activity_id, b.student_id
),

-- X: a student of E with an activity of A, unless excused, whether there is work or not. `owed` is D: who joins in March
-- does not owe September's work, unless it was done all the same.
pairs AS MATERIALIZED (
    SELECT
        s.class_id,
        s.student_id,
        a.activity_id,
        a.expects_submission,
        a.part,
        a.weight,
        a.max_points,
        a.counts,
        a.recent,
        a.earlier,
        w.score,
        w.has_feedback,
        w.is_submitted,
        w.is_graded,
        w.is_on_time,
        w.is_overdue,
        a.due_at <= c.at AND (s.joined <= a.due_at OR w.is_submitted OR w.score IS NOT NULL) AS owed
    FROM classes AS c
    JOIN students AS s ON s.class_id = c.class_id
    JOIN activities AS a ON a.class_id = c.class_id
    LEFT JOIN (SELECT * FROM excusal WHERE class_id = ANY (CAST(:class_ids AS text[]))) AS x
        ON x.class_id = s.class_id AND x.activity_id = a.activity_id AND x.student_id = s.student_id AND x.excused
    LEFT JOIN works AS w
        ON w.class_id = s.class_id AND w.activity_id = a.activity_id AND w.student_id = s.student_id
    WHERE x.student_id IS NULL
),

-- What a student reached in each part of the grade, over C: graded, and counting.
parts AS (
    SELECT class_id, student_id, part, weight, sum(score) / sum(max_points) AS reached
    FROM pairs
    WHERE score IS NOT NULL
      AND counts
      AND weight IS NOT NULL
    GROUP BY class_id, student_id, part, weight
),

-- g(s): rounded before it is compared, so that a grade of exactly the pass mark passes.
grades AS (
    SELECT class_id, student_id, round(100 * sum(weight * reached) / nullif(sum(weight), 0), 10) AS grade
    FROM parts
    GROUP BY class_id, student_id
),

grade_numbers AS (
    SELECT
        g.class_id,
        sum(g.grade) AS total,
        count(g.grade) AS students,
        count(*) FILTER (WHERE g.grade >= c.pass_mark) AS passing,
        max(g.grade) AS highest,
        min(g.grade) AS lowest
    FROM grades AS g
    JOIN classes AS c ON c.class_id = g.class_id
    GROUP BY g.class_id
),

-- By due date, so that slow grading does not look like decline.
changes_of_students AS (
    SELECT
        class_id,
        100 * sum(score) FILTER (WHERE recent) / sum(max_points) FILTER (WHERE recent)
        - 100 * sum(score) FILTER (WHERE earlier) / sum(max_points) FILTER (WHERE earlier) AS change
    FROM pairs
    WHERE score IS NOT NULL
      AND counts
    GROUP BY class_id, student_id
),

improvement_numbers AS (
    SELECT class_id, sum(change) AS total, count(change) AS students
    FROM changes_of_students
    GROUP BY class_id
),

-- Done: submitted, or graded above zero; a zero entered for work never handed in is not done.
work_numbers AS (
    SELECT
        class_id,
        count(*) FILTER (WHERE owed) AS owed,
        count(*) FILTER (WHERE owed AND (is_submitted OR score > 0)) AS done,
        count(*) FILTER (WHERE owed AND expects_submission) AS submissions_owed,
        count(*) FILTER (WHERE owed AND expects_submission AND is_submitted) AS submissions,
        count(score) AS graded,
        count(*) FILTER (WHERE has_feedback) AS with_feedback,
        count(DISTINCT activity_id) FILTER (WHERE score IS NOT NULL) AS activities_graded,
        count(*) FILTER (WHERE expects_submission AND (is_graded OR is_overdue)) AS promises,
        count(*) FILTER (WHERE expects_submission AND is_on_time) AS promises_kept
    FROM pairs
    GROUP BY class_id
),

-- The days with attendance, from local midnight to local midnight. A midnight that occurs twice is the earlier one: where
-- the offset of the day before gives an instant with the same local time, that is it.
session_days AS MATERIALIZED (
    SELECT d.class_id, d.session_date, starts.at AS starts_at, ends.at AS ends_at
    FROM (
        SELECT DISTINCT r.class_id, r.session_date, c.time_zone AS zone
        FROM classes AS c
        JOIN attendance AS r ON r.class_id = c.class_id AND r.class_id = ANY (CAST(:class_ids AS text[]))
    ) AS d
    CROSS JOIN LATERAL (
        SELECT d.session_date::timestamp AS midnight, (d.session_date + 1)::timestamp AS next_midnight
    ) AS local
    CROSS JOIN LATERAL (
        SELECT
            midnight AT TIME ZONE d.zone AS at,
            (midnight - interval '1 day') AT TIME ZONE d.zone + interval '1 day' AS by_old_offset
    ) AS s
    CROSS JOIN LATERAL (
        SELECT
            next_midnight AT TIME ZONE d.zone AS at,
            (next_midnight - interval '1 day') AT TIME ZONE d.zone + interval '1 day' AS by_old_offset
    ) AS e
    CROSS JOIN LATERAL (
        SELECT CASE WHEN s.by_old_offset AT TIME ZONE d.zone = local.midnight THEN s.by_old_offset ELSE s.at END AS at
    ) AS starts
    CROSS JOIN LATERAL (
        SELECT CASE WHEN e.by_old_offset AT TIME ZONE d.zone = local.next_midnight THEN e.by_old_offset ELSE e.at END AS at
    ) AS ends
),

-- Attendance of E on days on which the student was enrolled.
attended AS MATERIALIZED (
    SELECT r.class_id, r.status, d.starts_at
    FROM (SELECT * FROM attendance WHERE class_id = ANY (CAST(:class_ids AS text[]))) AS r
    JOIN session_days AS d ON d.class_id = r.class_id AND d.session_date = r.session_date
    JOIN students AS s ON s.class_id = r.class_id AND s.student_id = r.student_id
    WHERE EXISTS (
        SELECT FROM periods AS p
        WHERE p.class_id = r.class_id
          AND p.person_id = r.student_id
          AND p.role = 'STUDENT'
          AND greatest(p.begins, d.starts_at) < least(p.ends, d.ends_at)
    )
),

attendance_numbers AS (
    SELECT
        r.class_id,
        count(*) FILTER (WHERE r.status = 'PRESENT') AS present,
        count(*) FILTER (WHERE r.status = 'ABSENT') AS absent,
        count(*) FILTER (WHERE r.status = 'LATE') AS late,
        count(*) FILTER (WHERE r.status = 'EXCUSED') AS excused,
        count(*) FILTER (WHERE r.status <> 'EXCUSED' OR c.excused_counts) AS counted
    FROM attended AS r
    JOIN classes AS c ON c.class_id = r.class_id
    WHERE r.starts_at <= c.at
    GROUP BY r.class_id
),

awards AS MATERIALIZED (
    SELECT
        w.class_id,
        w.student_id,
        w.points,
        w.awarded_at,
        w.revoked_at,
        coalesce(w.revoked_at <= c.at, false) AS is_revoked
    FROM classes AS c
    JOIN points_award AS w ON w.class_id = c.class_id AND w.class_id = ANY (CAST(:class_ids AS text[]))
    JOIN students AS s ON s.class_id = w.class_id AND s.student_id = w.student_id
),

points_numbers AS (
    SELECT w.class_id, sum(w.points) AS total
    FROM awards AS w
    JOIN classes AS c ON c.class_id = w.class_id
    WHERE w.awarded_at <= c.at
      AND NOT w.is_revoked
    GROUP BY w.class_id
),

-- When a student was last active up to T*, by handing in or by earning points; a penalty is not activity.
last_active AS (
    SELECT done.class_id, done.student_id, max(done.at) AS at
    FROM (
        SELECT class_id, student_id, submitted_at AS at FROM attempts
        UNION ALL
        SELECT class_id, student_id, awarded_at FROM awards WHERE points > 0 AND NOT is_revoked
    ) AS done
    JOIN classes AS c ON c.class_id = done.class_id
    WHERE done.at <= c.at_star
    GROUP BY done.class_id, done.student_id
),

active_numbers AS (
    SELECT l.class_id, count(*) AS students
    FROM last_active AS l
    JOIN classes AS c ON c.class_id = l.class_id
    WHERE l.at > c.at_star - c.active
    GROUP BY l.class_id
),

student_numbers AS (
    SELECT class_id, count(*) AS students FROM students GROUP BY class_id
),

activity_numbers AS (
    SELECT class_id, count(*) AS activities FROM activities GROUP BY class_id
),

-- The instants at which time alone may change a number. What compares with < or > changes one microsecond later, and what
-- is felt at T* is felt no more once the class has ended. Until the first of them E, A and all else stay as they are, so
-- only what belongs to them now is asked.
instants AS (
    SELECT a.class_id, i.at, i.felt_at_t_star
    FROM classes AS c
    JOIN activity AS a ON a.class_id = c.class_id AND a.class_id = ANY (CAST(:class_ids AS text[]))
    CROSS JOIN LATERAL (
        VALUES
            (a.published_at, false),
            (a.deleted_at, false),
            (a.due_at, false),
            (a.due_at + c.improvement, true),
            (a.due_at + 2 * c.improvement, true)
    ) AS i (at, felt_at_t_star)
    WHERE a.published_at IS NOT NULL
      AND (a.deleted_at IS NULL OR a.deleted_at > c.at)
    UNION ALL
    SELECT p.class_id, i.at, true
    FROM periods AS p
    CROSS JOIN LATERAL (VALUES (p.begins), (p.ends)) AS bound (at)
    CROSS JOIN LATERAL (SELECT bound.at + interval '1 microsecond' AS at) AS i
    UNION ALL
    SELECT b.class_id, i.at, false
    FROM attempts AS b
    CROSS JOIN LATERAL (
        VALUES
            (b.submitted_at),
            (b.graded_at),
            (CASE
                WHEN NOT b.graded_automatically AND (b.graded_at <= b.promised_by) IS NOT TRUE
                    THEN b.promised_by + interval '1 microsecond'
            END)
    ) AS i (at)
    UNION ALL
    SELECT w.class_id, i.at, false
    FROM awards AS w
    CROSS JOIN LATERAL (VALUES (w.awarded_at), (w.revoked_at)) AS i (at)
    WHERE NOT w.is_revoked
    UNION ALL
    SELECT l.class_id, l.at + c.active, true
    FROM last_active AS l
    JOIN classes AS c ON c.class_id = l.class_id
    UNION ALL
    SELECT r.class_id, r.starts_at, false
    FROM attended AS r
),

next_changes AS (
    SELECT i.class_id, min(i.at) AS at
    FROM instants AS i
    JOIN classes AS c ON c.class_id = i.class_id
    WHERE i.at > c.at
      AND i.at < 'infinity'
      AND (NOT i.felt_at_t_star OR c.ends IS NULL OR i.at <= c.ends)
    GROUP BY i.class_id
),

-- The numerator and denominator of every rate.
fractions AS MATERIALIZED (
    SELECT
        c.class_id,
        coalesce(e.students, 0) AS students,
        g.total AS grade_total,
        coalesce(g.students, 0) AS graded_students,
        coalesce(g.passing, 0) AS passing,
        g.highest,
        g.lowest,
        coalesce(r.present, 0) AS present,
        coalesce(r.absent, 0) AS absent,
        coalesce(r.late, 0) AS late,
        coalesce(r.excused, 0) AS excused,
        coalesce(r.counted, 0) AS counted,
        coalesce(v.students, 0) AS active_students,
        coalesce(w.done, 0) AS done,
        coalesce(w.owed, 0) AS owed,
        coalesce(w.submissions, 0) AS submissions,
        coalesce(w.submissions_owed, 0) AS submissions_owed,
        coalesce(a.activities, 0) AS activities,
        coalesce(w.activities_graded, 0) AS activities_graded,
        coalesce(o.total, 0) AS points,
        i.total AS improvement_total,
        coalesce(i.students, 0) AS improving_students,
        coalesce(w.with_feedback, 0) AS with_feedback,
        coalesce(w.graded, 0) AS graded,
        coalesce(w.promises_kept, 0) AS promises_kept,
        coalesce(w.promises, 0) AS promises
    FROM classes AS c
    LEFT JOIN student_numbers AS e ON e.class_id = c.class_id
    LEFT JOIN grade_numbers AS g ON g.class_id = c.class_id
    LEFT JOIN attendance_numbers AS r ON r.class_id = c.class_id
    LEFT JOIN active_numbers AS v ON v.class_id = c.class_id
    LEFT JOIN work_numbers AS w ON w.class_id = c.class_id
    LEFT JOIN activity_numbers AS a ON a.class_id = c.class_id
    LEFT JOIN points_numbers AS o ON o.class_id = c.class_id
    LEFT JOIN improvement_numbers AS i ON i.class_id = c.class_id
)

SELECT
    f.class_id,
    round(f.grade_total / nullif(f.graded_students, 0), 2)::float8 AS average_grade,
    round(100.0 * f.passing / nullif(f.graded_students, 0), 2)::float8 AS passing_rate,
    round(f.highest, 2)::float8 AS highest_grade,
    round(f.lowest, 2)::float8 AS lowest_grade,
    round(100.0 * (f.present + f.late) / nullif(f.counted, 0), 2)::float8 AS attendance_rate,
    f.present::int AS present_count,
    f.absent::int AS absent_count,
    f.late::int AS late_count,
    f.excused::int AS excused_count,
    round(100.0 * f.active_students / nullif(f.students, 0), 2)::float8 AS participation_rate,
    f.active_students::int AS active_students,
    round(100.0 * f.done / nullif(f.owed, 0), 2)::float8 AS completion_rate,
    round(100.0 * f.submissions / nullif(f.submissions_owed, 0), 2)::float8 AS submission_rate,
    f.activities::int AS activities_created,
    f.activities_graded::int AS activities_graded,
    greatest(least(f.points, 2147483647), -2147483648)::int AS total_points,
    round(f.points::numeric / nullif(f.students, 0), 2)::float8 AS average_points,
    round(f.improvement_total / nullif(f.improving_students, 0), 2)::float8 AS grade_improvement,
    round(100.0 * f.with_feedback / nullif(f.graded, 0), 2)::float8 AS teacher_feedback_rate,
    round(100.0 * f.promises_kept / nullif(f.promises, 0), 2)::float8 AS grading_timeliness,
    jsonb_build_object(
        'students', f.students,
        'averageGrade', jsonb_build_object('numerator', coalesce(f.grade_total, 0), 'denominator', f.graded_students),
        'passingRate', jsonb_build_object('numerator', f.passing, 'denominator', f.graded_students),
        'attendanceRate', jsonb_build_object('numerator', f.present + f.late, 'denominator', f.counted),
        'participationRate', jsonb_build_object('numerator', f.active_students, 'denominator', f.students),
        'completionRate', jsonb_build_object('numerator', f.done, 'denominator', f.owed),
        'submissionRate', jsonb_build_object('numerator', f.submissions, 'denominator', f.submissions_owed),
        'averagePoints', jsonb_build_object('numerator', f.points, 'denominator', f.students),
        'gradeImprovement', jsonb_build_object(
            'numerator', round(coalesce(f.improvement_total, 0), 10), 'denominator', f.improving_students
        ),
        'teacherFeedbackRate', jsonb_build_object('numerator', f.with_feedback, 'denominator', f.graded),
        'gradingTimeliness', jsonb_build_object('numerator', f.promises_kept, 'denominator', f.promises),
        'policy', jsonb_build_object(
            'passMark', c.pass_mark,
            'feedbackHours', c.feedback_hours,
            'activeDays', c.active_days,
            'improvementDays', c.improvement_days,
            'excusedCounts', c.excused_counts,
            'weighted', c.weighted,
            'timeZone', c.time_zone
        )
    ) AS explanation,
    n.at AS next_change_at
FROM fractions AS f
JOIN classes AS c ON c.class_id = f.class_id
LEFT JOIN next_changes AS n ON n.class_id = f.class_id
