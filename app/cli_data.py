"""The commands that make data, and calculate from it."""

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
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app import observability
from app.database import transaction
from app.development import development
from app.district import Plan
from app.errors import BadInput
from app.graphql.context import Services
from app.main import services_of
from app.metrics import METRICS
from app.performance import calculate_many
from app.rebuild import all_classes, count_classes, rebuild, these_classes, unknown_classes
from app.seed import seed as make_district
from app.settings import Settings

IS_UNFINISHED = text("""
    SELECT NOT EXISTS (SELECT FROM class)
        OR EXISTS (SELECT FROM class c WHERE NOT EXISTS (SELECT FROM class_performance p WHERE p.class_id = c.id))
        AND NOT EXISTS (SELECT FROM class WHERE id !~ '^class-[0-9]{5}$')
""")

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
    at: Annotated[
        str | None, typer.Option(help="Print what the numbers would be at this instant; store nothing.")
    ] = None,
) -> None:
    """Calculate metrics again from the facts. Repeating it does no harm."""
    if everything == bool(class_ids) or (after and not everything):
        raise BadInput("Say which: --all (with --after ID to go on), or --class ID, once for each.")
    instant = read_instant("--at", at) if at else None
    with development() as settings:
        observability.configure(settings)
        asyncio.run(_recalculate(settings, class_ids or [], after, instant))


@cli.command()
def seed(
    number: Annotated[int, typer.Option("--seed", help="The same number makes the same district.")] = 1,
    classes: Annotated[int, typer.Option(min=1, max=100_000)] = 200,
    students: Annotated[int, typer.Option(min=1, max=500, help="Students of a class.")] = 30,
    activities: Annotated[int, typer.Option(min=1, max=500, help="Activities of a class.")] = 40,
    schools: Annotated[int, typer.Option(min=1, max=500)] = 4,
    attendance_days: Annotated[int | None, typer.Option(min=0, help="Only the last so many school days.")] = None,
    now: Annotated[str | None, typer.Option(help="The instant it is seen at; now, if not given.")] = None,
) -> None:
    """Make a district of believable facts. What is there already stays; a run that was stopped goes on."""
    instant = read_instant("--now", now) if now else datetime.now(UTC)
    plan = Plan(instant, number, classes, students, activities, schools, attendance_days)
    with development() as settings:
        observability.configure(settings)
        asyncio.run(_seed(settings, plan))


async def _seed(settings: Settings, plan: Plan) -> None:
    async with services_of(settings) as services:
        with progress() as bar:
            task = bar.add_task("Classes", total=plan.classes)
            seeded = await make_district(services.engine, plan, lambda done, _: bar.update(task, completed=done))
        err.print(f"{seeded.made:,} classes made; {seeded.kept:,} were there already.", highlight=False)
        await rebuild_all(services)


async def fill_if_empty(settings: Settings) -> None:
    """Demonstration data, for a database without classes, or where making it was cut short."""
    async with services_of(settings) as services, services.engine.connect() as connection:
        wanted = (await connection.execute(IS_UNFINISHED)).scalar_one()
    if wanted:
        await _seed(settings, Plan(datetime.now(UTC)))


async def _recalculate(settings: Settings, class_ids: list[str], after: str, at: datetime | None) -> None:
    async with services_of(settings) as services:
        if unknown := await unknown_classes(services.engine, class_ids):
            raise BadInput(f"There is no class {unknown[0]}.")
        batches = these_classes(class_ids) if class_ids else all_classes(services.engine, after)
        if at is not None:
            await _print_at(services.engine, batches, at)
        elif class_ids:
            await _rebuild(services, batches, len(set(class_ids)))
        else:
            await rebuild_all(services, after)


async def rebuild_all(services: Services, after: str = "") -> None:
    """What stops it leaves whole batches done, and tells how to go on."""
    done = [after]
    total = await count_classes(services.engine, after)
    try:
        await _rebuild(services, all_classes(services.engine, after), total, done)
    except BaseException:
        option = f" --after {shlex.quote(done[-1])}" if done[-1] else ""
        err.print(f"Stopped. To go on: classperf recalculate --all{option}", markup=False, highlight=False)
        raise


async def _rebuild(
    services: Services, batches: AsyncIterator[list[str]], total: int, done: list[str] | None = None
) -> None:
    """`done` is given the last class of each batch."""
    with progress() as bar:
        task = bar.add_task("Calculating", total=total)
        async for batch in rebuild(services.engine, services.performance, batches):
            bar.advance(task, len(batch))
            if done is not None:
                done.append(batch[-1])


async def _print_at(engine: AsyncEngine, batches: AsyncIterator[list[str]], at: datetime) -> None:
    """One JSON object a line, with the metrics under the names they have in GraphQL."""
    async for batch in batches:
        async with transaction(engine, unhurried=True) as connection:
            found = await calculate_many(connection, batch, at)
        for class_id in batch:
            sys.stdout.write(_line(class_id, found[class_id]))


def _line(class_id: str, row: dict[str, Any]) -> str:
    metrics = {metric.graphql_name: row[metric.name] for metric in METRICS}
    rest = {"explanation": row["explanation"], "nextChangeAt": row["next_change_at"]}
    return orjson.dumps({"classId": class_id, **metrics, **rest}).decode() + "\n"


def read_instant(option: str, written: str) -> datetime:
    try:
        instant = datetime.fromisoformat(written)
    except ValueError:
        raise BadInput(f"{option}: {written!r} is not an instant such as 2026-09-01T08:00:00Z.") from None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
