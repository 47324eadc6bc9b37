"""The commands that load facts from files, and write records to files."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from app import observability
from app.cli_data import progress, read_instant
from app.development import development
from app.errors import BadInput
from app.exporters import tables
from app.exporters.exporting import export
from app.exporters.formats import Format
from app.exporters.tables import Export
from app.exporters.words import EXAMPLE, read_filter
from app.importers.csv_folder import import_folder
from app.importers.oneroster.delivery import import_package
from app.importers.oneroster.options import MOST_REMOVED, NewSchools, Options
from app.importers.report import Report
from app.importers.storing import Progress
from app.main import services_of
from app.settings import Settings

cli = typer.Typer()
imports = typer.Typer(help="Load facts from files.", no_args_is_help=True)
exports = typer.Typer(help="Write records, or their history, to a file.", no_args_is_help=True)
cli.add_typer(imports, name="import")
cli.add_typer(exports, name="export")

DryRun = Annotated[bool, typer.Option(help="Say what would change; change nothing.")]
Written = Annotated[str | None, typer.Option("--filter", help=f"Of which classes, as in the API: {EXAMPLE}")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="The file; if not given, standard output. It appears when whole.")
]
As = Annotated[Format | None, typer.Option("--format", help="If not given, as the file is called, else CSV.")]


@imports.command("csv")
def import_csv(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="One file for each kind of fact.")],
    dry_run: DryRun = False,
    recorded_at: Annotated[
        str | None, typer.Option(help="Source time of rows that have none; if not given, when their file was changed.")
    ] = None,
) -> None:
    """Store the facts in a folder of CSV files: all of them, or none if there is a problem. See docs/csv.md."""
    instant = read_instant("--recorded-at", recorded_at) if recorded_at else None
    _import(
        lambda engine, progress: import_folder(engine, folder, recorded_at=instant, dry_run=dry_run, progress=progress)
    )


@imports.command("oneroster")
def import_oneroster(
    path: Annotated[Path, typer.Argument(exists=True, help="A package of OneRoster 1.1 or 1.2: a zip or a folder.")],
    dry_run: DryRun = False,
    recorded_at: Annotated[
        str | None, typer.Option(help="When the package was exported; if not given, when its newest file was written.")
    ] = None,
    time_zone: Annotated[str | None, typer.Option(help="Of schools not stored yet, such as Europe/London.")] = None,
    pass_mark: Annotated[float, typer.Option(help="Of schools not stored yet: grade that passes, in percent.")] = 60,
    feedback_hours: Annotated[int, typer.Option(help="Of schools not stored yet.")] = 168,
    active_days: Annotated[int, typer.Option(help="Of schools not stored yet.")] = 14,
    improvement_days: Annotated[int, typer.Option(help="Of schools not stored yet.")] = 30,
    excused_counts: Annotated[bool, typer.Option(help="Of schools not stored yet.")] = True,
    expects_submission: Annotated[
        bool | None, typer.Option(help="Whether something is to be handed in for a line item. New ones: no.")
    ] = None,
    grades_only: Annotated[
        bool, typer.Option("--grades-only", help="Take no submissions from results: others tell of them.")
    ] = False,
    most_removed: Annotated[
        float, typer.Option(min=0, max=100, help="Percent of what is stored that a bulk file may leave out.")
    ] = MOST_REMOVED,
    keep_missing: Annotated[
        bool, typer.Option("--keep-missing", help="What a bulk file leaves out is not gone.")
    ] = False,
    skip_bad_rows: Annotated[
        bool, typer.Option("--skip-bad-rows", help="Leave out rows that have a problem; store the others.")
    ] = False,
) -> None:
    """Store a OneRoster package: all of it, or nothing if there is a problem. See docs/oneroster.md."""
    options = Options(
        NewSchools(time_zone, Decimal(str(pass_mark)), feedback_hours, active_days, improvement_days, excused_counts),
        read_instant("--recorded-at", recorded_at) if recorded_at else None,
        *(expects_submission, grades_only, most_removed, keep_missing, skip_bad_rows, dry_run),
    )
    _import(lambda engine, progress: import_package(engine, path, options, progress=progress))


def _import(importing: Callable[[AsyncEngine, Progress], Awaitable[Report]]) -> None:
    with development() as settings:
        observability.configure(settings)
        report = asyncio.run(_run(settings, importing))
    _tell(report)
    if report.blocking:
        raise typer.Exit(1)


async def _run(settings: Settings, importing: Callable[[AsyncEngine, Progress], Awaitable[Report]]) -> Report:
    async with services_of(settings) as services:
        with progress() as bar:
            task = bar.add_task("Reading", total=None)
            report = await importing(
                services.engine, lambda file, rows: bar.update(task, description=file, completed=rows)
            )
        if report.is_stored:
            await services.performance.refresh(report.class_ids)
    return report


def _tell(report: Report) -> None:
    for problem in report.problems:
        sys.stderr.write(f"{problem} [{problem.code}]\n")
    for note in report.notes:
        sys.stderr.write(f"{note} [{note.code}]\n")
    if report.problem_count:
        left_out = "would be left out" if report.dry_run else "were left out"
        outcome = "nothing was stored" if report.blocking else f"these rows {left_out}"
        sys.stderr.write(f"{_problems(report)}: {outcome}.\n")
    if not report.blocking:
        _tell_changes(report)


def _problems(report: Report) -> str:
    more = f", the first {len(report.problems):,} shown" if len(report.problems) < report.problem_count else ""
    return "1 problem" if report.problem_count == 1 else f"{report.problem_count:,} problems{more}"


def _tell_changes(report: Report) -> None:
    stored = "would be stored" if report.dry_run else "stored"
    for file, tally in report.files.items():
        parts = {"new": tally.new, "removed": tally.removed}
        of_stored = ", ".join(f"{number:,} {part}" for part, number in parts.items() if number)
        of_unchanged = f"{tally.older:,} older than what is stored" if tally.older else ""
        sys.stdout.write(
            f"{file}: {tally.stored:,} {stored}{of_stored and f' ({of_stored})'}, "
            f"{tally.unchanged:,} unchanged{of_unchanged and f' ({of_unchanged})'}\n"
        )


@exports.command("records")
def export_records(filter_: Written = None, output: Output = None, format_: As = None) -> None:
    """The record of each class, with every metric. See docs/export.md."""
    _export(tables.records(read_filter(filter_)), output, format_)


@exports.command("history")
def export_history(
    filter_: Written = None,
    output: Output = None,
    format_: As = None,
    begins: Annotated[str | None, typer.Option("--from", help="Versions made from this instant on.")] = None,
    ends: Annotated[str | None, typer.Option("--to", help="Versions made until just before this instant.")] = None,
) -> None:
    """Every version of the records of classes that pass the filter now. See docs/export.md."""
    span = (_instant_or_none("--from", begins), _instant_or_none("--to", ends))
    _export(tables.history(read_filter(filter_), *span), output, format_)


def _instant_or_none(option: str, written: str | None) -> datetime | None:
    return read_instant(option, written) if written else None


def _export(what: Export, output: Path | None, format_: Format | None) -> None:
    path = None if output is None or str(output) == "-" else output
    chosen = format_ or (Format.PARQUET if path and path.suffix == ".parquet" else Format.CSV)
    if chosen is Format.PARQUET and path is None and sys.stdout.isatty():
        raise BadInput("Parquet is not for a terminal: give --output.")
    with development() as settings:
        observability.configure(settings)
        rows = asyncio.run(_write(settings, what, chosen, path))
    sys.stderr.write(f"{rows:,} {'row' if rows == 1 else 'rows'} written.\n")


async def _write(settings: Settings, what: Export, format_: Format, path: Path | None) -> int:
    async with services_of(settings) as services:
        with progress() as bar:
            task = bar.add_task("Rows", total=None)
            return await export(
                services.engine, what, format_, path, progress=lambda rows: bar.update(task, completed=rows)
            )
