"""A package of files: a folder, or a zip archive that is read where it lies. Nothing is ever unpacked to the disk."""

from __future__ import annotations

import stat
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from io import BufferedReader, FileIO, RawIOBase
from pathlib import Path, PurePosixPath
from typing import IO
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from app.errors import BadInput
from app.importers.lines import CsvFile
from app.importers.report import CellProblem, Report

MOST_ENTRIES = 10_000
MOST_BYTES = 20 * 2**30
# Rosters shrink to a tenth or a twentieth. What shrinks this much more is no roster; a small file cannot harm.
MOST_SHRUNK = 200
SMALL = 10 * 2**20
BUFFER = 2**17
ENCRYPTED = 0x1
LINK = "This is no plain file; links are not followed."
# Archives that know no better have the first instant of the format.
UNDATED = datetime(1990, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file as it is called in the package; `folder` is where it lies there. `flaw`: why it will not be read."""

    folder: str
    name: str
    modified: datetime
    stream: Callable[[], BufferedReader]
    flaw: str | None = None

    @contextmanager
    def opened(self, report: Report) -> Iterator[CsvFile]:
        with self.stream() as stream:
            yield CsvFile(stream, self.name, report)


@dataclass(frozen=True, slots=True)
class Package:
    """Files by their names in small letters. `modified`: when the newest of them was last changed."""

    files: dict[str, Entry]
    modified: datetime


@contextmanager
def opened_package(path: Path, marker: str, report: Report) -> Iterator[Package]:
    """The files beside the one called `marker`: names may be in capitals or not, and all lie in a folder of their own.

    Raises BadInput if this is no package, or none that can be read.
    """
    if path.is_dir():
        yield _package(path, marker, list(_in_folder(path)), report)
        return
    with _zip(path) as archive:
        copied = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        yield _package(path, marker, list(_in_archive(path, archive, copied)), report)


def _package(path: Path, marker: str, entries: list[Entry], report: Report) -> Package:
    folder = _home(path, marker, entries)
    found: dict[str, Entry] = {}
    for entry in entries:
        if entry.folder == folder:
            _take(found, entry, report)
    return Package(found, min(max(entry.modified for entry in found.values()), datetime.now(UTC)))


def _take(found: dict[str, Entry], entry: Entry, report: Report) -> None:
    name = entry.name.lower()
    if name in found:
        report.add(CellProblem("FILE_REPEATED", f"The package has this file twice, as {found[name].name}.", entry.name))
    elif entry.flaw:
        report.add(CellProblem("FILE_NOT_PLAIN", entry.flaw, entry.name))
    found.setdefault(name, entry)


def _home(path: Path, marker: str, entries: Iterable[Entry]) -> str:
    """Where the marker lies: at the root, or in the only folder that has one."""
    folders = sorted({entry.folder for entry in entries if entry.name.lower() == marker}, key=lambda f: (f != "", f))
    if not folders:
        raise BadInput(f"{path} has no {marker}, which a package begins with.")
    if len(folders) > 1 and folders[0]:
        raise BadInput(f"{path} has more than one {marker}: in {folders[0]} and in {folders[1]}.")
    return folders[0]


def _in_folder(root: Path) -> Iterator[Entry]:
    """Also one folder down."""
    for path in sorted([*root.glob("*.[cC][sS][vV]"), *root.glob("*/*.[cC][sS][vV]")]):
        folder = "" if path.parent == root else path.parent.name
        plain = path.is_file() and not path.is_symlink() and not path.parent.is_symlink()
        if not _is_hidden(folder, path.name):
            modified = datetime.fromtimestamp(path.lstat().st_mtime, UTC)
            yield Entry(folder, path.name, modified, partial(_plain, path), None if plain else LINK)


def _plain(path: Path) -> BufferedReader:
    return BufferedReader(FileIO(path), BUFFER)


def _is_hidden(folder: str, name: str) -> bool:
    """What a system leaves behind, such as __MACOSX/._users.csv."""
    return name.startswith(".") or any(part.startswith((".", "__")) for part in folder.split("/"))


@contextmanager
def _zip(path: Path) -> Iterator[ZipFile]:
    try:
        archive = ZipFile(path)
    except (BadZipFile, EOFError, ValueError, NotImplementedError) as error:
        raise BadInput(f"{path} is neither a folder nor a zip archive that is whole: {error}.") from None
    with archive:
        _require_modest(path, archive.infolist())
        yield archive


def _require_modest(path: Path, members: list[ZipInfo]) -> None:
    """Sizes are as the archive declares them; no more than that is ever read of a member."""
    if len(members) > MOST_ENTRIES:
        raise BadInput(f"{path} holds {len(members):,} files; at most {MOST_ENTRIES:,} are looked at.")
    if sum(member.file_size for member in members) > MOST_BYTES:
        raise BadInput(f"{path} would unpack to more than {MOST_BYTES // 2**30} GB.")
    for member in members:
        if member.file_size > SMALL and member.file_size > MOST_SHRUNK * max(member.compress_size, 1):
            raise BadInput(f"{path} would unpack to more than {MOST_SHRUNK} times its size: that is no roster.")


def _in_archive(path: Path, archive: ZipFile, copied: datetime) -> Iterator[Entry]:
    for member in archive.infolist():
        place = PurePosixPath(member.filename.replace("\\", "/"))
        folder = "" if str(place.parent) == "." else str(place.parent)
        if member.is_dir() or place.suffix.lower() != ".csv" or _is_hidden(folder, place.name):
            continue
        stream = partial(_stream, path, archive, member)
        yield Entry(folder, place.name, _written(member, copied), stream, _flaw(member))


def _stream(path: Path, archive: ZipFile, member: ZipInfo) -> BufferedReader:
    with _intact(path, member.filename):
        inner = archive.open(member)
    return BufferedReader(Member(path, member.filename, inner), BUFFER)


def _flaw(member: ZipInfo) -> str | None:
    if stat.S_ISLNK(member.external_attr >> 16):
        return LINK
    if member.flag_bits & ENCRYPTED:
        return "This is encrypted; give the package without a password."
    if member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        return "This is compressed in an unusual way; make the archive again with the usual one (deflate)."
    return None


def _written(member: ZipInfo, copied: datetime) -> datetime:
    """When a member was written, which no copying of the archive changes.

    The format has no time zone. It is read as UTC, and never later than the archive itself: rather too early than too
    late, for what changed after the export must be newer than it.
    """
    try:
        written = datetime(*member.date_time, tzinfo=UTC)
    except ValueError:
        return copied
    return min(written, copied) if written > UNDATED else copied


class Member(RawIOBase):
    """A member of an archive as a stream, which says so in a line where the archive is damaged."""

    def __init__(self, path: Path, name: str, inner: IO[bytes]) -> None:
        self.path, self.member, self.inner = path, name, inner

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        with _intact(self.path, self.member):
            data = self.inner.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self.inner.close()
        super().close()


@contextmanager
def _intact(path: Path, name: str) -> Iterator[None]:
    try:
        yield
    except (BadZipFile, zlib.error, EOFError) as error:
        raise BadInput(f"{path} is damaged at {name!r}: {error}. Transfer it again.") from None
