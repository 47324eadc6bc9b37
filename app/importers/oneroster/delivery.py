"""A package on its way: read, checked, turned into facts, compared with what is stored, and stored."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.importers.oneroster import context, facts, references, removals
from app.importers.oneroster.facts import Fill
from app.importers.oneroster.files import MODIFIED, File, files_of
from app.importers.oneroster.manifest import MANIFEST, Manifest, Mode, read_manifest
from app.importers.oneroster.options import Options
from app.importers.oneroster.reading import Reader
from app.importers.package import Package, opened_package
from app.importers.report import MOST_PROBLEMS, CellProblem, Report, Tally
from app.importers.staging import Staging
from app.importers.storing import Progress, calculate, rehearsed, require_source_time, silent

# Told of a row, which can be left out. All else is wrong with a file as a whole.
OF_ROWS = frozenset(
    {
        *("CELL_INVALID", "ROW_LENGTH", "FILE_NOT_UTF8", "RECORD_REPEATED", "RECORDED_IN_FUTURE", "SCHOOL_IS_FIXED"),
        *("SCHOOL_NOT_FOUND", "ORG_NOT_FOUND", "ACADEMIC_SESSION_NOT_FOUND", "CLASS_NOT_FOUND", "USER_NOT_FOUND"),
        *("CATEGORY_NOT_FOUND", "LINE_ITEM_NOT_FOUND"),
    }
)
# In the order in which they are stored; which file of the package each comes from.
KINDS = {
    "schools": "orgs",
    "people": "users",
    "classes": "classes",
    "enrollments": "enrollments",
    "categories": "categories",
    "activities": "lineItems",
    "submissions": "results",
    "grades": "results",
    "excusals": "results",
}
COLUMNS = {
    "recorded_at": MODIFIED,
    "grade_recorded_at": MODIFIED,
    "school_id": "schoolSourcedId",
    "class_id": "classSourcedId",
    "person_id": "userSourcedId",
    "student_id": "studentSourcedId",
    "category_id": "categorySourcedId",
    "activity_id": "lineItemSourcedId",
}
LOCK_SCHOOLS = text(
    "SELECT id FROM school WHERE id IN (SELECT sourcedId FROM oneroster_orgs) ORDER BY id FOR NO KEY UPDATE"
)
UNDATED_CLASSES = text("""
    SELECT count(*) FROM oneroster_classes AS r WHERE r.live AND EXISTS (
        SELECT FROM unnest(string_to_array(r.termSourcedIds, ',')) AS term (id)
        WHERE btrim(term.id) <> '' AND btrim(term.id) NOT IN (SELECT sourcedId FROM oneroster_session)
    )
