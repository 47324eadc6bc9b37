"""Structured logs: one JSON object a line in production, readable lines in development. And what is counted."""

from __future__ import annotations

import logging

import structlog
from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

from app.settings import Settings

disable_created_metrics()  # type: ignore[no-untyped-call]  # the second series that each would have, of the instant it was made

# Of the database as a whole, set when somebody asks (app.monitoring); NaN while it does not answer.
DATABASE_UP = Gauge("classperf_database_up", "Whether the database answered when this was asked.")
CHANGES = Gauge("classperf_changes", "Changes that wait to be calculated.")
CHANGES_AGE = Gauge("classperf_changes_oldest_seconds", "Age of the oldest change that waits to be calculated.")
OUTBOX = Gauge("classperf_outbox", "Changed records that wait to be told to Redis.")
OUTBOX_AGE = Gauge("classperf_outbox_oldest_seconds", "Age of the oldest of the changed records.")
FAILING = Gauge("classperf_failing_classes", "Classes whose last calculation failed; they are tried again.")

# Of this process's worker.
BATCH_CLASSES = Histogram(
    "classperf_batch_classes", "Classes calculated in one transaction.", buckets=(1, 2, 5, 10, 20, 50, 100, 200)
)
BATCH_SECONDS = Histogram(
    "classperf_batch_seconds",
    "Seconds one transaction of calculation took.",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60),
)
CALCULATED = Counter("classperf_classes_calculated", "Classes calculated.")
CHANGED = Counter("classperf_records_changed", "Records that a calculation changed.")
FAILURES = Counter("classperf_calculation_failures", "Calculations of a class alone that failed.")
MARKED = Counter("classperf_classes_marked", "Classes marked changed by the passing of time.")
JOBS = Counter("classperf_jobs_done", "Jobs of the schedule done.", ["job"])
REMOVED = Counter("classperf_rows_removed", "Rows that were older than they are kept.", ["table"])
LOOP_FAILURES = Counter("classperf_worker_loop_failures", "Turns of a worker's loop that failed.", ["loop"])
RELAYED = Counter("classperf_records_relayed", "Changed records that were told to Redis.")

# Of this process, which listens.
SUBSCRIBED = Gauge("classperf_redis_subscribed", "Whether this process hears what is published.", ["channel"])
HEARD = Counter("classperf_publications_heard", "Publications heard.")
WATCHES = Gauge("classperf_watches", "Subscriptions of clients that watch records.")
LOOKED = Counter("classperf_hub_statements", "Statements to learn what publications did not tell.")

# Of this process's clients.
SOCKETS = Gauge("classperf_sockets", "WebSockets that are open.")
STREAMS = Gauge("classperf_streams", "SSE streams that are open.")
SUBSCRIPTIONS = Gauge("classperf_subscriptions", "Subscriptions that are open.")
CLIENTS_DROPPED = Counter("classperf_clients_dropped", "Clients that were sent away because they did not read.")


def configure(settings: Settings) -> None:
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    readable = settings.environment == "development"
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
            if readable
            else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
