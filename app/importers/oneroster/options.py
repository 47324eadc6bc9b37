"""What a package cannot say, and whoever imports it does."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from pydantic import ValidationError

from app.errors import BadInput
from app.facts import SchoolFact

MOST_REMOVED = 10.0


@dataclass(frozen=True, slots=True)
class NewSchools:
    """The time zone and the policy of schools that are not stored yet; those of the others stay."""

    time_zone: str | None = None
    pass_mark: Decimal = Decimal(60)
    feedback_hours: int = 168
    active_days: int = 14
    improvement_days: int = 30
    excused_counts: bool = True

    def parameters(self) -> dict[str, Any]:
        """Raises BadInput where a school could not be so."""
        school = {"id": "new", "title": "", **asdict(self), "time_zone": self.time_zone or "UTC"}
        try:
            SchoolFact.model_validate(school)
        except ValidationError as error:
            detail = error.errors(include_url=False, include_context=False)[0]
            option = str(detail["loc"][0]).replace("_", "-")
            raise BadInput(f"--{option}: {detail['msg'].removeprefix('Value error, ')}.") from None
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Options:
    """`recorded_at`: when the package was made; if not given, when its newest file was written.

    `expects_submission`: whether something is to be handed in for a line item; if not given, what is stored, else not.
    `grades_only`: results do not say what was handed in, because others do. `most_removed`: in percent of what is
    stored, how much a bulk file may take away by leaving it out; with `keep_missing` it takes nothing.
    """

    new_schools: NewSchools = NewSchools()
    recorded_at: datetime | None = None
    expects_submission: bool | None = None
    grades_only: bool = False
    most_removed: float = MOST_REMOVED
    keep_missing: bool = False
    skip_bad_rows: bool = False
    dry_run: bool = False