""")


async def import_package(engine: AsyncEngine, path: Path, options: Options, *, progress: Progress = silent) -> Report:
    """Store a package in one transaction; nothing of it if there is a problem, or only what has none if so told.

    A dry run does everything, says what it would have changed, and takes it back. `progress` is called with the name of
    a file and the number of its rows read so far, then with "Calculating" and the number of classes. Raises BadInput
    for what is no package at all.
    """
    require_source_time(options.recorded_at)
    parameters = options.new_schools.parameters()
    report = Report(dry_run=options.dry_run, skips=OF_ROWS if options.skip_bad_rows else frozenset())
    with opened_package(path, MANIFEST, report) as package:
        manifest = read_manifest(package, report)
        if manifest is not None:
            async with rehearsed(engine, report) as connection:
                delivery = Delivery(connection, package, manifest, options, report, progress, parameters)
                await delivery.deliver()
    report.arrange()
    report.files = {file: tally for file, tally in report.files.items() if tally != Tally()}
    return report


@dataclass(slots=True)
class Delivery:
    """`parameters` are those of all queries. `names`: the files that are there, as they are called in the package."""

    connection: AsyncConnection
    package: Package
    manifest: Manifest
    options: Options
    report: Report
    progress: Progress
    parameters: dict[str, Any]
    staging: Staging = field(init=False)
    reader: Reader = field(init=False)
    names: dict[str, str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.staging = Staging(self.connection)
        self.reader = Reader(self.connection, self.report, self.progress)

    async def deliver(self) -> None:
        """Each step needs that there was no problem in the one before, or that the rows that had one are left out."""
        for step in (self._read, self._fill, self._find_faults, self._store):
            await step()
            if self.report.blocking:
                return
        if self.report.is_stored:
            await calculate(self.connection, self.report.class_ids, self.progress)

    @property
    def _taken_at(self) -> datetime:
        return self.options.recorded_at or self.package.modified

    async def _read(self) -> None:
        files = files_of(self.manifest.version)
        self.reader.lost |= self.manifest.doubtful
        for file in files.values():
            await self.reader.create(file)
            mode, entry = self.manifest.modes[file.name], self.package.files.get(file.csv.lower())
            if entry is not None and mode is not Mode.ABSENT:
                self.names[file.name] = entry.name
                await self.reader.read(file, entry, mode, self._taken_at)
        await references.check(
            *(self.connection, files, self.names, self.manifest.modes, self.reader.lost, self.report),
            zone_known=self.options.new_schools.time_zone is not None,
        )
        self.parameters |= await self._told(files)

    async def _told(self, files: dict[str, File]) -> dict[str, Any]:
        """What the queries must know of the package as a whole."""
        return {
            "taken_at": await self._newest(files.values()),
            "expects_submission": self.options.expects_submission,
            "grades_only": self.options.grades_only,
            "weights_told": "weight" in self.reader.headers.get("categories", ()),
            "grades_told": not self.names.keys().isdisjoint(("categories", "lineItems")),
            "rosters_told": not self.names.keys().isdisjoint(("orgs", "classes")),
            "results_are_delta": self.manifest.modes["results"] is Mode.DELTA,
        }

    async def _newest(self, files: Iterable[File]) -> datetime:
        """When the package was made: of one that has only deltas, when the last of its records was changed."""
        if any(self._is_bulk(name) for name in self.names):
            return self._taken_at
        newest = " UNION ALL ".join(f"SELECT max({MODIFIED}) AS at FROM {file.table} WHERE NOT bad" for file in files)
        found = (await self.connection.execute(text(f"SELECT max(at) FROM ({newest}) AS told"))).scalar_one()
        return found or self._taken_at

    def _is_bulk(self, file: str) -> bool:
        """And all of it could be read."""
        return file in self.names and self.manifest.modes[file] is Mode.BULK and file not in self.reader.lost

    async def _fill(self) -> None:
        await self.connection.execute(LOCK_SCHOOLS)
        await context.prepare(self.connection, self.options.new_schools.time_zone)
        await self._note_undated_classes()
        await self._take(facts.FIRST)
        await self._take(fill for fill in facts.REMOVALS if self.manifest.modes[fill.file] is Mode.DELTA)
        await self._remove_absent()
        await self._count_removed()
        await self._take(facts.REST)
        await self._create_weighted()
        await self._take(facts.LAST)

    async def _take(self, fills: Iterable[Fill]) -> None:
        for fill in fills:
            await self.staging.fill(fill.kind, fill.query, self.parameters)

    async def _create_weighted(self) -> None:
        statement = f"CREATE TEMPORARY TABLE oneroster_weighted ON COMMIT DROP AS {facts.WEIGHTED}"
        await self.connection.execute(text(statement), self.parameters)

    async def _note_undated_classes(self) -> None:
        number = (await self.connection.execute(UNDATED_CLASSES)).scalar_one()
        if number:
            message = (
                f"{number:,} of the classes have terms that this package does not tell, and terms are not kept: stored "
                "classes keep their dates, new ones have none. Send academicSessions.csv along."
            )
            self._note("classes", message)

    def _note(self, file: str, message: str) -> None:
        self.report.notes.append(CellProblem("NOTE", message, self.names.get(file, f"{file}.csv")))

    async def _remove_absent(self) -> None:
        if self.options.keep_missing:
            return
        await removals.create_scopes(self.connection, self.manifest.modes, self.parameters)
        for scope in removals.SCOPES:
            if self._is_bulk(scope.file):
                loss = await removals.measure(self.connection, scope, self.parameters)
                if removals.is_too_much(loss, self.options.most_removed):
                    message = removals.message(loss, self.options.most_removed)
                    self.report.add(CellProblem("TOO_MANY_REMOVED", message, self.names[scope.file]))
                await self.staging.fill(scope.kind, removals.absent(scope), self.parameters)
        self._note_lost()

    def _note_lost(self) -> None:
        for name in sorted(self.reader.lost & self.names.keys()):
            if self.manifest.modes[name] is Mode.BULK:
                self._note(name, "Not all of it could be read, so nothing is gone for not being in it.")

    async def _count_removed(self) -> None:
        """So far there are only facts that take something away, and schools and people."""
        for kind in KINDS:
            if kind not in ("schools", "people") and self.staging.counts.get(kind):
                self._tally(kind).removed += (await self.staging.compare(kind)).changed

    def _tally(self, kind: str) -> Tally:
        """Of a file that holds more than one kind of fact, each apart."""
        shared = list(KINDS.values()).count(KINDS[kind]) > 1
        return self.report.tally(f"{self._name(kind)} ({kind})" if shared else self._name(kind))

    def _name(self, kind: str) -> str:
        return self.names.get(KINDS[kind], f"{KINDS[kind]}.csv")

    async def _find_faults(self) -> None:
        """The gradebook's own look at what it is handed, whoever hands it in. Now nothing is left out any more."""
        self.report.skips = frozenset()
        for kind in KINDS:
            if self.staging.counts.get(kind):
                faults, total = await self.staging.find_faults(kind, (), most=MOST_PROBLEMS)
                for fault in faults:
                    column = COLUMNS.get(fault.column, fault.column)
                    self.report.add(CellProblem(fault.code, fault.message, self._name(kind), fault.index, column))
                if faults:
                    self.report.count(self._name(kind), faults[-1].code, total - len(faults))

    async def _store(self) -> None:
        class_ids: set[str] = set()
        for kind in KINDS:
            if self.staging.counts.get(kind):
                class_ids.update(await self._merge(kind))
        self.report.class_ids = sorted(class_ids)

    async def _merge(self, kind: str) -> list[str]:
        """What differs only in its source time is stored again, but nobody is told that it changed."""
        comparison = await self.staging.compare(kind)
        tally = self._tally(kind)
        tally.stored += comparison.new + comparison.changed
        tally.new += comparison.new
        tally.unchanged += comparison.same + comparison.older
        tally.older += comparison.older
        await self.staging.merge(kind)
        return comparison.class_ids
