"""One mutation for each kind of fact, made from the models that validate them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import strawberry
from pydantic import AwareDatetime
from pydantic.fields import FieldInfo
from strawberry import ID

from app.auth import Action
from app.errors import Rejected
from app.gradebook import KINDS
from app.graphql.context import Info
from app.graphql.fact_words import KEPT, KIND_WORDS, WORDS
from app.graphql.fields import argument, described, resolved
from app.graphql.outcomes import NO_LIST
from app.graphql.permissions import Needs, visible
from app.graphql.problems import ValidationProblem, rejection
from app.graphql.types import ClassPerformance
from app.recording import DUE_ON, MOST_ITEMS
from app.records import Record

T = TypeVar("T", bound=type)
MOST_PERFORMANCES = 100
GRAPHQL_TYPES: dict[Any, Any] = {Decimal: float, AwareDatetime: datetime}


@dataclass(frozen=True, slots=True)
class FactMutation:
    name: str
    kind: str
    singular: str
    action: Action


FACT_MUTATIONS = (
    FactMutation("record_schools", "schools", "School", Action.ROSTER),
    FactMutation("record_people", "people", "Person", Action.ROSTER),
    FactMutation("record_classes", "classes", "Class", Action.ROSTER),
    FactMutation("record_enrollments", "enrollments", "Enrollment", Action.ROSTER),
    FactMutation("record_categories", "categories", "Category", Action.RECORD),
    FactMutation("record_activities", "activities", "Activity", Action.RECORD),
    FactMutation("record_submissions", "submissions", "Submission", Action.RECORD),
    FactMutation("record_grades", "grades", "Grade", Action.RECORD),
    FactMutation("record_excusals", "excusals", "Excusal", Action.RECORD),
    FactMutation("record_attendance", "attendance", "Attendance", Action.RECORD),
    FactMutation("award_points", "points_awards", "PointsAward", Action.RECORD),
)


@strawberry.type(description="The facts are stored; the metrics that follow from them are calculated within moments.")
class RecordFactsSuccess:
    stored: int = described("Facts that are new, or newer than what was stored.")
    unchanged: int = described("Facts that were stored already, or are older than what is stored.")
    class_ids: list[ID] = described("The classes that these facts touched.")

    @resolved(
        f"The metrics of the first {MOST_PERFORMANCES} of those classes, as far as calculated when this is answered; "
        f"null for a class that the viewer may not read, or that is not calculated yet. {NO_LIST}",
        returns=list[ClassPerformance | None] | None,
    )
    async def class_performances(self, info: Info) -> list[Record | None]:
        reach = await info.context.reach(Action.READ)
        records = await info.context.loaders.records.load_many(self.class_ids[:MOST_PERFORMANCES])
        return [visible(record, reach) for record in records]


RecordFactsResult = Annotated[
    Union[RecordFactsSuccess, ValidationProblem],  # noqa: UP007
    strawberry.union("RecordFactsResult", description="All of the facts are stored, or none."),
]


def _item_type(mutation: FactMutation) -> Any:
    fields = KINDS[mutation.kind].model_fields
    words = {**WORDS, **KIND_WORDS[mutation.kind]}
    annotations = {name: _graphql_type(name, field) for name, field in fields.items()}
    attributes = {name: described(words[name], default=_default(field)) for name, field in fields.items()}
    if mutation.kind == "activities":
        annotations[DUE_ON] = date | None
        attributes[DUE_ON] = described(words[DUE_ON], default=None)
    return _input(f"{mutation.singular}Input", words[""], annotations, attributes)


def _batch_type(mutation: FactMutation) -> Any:
    """`RecordGradesInput`, with its items."""
    items = described(f"1 to {MOST_ITEMS:,} of them.")
    name = "".join(word.capitalize() for word in mutation.name.split("_"))
    description = f"Facts in bulk. {KEPT}" if "student_id" in KINDS[mutation.kind].model_fields else "Facts in bulk."
    return _input(f"{name}Input", description, {"items": list[_item_type(mutation)]}, {"items": items})  # type: ignore[misc]


def _input(name: str, description: str, annotations: dict[str, Any], attributes: dict[str, Any]) -> Any:
    made = type(name, (), {"__annotations__": annotations, "__module__": __name__, **attributes})
    return strawberry.input(made, description=description)


def _graphql_type(name: str, field: FieldInfo) -> Any:
    kinds = _kinds(field.annotation)
    kind = GRAPHQL_TYPES.get(kinds[0], kinds[0])
    if kind is str and (name == "id" or name.endswith("_id")):
        kind = ID
    return kind | None if type(None) in kinds else kind


def _kinds(annotation: Any) -> list[Any]:
    """The types an annotation stands for, without what validates them."""
    if get_origin(annotation) is Annotated:
        return _kinds(get_args(annotation)[0])
    parts = get_args(annotation)
    return [kind for part in parts for kind in _kinds(part)] if parts else [annotation]


def _default(field: FieldInfo) -> Any:
    if field.is_required():
        return MISSING
    return float(field.default) if isinstance(field.default, Decimal) else field.default


def _resolver(mutation: FactMutation) -> Callable[..., Any]:
    async def record(info: Info, input: Any) -> Any:
        reach = await info.context.reach(mutation.action)
        items = [vars(item) for item in input.items]
        try:
            recorded = await info.context.services.recording.record(reach, mutation.kind, items)
        except Rejected as rejected:
            return rejection(rejected, below=("items",))
        info.context.renew()
        class_ids = [ID(class_id) for class_id in recorded.class_ids]
        return RecordFactsSuccess(stored=recorded.stored, unchanged=recorded.unchanged, class_ids=class_ids)

    record.__annotations__["input"] = Annotated[_batch_type(mutation), argument("The facts.")]
    return record


def with_fact_mutations(cls: T) -> T:
    for mutation in FACT_MUTATIONS:
        described_as = f"{KIND_WORDS[mutation.kind]['']} All of the items are stored, or none."
        declare = resolved(described_as, returns=RecordFactsResult, needs=Needs(mutation.action))
        setattr(cls, mutation.name, declare(staticmethod(_resolver(mutation))))
    return cls
