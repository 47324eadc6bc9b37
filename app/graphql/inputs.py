"""What mutations of metrics take."""

from __future__ import annotations

from typing import Any, TypeVar

import strawberry
from strawberry import ID, UNSET

from app.graphql.enums import Metric
from app.graphql.fields import described
from app.graphql.scalars import JSON
from app.metrics import METRICS
from app.metrics import Metric as Definition
from app.reports import CUSTOM

T = TypeVar("T", bound=type)

VERSION = (
    "The version the client knows. Where somebody reported or unpinned one of these metrics since, nothing is done."
)
KEY = (
    "Makes repeating harmless: the same key with the same input gives the first result again. "
    "1 to 255 printable characters, unique for each viewer and mutation."
)


def with_reportable_metrics(cls: T) -> T:
    for metric in METRICS:
        cls.__annotations__[metric.name] = float | None
        setattr(cls, metric.name, described(f"{metric.description} {_bounds(metric)}", default=UNSET))
    return cls


def _bounds(metric: Definition) -> str:
    kind = "A whole number, " if metric.whole else ""
    return f"{kind}{metric.low:,.0f} to {metric.high:,.0f}.".capitalize()


@strawberry.input(description="What stands beside the metrics.")
class MetadataInput:
    custom: JSON | None = described(
        "An object of at most 16,384 bytes, replaced as a whole; null takes it away.", default=UNSET
    )


@strawberry.input(description="Values for metrics; what is left out stays as it is. A reported metric is pinned.")
@with_reportable_metrics
class MetricValues:
    metadata: MetadataInput | None = described("What stands beside the metrics.", default=UNSET)

    def given(self) -> dict[str, Any]:
        """By column, what was not left out."""
        values = {metric.name: getattr(self, metric.name) for metric in METRICS}
        if self.metadata:
            values[CUSTOM] = self.metadata.custom
        return {name: value for name, value in values.items() if value is not UNSET}


@strawberry.input(description="Values reported for the metrics of a class.")
class UpdateMetricsInput:
    class_id: ID = described("The class's id.")
    data: MetricValues = described("What is reported; at least one value.")
    expected_version: int | None = described(VERSION, default=None)
    idempotency_key: str | None = described(KEY, default=None)


@strawberry.input(description="Metrics of a class to be calculated again.")
class UnpinMetricsInput:
    class_id: ID = described("The class's id.")
    metrics: list[Metric] = described("The metrics; at least one.")
    expected_version: int | None = described(VERSION, default=None)
    idempotency_key: str | None = described(KEY, default=None)


@strawberry.input(description="Classes to be calculated again.")
class RecalculateMetricsInput:
    class_ids: list[ID] = described("Their ids, at most 100.")
    wait: bool = described(
        "Answer when they are calculated. Otherwise they are calculated soon, and the result has what is known now.",
        default=True,
    )
