"""From the rows of a package to facts: for each kind of fact, the queries that give its columns in their order.

`:taken_at` is when the package was made, the source time of what is derived. Where the package cannot say a thing,
what is stored stays.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.importers.oneroster.references import MEMBERS

# Whose homes are not schools; who is only that is nobody here.
RELATIVES = "('guardian', 'parent', 'relative')"


@dataclass(frozen=True, slots=True)
class Fill:
    """What a query gives of rows of `file`."""

    kind: str
    file: str
    query: str


# The policy of a stored school is the school's own; a school is told again only if it is called something else.
SCHOOLS = """
    SELECT o.index, o.sourcedId, o.name, coalesce(s.time_zone, :time_zone), coalesce(s.pass_mark, :pass_mark),
           coalesce(s.feedback_hours, :feedback_hours), coalesce(s.active_days, :active_days),
           coalesce(s.improvement_days, :improvement_days), coalesce(s.excused_counts, :excused_counts),
           o.dateLastModified
    FROM oneroster_orgs AS o LEFT JOIN school AS s ON s.id = o.sourcedId
    WHERE o.live AND o.type = 'school' AND o.name IS DISTINCT FROM s.title
"""

# A person's school: the first of the user's that is one, else the stored one, else that of a class.
PEOPLE = f"""
    WITH claim AS (
        SELECT u.sourcedId AS id, btrim(org.id) AS school_id, org.place AS rank
        FROM oneroster_users AS u
        CROSS JOIN LATERAL unnest(string_to_array(concat_ws(',', u.orgSourcedIds, u.primaryOrgSourcedId), ','))
            WITH ORDINALITY AS org (id, place)
        UNION ALL
        SELECT userSourcedId, orgSourcedId, CASE lower(roleType) WHEN 'primary' THEN 10000 ELSE 20000 END
        FROM oneroster_roles WHERE live
        UNION ALL
        SELECT id, school_id, 30000 FROM person WHERE id IN (SELECT sourcedId FROM oneroster_users)
        UNION ALL
        SELECT e.userSourcedId, p.school_id, 40000
        FROM oneroster_enrollments AS e JOIN oneroster_place AS p ON p.class_id = e.classSourcedId
        WHERE e.live AND e.role IN {MEMBERS}
        UNION ALL
        SELECT student_id, school_id, 40000 FROM oneroster_outcome WHERE live
    ), home AS (
        SELECT DISTINCT ON (claim.id) claim.id, claim.school_id, claim.rank
        FROM claim JOIN oneroster_school AS s ON s.id = claim.school_id
        ORDER BY claim.id, claim.rank, claim.school_id
    ), relative AS (
        SELECT userSourcedId AS id FROM oneroster_roles WHERE live
        GROUP BY userSourcedId HAVING bool_and(role IN {RELATIVES})
        UNION
        SELECT sourcedId FROM oneroster_users WHERE live AND role IN {RELATIVES}
    )
    SELECT u.index, u.sourcedId, home.school_id, u.dateLastModified
    FROM oneroster_users AS u JOIN home ON home.id = u.sourcedId
    WHERE u.live AND (
        NOT EXISTS (SELECT FROM relative WHERE relative.id = u.sourcedId)
        OR EXISTS (SELECT FROM claim WHERE claim.id = u.sourcedId AND claim.rank >= 30000)
    )
