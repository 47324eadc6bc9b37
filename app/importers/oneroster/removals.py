"""What a bulk file leaves out is gone. Nothing is erased: an enrollment ends, an activity is deleted, a class archived.

Only what is stored, still holds and is older than the package can be gone, and only in the schools that the package
tells of. What belongs to a class that is gone itself stays as it is: a class that is over keeps its numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.importers.oneroster.manifest import Mode
from app.importers.oneroster.references import MEMBERS

# Without classes and schools of its own, a package tells of the schools whose classes it speaks of.
SCHOOLS = """
    SELECT sourcedId AS id FROM oneroster_orgs WHERE live AND type = 'school'
    UNION SELECT schoolSourcedId FROM oneroster_classes WHERE NOT removed AND schoolSourcedId IS NOT NULL
    UNION SELECT school_id FROM oneroster_place WHERE NOT :rosters_told AND class_id IN (
        SELECT classSourcedId FROM oneroster_enrollments UNION SELECT classSourcedId FROM oneroster_lineitems
        UNION SELECT class_id FROM oneroster_outcome
    )
"""
CLASSES_TOLD = """
    SELECT id AS class_id FROM class
    WHERE EXISTS (SELECT FROM oneroster_classes AS r WHERE r.sourcedId = class.id AND NOT r.removed)
"""
CLASSES_STORED = """
    SELECT id AS class_id FROM class WHERE status = 'ACTIVE' AND school_id IN (SELECT id FROM oneroster_scope_school)
    AND NOT EXISTS (SELECT FROM oneroster_classes AS r WHERE r.sourcedId = class.id AND r.removed)
"""
# Line items that are not gone themselves.
ITEMS_STORED = """
    SELECT a.class_id, a.id FROM activity AS a JOIN oneroster_scope AS s ON s.class_id = a.class_id
    WHERE a.deleted_at IS NULL
"""
ITEMS_TOLD = f"""
    {ITEMS_STORED} AND EXISTS (SELECT FROM oneroster_lineitems AS l WHERE l.sourcedId = a.id AND NOT l.removed)
"""


@dataclass(frozen=True, slots=True)
class Scope:
    """What of a file may be gone. `held`: stored records `k` in question. `told`: whether the package has one.
    `gone`: what it becomes, in the order of the shelf. `counted`: which of them are a loss to be told of."""

    file: str
    kind: str
    thing: str
    held: str
    told: str
    gone: str
    counted: str = "true"


IN_SCOPE = "JOIN oneroster_scope AS s ON s.class_id = k.class_id WHERE"
OLDER = "k.recorded_at <= :taken_at"
OF_ITEM = "JOIN oneroster_scope_item AS s ON s.class_id = k.class_id AND s.id = k.activity_id WHERE"
SAME_RESULT = "r.lineItemSourcedId = k.activity_id AND r.studentSourcedId = k.student_id AND NOT r.removed"

SCOPES = (
    Scope(
        *("classes", "classes", "classes"),
        f"class AS k JOIN oneroster_scope_school AS s ON s.id = k.school_id WHERE k.status = 'ACTIVE' AND {OLDER}",
        "SELECT FROM oneroster_classes AS r WHERE r.sourcedId = k.id AND NOT r.removed",
        "k.id, k.school_id, k.title, 'ARCHIVED', k.begins, k.ends, k.weighted, :taken_at",
        "coalesce(k.ends, 'infinity') > :taken_at",
    ),
    Scope(
        *("enrollments", "enrollments", "enrollments"),
        f"enrollment AS k {IN_SCOPE} coalesce(k.ends, 'infinity') > :taken_at AND {OLDER}",
        "SELECT FROM oneroster_enrollments AS r WHERE r.sourcedId = k.id AND NOT r.removed "
        f"AND (r.bad OR r.classSourcedId = k.class_id AND r.role IN {MEMBERS})",
        "k.class_id, k.id, k.person_id, k.role, k.begins, greatest(k.begins, :taken_at), :taken_at",
    ),
    Scope(
        *("lineItems", "activities", "line items"),
        f"activity AS k {IN_SCOPE} k.deleted_at IS NULL AND {OLDER}",
        "SELECT FROM oneroster_lineitems AS r WHERE r.sourcedId = k.id AND NOT r.removed "
        "AND (r.bad OR r.classSourcedId = k.class_id)",
        "k.class_id, k.id, k.category_id, k.title, k.max_points, k.due_at, k.published_at, :taken_at, "
        "k.expects_submission, k.counts_toward_grade, :taken_at",
    ),
    # Not what was handed in: others may have told it.
    Scope(
        *("results", "grades", "results"),
        f"submission AS k {OF_ITEM} k.attempt = 1 AND k.grade_recorded_at <= :taken_at "
        "AND (k.score IS NOT NULL OR k.graded_at IS NOT NULL OR k.feedback IS NOT NULL)",
        f"SELECT FROM oneroster_results AS r WHERE {SAME_RESULT}",
        "k.class_id, k.activity_id, k.student_id, 1, NULL::numeric, NULL::timestamptz, false, NULL::text, :taken_at",
    ),
    Scope(
        *("results", "excusals", "excusals"),
        f"excusal AS k {OF_ITEM} k.excused AND {OLDER}",
        f"SELECT FROM oneroster_results AS r WHERE {SAME_RESULT}",
        "k.class_id, k.activity_id, k.student_id, false, :taken_at",
        "false",
    ),
)


@dataclass(frozen=True, slots=True)
class Loss:
    scope: Scope
    held: int
    gone: int

    @property
    def share(self) -> float:
        """In percent of what is held."""
        return 100 * self.gone / self.held if self.held else 0.0


async def create_scopes(connection: AsyncConnection, modes: Mapping[str, Mode], parameters: Mapping[str, Any]) -> None:
    classes = CLASSES_TOLD if modes["classes"] is Mode.BULK else CLASSES_STORED
    items = ITEMS_TOLD if modes["lineItems"] is Mode.BULK else ITEMS_STORED
    for name, query in (("scope_school", SCHOOLS), ("scope", classes), ("scope_item", items)):
        await connection.execute(text(f"CREATE TEMPORARY TABLE oneroster_{name} ON COMMIT DROP AS {query}"), parameters)
        await connection.exec_driver_sql(f"ANALYZE oneroster_{name}")


async def measure(connection: AsyncConnection, scope: Scope, parameters: Mapping[str, Any]) -> Loss:
    absent = f"NOT EXISTS ({scope.told})"
    held = f"SELECT count(*) FROM {scope.held} AND {scope.counted}"
    statement = text(f"SELECT ({held}) AS held, ({held} AND {absent}) AS gone")
    row = (await connection.execute(statement, parameters)).one()
    return Loss(scope, row.held, row.gone)


def absent(scope: Scope) -> str:
    """The query of the facts that say that what is not told is gone."""
    gone = scope.gone.replace(":taken_at", "CAST(:taken_at AS timestamptz)")
    return f"SELECT NULL::bigint, {gone} FROM {scope.held} AND NOT EXISTS ({scope.told})"


def is_too_much(loss: Loss, most: float) -> bool:
    return loss.gone > 0 and loss.share > most


def message(loss: Loss, most: float) -> str:
    enough = ceil(loss.share * 10) / 10
    return (
        f"{loss.gone:,} of the {loss.held:,} {loss.scope.thing} stored are not in it ({loss.share:.1f} %), more than "
        f"{most:g} %. Is the export whole? If they are gone indeed, give --most-removed {enough:g}."
    )
