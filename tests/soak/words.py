"""What the load says to the API, and what a record says to whoever reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from app.metrics import METRIC_NAMES, METRICS

GRAPHQL_NAMES = {metric.name: metric.graphql_name for metric in METRICS}
RECORD = f"classId version pinnedMetrics metadata {' '.join(GRAPHQL_NAMES.values())}"

COPIES = 40
READ = f"query($ids: [ID!]!) {{ classPerformances(ids: $ids) {{ {RECORD} }} }}"
NAMED = (
    "subscription($ids: [ID!]!, $known: [KnownVersion!]) { classPerformanceUpdated(classIds: $ids, known: $known) "
    f"{{ classId classPerformance {{ {RECORD} }} }} }}"
)
FOLLOWED = (
    "subscription($school: ID, $known: [KnownVersion!]) { classPerformancesUpdated(schoolId: $school, known: $known) "
    f"{{ classId classPerformance {{ {RECORD} }} }} }}"
)
UPDATE = (
    "mutation($input: UpdateMetricsInput!) { updateMetrics(input: $input) { __typename "
    f"... on UpdateMetricsSuccess {{ classPerformance {{ {RECORD} }} }} }} }}"
)
UNPIN = (
    "mutation($input: UnpinMetricsInput!) { unpinMetrics(input: $input) { __typename "
    f"... on UnpinMetricsSuccess {{ classPerformance {{ {RECORD} }} }} }} }}"
)


def heavy(subscription: str) -> str:
    """Events so large that what waits for a slow reader waits at the server, and not in buffers on the way."""
    copies = " ".join(f"copy{n}: metadata" for n in range(COPIES))
    return subscription.replace(RECORD, f"{RECORD} {copies}")


def recording(mutation: str) -> str:
    """`recordGrades` and its like."""
    name = mutation[0].upper() + mutation[1:] + "Input"
    return (
        f"mutation($items: {name}!) {{ {mutation}(input: $items) {{ __typename "
        "... on RecordFactsSuccess { stored unchanged } ... on ValidationProblem { message } } }"
    )


def content(record: Mapping[str, Any]) -> bytes:
    """Of a record as GraphQL gives it: all that a version determines."""
    metrics = {name: record[graphql_name] for name, graphql_name in GRAPHQL_NAMES.items()}
    pinned = [name.lower() for name in record["pinnedMetrics"]]
    metadata = record["metadata"]
    return _canonical(metrics, pinned, metadata["explanation"], metadata["custom"])


def content_of_row(row: Mapping[str, Any]) -> bytes:
    """The same of a row, or of a record as the cache holds it."""
    metrics = {name: row[name] for name in METRIC_NAMES}
    return _canonical(metrics, row["pinned_metrics"], row["explanation"], row["custom"])


def _canonical(metrics: dict[str, Any], pinned: list[str], explanation: Any, custom: Any) -> bytes:
    everything = {**metrics, "pinned_metrics": sorted(pinned), "explanation": explanation, "custom": custom}
    return orjson.dumps(everything, option=orjson.OPT_SORT_KEYS)


def difference(one: bytes, other: bytes) -> dict[str, tuple[Any, Any]]:
    """By name, what two contents differ in."""
    first, second = orjson.loads(one), orjson.loads(other)
    return {name: (first[name], second.get(name)) for name in first if first[name] != second.get(name)}


def metrics_of(seen: bytes) -> dict[str, Any]:
    """Of a content, what history keeps."""
    everything = orjson.loads(seen)
    return {name: everything[name] for name in (*METRIC_NAMES, "pinned_metrics")}