"""


def _classes(status: str, weighted: str, rows: str, join: str = "") -> str:
    """From the earliest start of its terms to the latest end, if all of them are in the package."""
    return f"""
        WITH period AS (
            SELECT r.index, bool_and(s.sourcedId IS NOT NULL) AS known,
                   min(s.startDate) AS first, max(s.endDate) AS last
            FROM oneroster_classes AS r
            CROSS JOIN LATERAL unnest(string_to_array(r.termSourcedIds, ',')) AS term (id)
            LEFT JOIN oneroster_session AS s ON s.sourcedId = btrim(term.id)
            WHERE btrim(term.id) <> '' GROUP BY r.index
        )
        SELECT r.index, r.sourcedId, p.school_id, coalesce(r.title, c.title, ''), '{status}',
               CASE WHEN period.known THEN begun.begins ELSE c.begins END,
               CASE WHEN period.known THEN ended.begins ELSE c.ends END,
               {weighted}, r.dateLastModified
        FROM oneroster_classes AS r
        JOIN oneroster_place AS p ON p.class_id = r.sourcedId
        LEFT JOIN period ON period.index = r.index
        LEFT JOIN oneroster_day AS begun ON begun.day = period.first AND begun.time_zone = p.time_zone
        LEFT JOIN oneroster_day AS ended ON ended.day = period.last AND ended.time_zone = p.time_zone
        LEFT JOIN class AS c ON c.id = r.sourcedId {join}
        WHERE r.{rows}
    """


WEIGHTED_STORED = "coalesce(c.weighted, false)"
WEIGHTED_TOLD = f"CASE WHEN w.weighted THEN true WHEN :weights_told THEN false ELSE {WEIGHTED_STORED} END"
CLASSES = _classes("ACTIVE", WEIGHTED_TOLD, "live", "LEFT JOIN oneroster_weighted AS w ON w.class_id = r.sourcedId")
REMOVED_CLASSES = _classes("ARCHIVED", WEIGHTED_STORED, "removed")

# Of stored classes that the package does not tell, but whose categories it does.
REWEIGHTED_CLASSES = """
    SELECT NULL::bigint, c.id, c.school_id, c.title, c.status, c.begins, c.ends, w.weighted,
           greatest(CAST(:taken_at AS timestamptz), c.recorded_at + interval '1 microsecond')
    FROM oneroster_weighted AS w JOIN class AS c ON c.id = w.class_id
    WHERE (w.weighted OR :weights_told) AND w.weighted <> c.weighted
      AND NOT EXISTS (SELECT FROM oneroster_classes AS r WHERE r.sourcedId = c.id AND r.live)
"""

ENROLLMENTS = f"""
    SELECT e.index, e.classSourcedId, e.sourcedId, e.userSourcedId, upper(e.role), begun.begins, ended.begins,
           e.dateLastModified
    FROM oneroster_enrollments AS e
    JOIN oneroster_place AS p ON p.class_id = e.classSourcedId
    LEFT JOIN oneroster_day AS begun ON begun.day = e.beginDate AND begun.time_zone = p.time_zone
    LEFT JOIN oneroster_day AS ended ON ended.day = e.endDate AND ended.time_zone = p.time_zone
    WHERE e.live AND e.role IN {MEMBERS}
"""

# One that was never stored leaves its mark, too, so that an older row does not bring it to life.
REMOVED_ENROLLMENTS = f"""
    SELECT told.index, told.class_id, told.id, told.person_id, told.role, told.begins,
           greatest(told.begins, least(told.ends, told.time)), told.time
    FROM (
        SELECT e.index, e.classSourcedId AS class_id, e.sourcedId AS id, e.dateLastModified AS time,
               coalesce(e.userSourcedId, k.person_id) AS person_id,
               CASE WHEN e.role IN {MEMBERS} THEN upper(e.role) ELSE k.role END AS role,
               CASE WHEN e.role IS NULL THEN k.begins ELSE begun.begins END AS begins,
               CASE WHEN e.role IS NULL THEN k.ends ELSE ended.begins END AS ends
        FROM oneroster_enrollments AS e
        JOIN oneroster_place AS p ON p.class_id = e.classSourcedId
        LEFT JOIN oneroster_day AS begun ON begun.day = e.beginDate AND begun.time_zone = p.time_zone
        LEFT JOIN oneroster_day AS ended ON ended.day = e.endDate AND ended.time_zone = p.time_zone
        LEFT JOIN enrollment AS k ON k.class_id = e.classSourcedId AND k.id = e.sourcedId
        WHERE e.removed AND (k.id IS NOT NULL OR e.role IN {MEMBERS})
           OR e.live AND k.id IS NOT NULL AND e.role NOT IN {MEMBERS}
    ) AS told
    WHERE EXISTS (SELECT FROM person WHERE person.id = told.person_id)
       OR EXISTS (SELECT FROM pg_temp.incoming_people AS p WHERE p.id = told.person_id)
"""

# Who is gone is in no class any more.
ENROLLMENTS_OF_REMOVED_USERS = """
    SELECT NULL::bigint, k.class_id, k.id, k.person_id, k.role, k.begins, greatest(k.begins, u.dateLastModified),
           u.dateLastModified
    FROM oneroster_users AS u JOIN enrollment AS k ON k.person_id = u.sourcedId
    WHERE u.removed AND coalesce(k.ends, 'infinity') > u.dateLastModified AND k.recorded_at <= u.dateLastModified
