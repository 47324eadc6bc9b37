"""The fields of Mutation. Those that record facts are made in `facts`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import strawberry

from app.auth import Action
from app.errors import Problem, Rejected
from app.graphql.context import Info
from app.graphql.facts import with_fact_mutations
from app.graphql.fields import argument, resolved
from app.graphql.inputs import RecalculateMetricsInput, UnpinMetricsInput, UpdateMetricsInput
from app.graphql.outcomes import (
    RecalculateMetricsResult,
    RecalculateMetricsSuccess,
    UnpinMetricsResult,
    UnpinMetricsSuccess,
    UpdateMetricsResult,
    UpdateMetricsSuccess,
    version_conflict,
)
from app.graphql.permissions import Needs, visible
from app.graphql.problems import class_not_found, rejection, validation_problem
from app.records import Record
from app.reports import Report, VersionConflict

MOST_CLASSES = 100

Store = Callable[[str, Report], Awaitable[Record]]


@strawberry.type(description="What can be done. Whatever is not done is told in a type of the result.")
@with_fact_mutations
class Mutation:
    @resolved(
        "Report values for metrics of a class. They are pinned: calculation leaves them alone until they are unpinned.",
        returns=UpdateMetricsResult,
        needs=Needs(Action.REPORT),
    )
    @staticmethod
    async def update_metrics(info: Info, input: Annotated[UpdateMetricsInput, argument("What is reported.")]) -> Any:
        report = Report(input.class_id, input.data.given(), input.expected_version, input.idempotency_key)
        return await _store(info, info.context.services.reports.update, report, UpdateMetricsSuccess)

    @resolved(
        "Give metrics of a class back to calculation, which restores what is calculated.",
        returns=UnpinMetricsResult,
        needs=Needs(Action.REPORT),
    )
    @staticmethod
    async def unpin_metrics(info: Info, input: Annotated[UnpinMetricsInput, argument("Which metrics.")]) -> Any:
        names = dict.fromkeys(metric.value for metric in input.metrics)
        if not names:
            return validation_problem([Problem("INVALID_VALUE", "Name at least one metric.", ("metrics",))])
        report = Report(input.class_id, names, input.expected_version, input.idempotency_key)
        return await _store(info, info.context.services.reports.unpin, report, UnpinMetricsSuccess)

    @resolved(
        "Calculate classes again. There is no need to: they are calculated whenever their facts or the time change "
        "them.",
        returns=RecalculateMetricsResult,
        needs=Needs(Action.RECALCULATE),
    )
    @staticmethod
    async def recalculate_metrics(
        info: Info, input: Annotated[RecalculateMetricsInput, argument("Which classes.")]
    ) -> Any:
        if not 1 <= len(input.class_ids) <= MOST_CLASSES:
            message = f"Name 1 to {MOST_CLASSES} classes; these are {len(input.class_ids)}."
            return validation_problem([Problem("INVALID_VALUE", message, ("classIds",))])
        reach = await info.context.reach(Action.RECALCULATE)
        classes = await info.context.loaders.classes.load_many(input.class_ids)
        if problems := [
            class_not_found("classIds", str(index))
            for index, found in enumerate(classes)
            if found is None or not reach.covers(found.id, found.school_id)
        ]:
            return validation_problem(problems)
        recording = info.context.services.recording
        await (recording.recalculate if input.wait else recording.request_recalculation)(input.class_ids)
        info.context.renew()
        return RecalculateMetricsSuccess(class_ids=[*input.class_ids])


async def _store(info: Info, store: Store, report: Report, success: Any) -> Any:
    reach = await info.context.reach(Action.REPORT)
    record = await info.context.loaders.records.load(report.class_id)
    if visible(record, reach) is None:
        return validation_problem([class_not_found("classId")])
    try:
        stored = await store(info.context.viewer.id, report)
    except Rejected as rejected:
        return rejection(rejected)
    except VersionConflict as conflict:
        return version_conflict(conflict, report.values)
    info.context.renew()
    return success(record=stored)
