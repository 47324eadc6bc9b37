"""The manifest of a package: its version, and of each file whether it is all there is or what has changed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice

from app.importers.cells import SHOWN
from app.importers.lines import CsvFile
from app.importers.oneroster.files import File, files_of
from app.importers.package import Package
from app.importers.report import CellProblem, Report

MANIFEST = "manifest.csv"
COLUMNS = {"propertyName": True, "value": True}
MOST_PROPERTIES = 1_000
VERSION = re.compile(r"v?(1\.[12])(\.\d+)*", re.ASCII)
VERSION_PROPERTY, FILE_PROPERTY = "oneroster.version", "file."


class Mode(StrEnum):
    """Of a file: not there; all there is, so that what is not in it is gone; or what has changed."""

    ABSENT = "absent"
    BULK = "bulk"
    DELTA = "delta"


@dataclass(slots=True)
class Manifest:
    """`doubtful` are the files of which it is not clear whether they are there."""

    version: str
    modes: dict[str, Mode]
    doubtful: set[str] = field(default_factory=set)


def read_manifest(package: Package, report: Report) -> Manifest | None:
    """None if it cannot be followed, and the report says why."""
    entry = package.files[MANIFEST]
    report.tally(entry.name)
    if entry.flaw:
        return None
    with entry.opened(report) as file:
        found = _properties(file)
        version = _version(file, found.get(VERSION_PROPERTY))
        if version is None:
            return None
        manifest = Manifest(version, dict.fromkeys(files_of(version), Mode.ABSENT))
        for each in files_of(version).values():
            _read_mode(file, each, found, manifest, package)
    return manifest


def _properties(file: CsvFile) -> dict[str, tuple[int, str]]:
    """Line and value by name, in small letters."""
    names = file.header(COLUMNS)
    if names is None:
        return {}
    name, value = (names.index(column) for column in COLUMNS)
    rows = islice(file.rows(len(names)), MOST_PROPERTIES)
    return {cells[name].strip().lower(): (line, cells[value].strip()[:SHOWN]) for line, cells in rows}


def _version(file: CsvFile, found: tuple[int, str] | None) -> str | None:
    if found and (match := VERSION.fullmatch(found[1])):
        return match[1]
    if found:
        file.add("VERSION_UNKNOWN", f"OneRoster 1.1 and 1.2 are read; this is {found[1]!r}.", found[0], "value")
    elif not file.overlooked and not file.report.problem_count:
        file.add("VERSION_UNKNOWN", f"There is no row {VERSION_PROPERTY}, which says 1.1 or 1.2.")
    return None


def _read_mode(
    file: CsvFile, each: File, found: Mapping[str, tuple[int, str]], manifest: Manifest, package: Package
) -> None:
    line, value = found.get(FILE_PROPERTY + each.name.lower(), (None, Mode.ABSENT.value))
    try:
        manifest.modes[each.name] = Mode(value.lower())
    except ValueError:
        file.add("MODE_UNKNOWN", f"Expected one of {', '.join(Mode)}; found {value!r}.", line, "value")
        manifest.doubtful.add(each.name)
        return
    if problem := _disagreement(each, manifest.modes[each.name], package):
        file.report.add(problem)
        manifest.doubtful.add(each.name)


def _disagreement(file: File, mode: Mode, package: Package) -> CellProblem | None:
    """A file that is forgotten on one side would be overlooked, or be taken for empty."""
    entry = package.files.get(file.csv.lower())
    if entry is None and mode is not Mode.ABSENT:
        message = f"{MANIFEST} says {mode}, but the package has no such file. Add it, or say absent."
        return CellProblem("FILE_MISSING", message, file.csv)
    if entry is not None and mode is Mode.ABSENT:
        message = f"{MANIFEST} says that this file is absent. Say bulk or delta there, or take the file out."
        return CellProblem("FILE_UNANNOUNCED", message, entry.name)
    return None