"""

# Categories are the whole organisation's there, and a class's here: each class has those that its line items are of.
CATEGORIES = """
    WITH told AS (
        SELECT * FROM (
            SELECT DISTINCT ON (sourcedId) * FROM oneroster_categories WHERE NOT bad
            ORDER BY sourcedId, dateLastModified DESC, index
        ) AS newest WHERE live
    ), used AS (
        SELECT DISTINCT classSourcedId AS class_id, categorySourcedId AS id
        FROM oneroster_lineitems WHERE live AND categorySourcedId IS NOT NULL
        UNION
        SELECT class_id, id FROM category WHERE id IN (SELECT sourcedId FROM told)
    ), elsewhere AS (
        SELECT DISTINCT ON (id) id, title, weight, recorded_at FROM category
        WHERE id IN (SELECT id FROM used) ORDER BY id, recorded_at DESC, class_id
    )
    SELECT told.index, used.class_id, used.id, coalesce(told.title, elsewhere.title),
           coalesce(told.weight, own.weight, elsewhere.weight, 0),
           coalesce(told.dateLastModified, elsewhere.recorded_at)
    FROM used
    LEFT JOIN told ON told.sourcedId = used.id
    LEFT JOIN category AS own ON own.class_id = used.class_id AND own.id = used.id
    LEFT JOIN elsewhere ON elsewhere.id = used.id
    WHERE told.sourcedId IS NOT NULL OR own.id IS NULL
"""

ACTIVITIES = """
    SELECT l.index, l.classSourcedId, l.sourcedId, l.categorySourcedId, l.title, coalesce(l.resultValueMax, 100),
           due.begins, assigned.begins, NULL::timestamptz,
           coalesce(CAST(:expects_submission AS boolean), k.expects_submission, false),
           coalesce(k.counts_toward_grade, true), l.dateLastModified
    FROM oneroster_lineitems AS l
    JOIN oneroster_place AS p ON p.class_id = l.classSourcedId
    LEFT JOIN oneroster_day AS due ON due.day = l.dueDate + 1 AND due.time_zone = p.time_zone
    LEFT JOIN oneroster_day AS assigned ON assigned.day = l.assignDate AND assigned.time_zone = p.time_zone
    LEFT JOIN activity AS k ON k.class_id = l.classSourcedId AND k.id = l.sourcedId
    WHERE l.live
"""

# A row that takes a line item away need not say what it was, nor name its class if it is stored.
REMOVED_ACTIVITIES = """
    SELECT l.index, k.class_id, k.id, k.category_id, coalesce(l.title, k.title),
           CASE WHEN l.title IS NULL THEN k.max_points ELSE coalesce(l.resultValueMax, 100) END,
           coalesce(due.begins, k.due_at), coalesce(assigned.begins, k.published_at),
           least(k.deleted_at, l.dateLastModified), k.expects_submission, k.counts_toward_grade, l.dateLastModified
    FROM oneroster_lineitems AS l
    JOIN activity AS k ON k.id = l.sourcedId AND k.class_id = coalesce(l.classSourcedId, k.class_id)
    JOIN oneroster_place AS p ON p.class_id = k.class_id
    LEFT JOIN oneroster_day AS due ON due.day = l.dueDate + 1 AND due.time_zone = p.time_zone
    LEFT JOIN oneroster_day AS assigned ON assigned.day = l.assignDate AND assigned.time_zone = p.time_zone
    WHERE l.removed
    UNION ALL
    SELECT l.index, l.classSourcedId, l.sourcedId, NULL, coalesce(l.title, ''), coalesce(l.resultValueMax, 100),
           due.begins, assigned.begins, l.dateLastModified, coalesce(CAST(:expects_submission AS boolean), false), true,
           l.dateLastModified
    FROM oneroster_lineitems AS l
    JOIN oneroster_place AS p ON p.class_id = l.classSourcedId
    LEFT JOIN oneroster_day AS due ON due.day = l.dueDate + 1 AND due.time_zone = p.time_zone
    LEFT JOIN oneroster_day AS assigned ON assigned.day = l.assignDate AND assigned.time_zone = p.time_zone
    WHERE l.removed
      AND NOT EXISTS (SELECT FROM activity AS k WHERE k.class_id = l.classSourcedId AND k.id = l.sourcedId)
"""

# A score counts once it is final; an exempt one is kept, though it counts nowhere.
GRADES = """
    SELECT o.index, o.class_id, o.activity_id, o.student_id, 1,
           CASE WHEN o.status IN ('fully graded', 'exempt') THEN o.score END,
           CASE WHEN o.status = 'fully graded' OR o.status = 'exempt' AND o.score IS NOT NULL THEN o.at END,
           coalesce(k.graded_automatically, false), o.comment, o.time
    FROM oneroster_outcome AS o
    LEFT JOIN submission AS k
        ON k.class_id = o.class_id AND k.activity_id = o.activity_id AND k.student_id = o.student_id AND k.attempt = 1
    WHERE o.live
