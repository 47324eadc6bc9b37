"""The commands that bring data in, and calculate from it."""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy.ext.asyncio import AsyncEngine

from app import observability
from app.database import transaction
from app.development import development
from app.errors import BadInput
from app.graphql.context import Services
from app.main import services_of
from app.metrics import METRICS
from app.performance import calculate_many
from app.rebuild import all_classes, count_classes, rebuild, these_classes
from app.settings import Settings

cli = typer.Typer()
err = Console(stderr=True)


def progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=err)


@cli.command()
def recalculate(
    everything: Annotated[bool, typer.Option("--all", help="Every class.")] = False,
    class_ids: Annotated[list[str] | None, typer.Option("--class", help="A class; repeat for more.")] = None,
    after: Annotated[str, typer.Option(help="Go on after this class, where an earlier run stopped.")] = "",
    at: Annotated[str | None, typer.Option(help="Print what the numbers would be at this instant; store nothing.")] = None,
) -> None:
    """Calculate metrics again from the facts. Repeating it does no harm."""
    if everything == bool(class_ids) or (after and not everything):
        raise BadInput("Say which: --all (with --after ID to go on), or --class ID, once for each.")
    instant = _instant(at) if at else None
    with development() as settings:
        observability.configure(settings)
        asyncio.run(_recalculate(settings, class_ids or [], after, instant))


async def _recalculate(settings: Settings, class_ids: list[str], after: str, at: datetime | None) -> None:
    async with services_of(settings) as services:
        batches = these_classes(class_ids) if class_ids else all_classes(services.engine, after)
        if at is not None:
            await _print_at(services.engine, batches, at)
            return
        total = len(class_ids) or await count_classes(services.engine, after)
        await rebuild_with_progress(services, batches, total)


async def rebuild_with_progress(services: Services, batches: AsyncIterator[list[str]], total: int) -> None:
    done = ""
    with progress() as bar:
        task = bar.add_task("Calculating", total=total)
        try:
            async for batch in rebuild(services.engine, services.performance, batches):
                done = batch[-1]
                bar.advance(task, len(batch))
        except BaseException:
            if done:
                err.print(f"Stopped. To go on: classperf recalculate --all --after {shlex.quote(done)}", markup=False)
            raise


async def _print_at(engine: AsyncEngine, batches: AsyncIterator[list[str]], at: datetime) -> None:
    """One JSON object a line, with the metrics under the names they have in GraphQL."""
    async for batch in batches:
        async with transaction(engine, unhurried=True) as connection:
            found = await calculate_many(connection, batch, at)
        for class_id in batch:
            if class_id not in found:
                raise BadInput(f"There is no class {class_id}.")
            sys.stdout.write(_line(class_id, found[class_id]))


def _line(class_id: str, row: dict[str, Any]) -> str:
    metrics = {metric.graphql_name: row[metric.name] for metric in METRICS}
    rest = {"explanation": row["explanation"], "nextChangeAt": row["next_change_at"]}
    return orjson.dumps({"classId": class_id, **metrics, **rest}).decode() + "\n"


def _instant(written: str) -> datetime:
    try:
        instant = datetime.fromisoformat(written)
    except ValueError:
        raise BadInput(f"--at: {written!r} is not an instant such as 2026-09-01T08:00:00Z.") from None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