"""

# `fully graded` and `exempt` do not say whether anything was handed in, so they leave alone what others say of it.
SUBMISSIONS = """
    SELECT o.index, o.class_id, o.activity_id, o.student_id, 1,
           CASE WHEN o.status <> 'not submitted' THEN o.at END, o.time
    FROM oneroster_outcome AS o
    WHERE o.live AND NOT :grades_only AND o.status IN ('submitted', 'partially graded', 'not submitted')
"""

# That somebody is not excused is worth a row only if somebody said so, or may yet, for deltas come in any order.
EXCUSALS = """
    SELECT o.index, o.class_id, o.activity_id, o.student_id, o.status = 'exempt', o.time
    FROM oneroster_outcome AS o
    LEFT JOIN excusal AS k
        ON k.class_id = o.class_id AND k.activity_id = o.activity_id AND k.student_id = o.student_id
    WHERE o.live AND (o.status = 'exempt' OR k.excused OR :results_are_delta)
"""

# What was handed in stays: others may have told it, and `not submitted` would say otherwise.
REMOVED_GRADES = """
    SELECT o.index, o.class_id, o.activity_id, o.student_id, 1, NULL::numeric, NULL::timestamptz, false, NULL::text,
           o.time
    FROM oneroster_outcome AS o WHERE o.removed AND EXISTS (SELECT FROM person WHERE person.id = o.student_id)
"""

REMOVED_EXCUSALS = """
    SELECT o.index, o.class_id, o.activity_id, o.student_id, false, o.time
    FROM oneroster_outcome AS o WHERE o.removed AND EXISTS (SELECT FROM person WHERE person.id = o.student_id)
"""

# Which classes are weighted, once all this is stored: one of their categories in use has a weight.
WEIGHTED = """
    WITH touched AS (
        SELECT class_id FROM pg_temp.incoming_categories UNION SELECT class_id FROM pg_temp.incoming_activities
        UNION SELECT sourcedId FROM oneroster_classes WHERE live AND :grades_told
    ), part AS (
        SELECT DISTINCT ON (class_id, id) class_id, id, weight FROM (
            SELECT class_id, id, weight, recorded_at FROM category
            UNION ALL SELECT class_id, id, weight, recorded_at FROM pg_temp.incoming_categories
        ) AS told WHERE class_id IN (SELECT class_id FROM touched) ORDER BY class_id, id, recorded_at DESC
    ), task AS (
        SELECT DISTINCT ON (class_id, id) class_id, id, category_id, deleted_at FROM (
            SELECT class_id, id, category_id, deleted_at, recorded_at FROM activity
            UNION ALL SELECT class_id, id, category_id, deleted_at, recorded_at FROM pg_temp.incoming_activities
        ) AS told WHERE class_id IN (SELECT class_id FROM touched) ORDER BY class_id, id, recorded_at DESC
    )
    SELECT touched.class_id, coalesce(bool_or(part.weight > 0), false) AS weighted
    FROM touched
    LEFT JOIN task ON task.class_id = touched.class_id AND task.deleted_at IS NULL
    LEFT JOIN part ON part.class_id = task.class_id AND part.id = task.category_id
    GROUP BY touched.class_id
"""

# Who a removal is of must be known; whether classes are weighted follows from all the rest.
FIRST = (Fill("schools", "orgs", SCHOOLS), Fill("people", "users", PEOPLE))
REMOVALS = (
    Fill("classes", "classes", REMOVED_CLASSES),
    Fill("enrollments", "enrollments", REMOVED_ENROLLMENTS),
    Fill("enrollments", "users", ENROLLMENTS_OF_REMOVED_USERS),
    Fill("activities", "lineItems", REMOVED_ACTIVITIES),
    Fill("grades", "results", REMOVED_GRADES),
    Fill("excusals", "results", REMOVED_EXCUSALS),
)
REST = (
    Fill("enrollments", "enrollments", ENROLLMENTS),
    Fill("categories", "categories", CATEGORIES),
    Fill("activities", "lineItems", ACTIVITIES),
    Fill("submissions", "results", SUBMISSIONS),
    Fill("grades", "results", GRADES),
    Fill("excusals", "results", EXCUSALS),
)
LAST = (Fill("classes", "classes", CLASSES), Fill("classes", "categories", REWEIGHTED_CLASSES))
