"""Archives and folders that are not what they seem."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_LZMA, ZIP_STORED, ZipFile, ZipInfo

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from app.errors import BadInput
from app.importers import package as packages
from app.importers.oneroster.delivery import import_package
from app.importers.oneroster.manifest import MANIFEST
from app.importers.package import opened_package
from app.importers.report import Report
from tests.csv_folder import dump
from tests.oneroster import AZORES, EXPORTED, FIRST, package, zipped


def names(path: Path) -> set[str]:
    with opened_package(path, MANIFEST, Report()) as found:
        return set(found.files)


async def refusal(engine: AsyncEngine, path: Path) -> list[str]:
    report = await import_package(engine, path, AZORES)
    assert not any((await dump(engine)).values())
    return [f"{problem.code} {problem}" for problem in report.problems]


def test_nothing_is_unpacked_wherever_a_name_points(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    archive = zipped(package(tmp_path / "in" / "p", FIRST))
    before = sorted(tmp_path.rglob("*"))
    with ZipFile(archive, "a") as file:
        for name in ("../evil.csv", "/tmp/evil.csv", "..\\..\\evil.csv", "a/../../evil.csv", "C:\\evil.csv"):
            file.writestr(name, "x")
    assert "evil.csv" not in names(archive)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_archive_that_would_unpack_to_far_more_is_refused(tmp_path: Path) -> None:
    archive = zipped(package(tmp_path / "p", FIRST))
    with ZipFile(archive, "a", ZIP_DEFLATED) as file:
        file.writestr("results2.csv", b"," * 20_000_000)
    with pytest.raises(BadInput, match="more than 200 times its size"):
        names(archive)


def test_an_archive_that_would_unpack_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = zipped(package(tmp_path / "p", FIRST))
    monkeypatch.setattr(packages, "MOST_BYTES", 1_000)
    with pytest.raises(BadInput, match="would unpack to more than"):
        names(archive)


def test_an_archive_of_too_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = zipped(package(tmp_path / "p", FIRST))
    monkeypatch.setattr(packages, "MOST_ENTRIES", 3)
    with pytest.raises(BadInput, match="holds 10 files; at most 3 are looked at"):
        names(archive)


async def test_no_more_is_read_of_a_file_than_it_declares(engine: AsyncEngine, tmp_path: Path) -> None:
    """Its size is made smaller in both places that tell it: what is left then does not agree with its checksum."""
    archive = zipped(package(tmp_path / "p", FIRST))
    size = len(FIRST["results"]).to_bytes(4, "little")
    data = archive.read_bytes()
    assert data.count(size) >= 2
    archive.write_bytes(data.replace(size, (len(FIRST["results"]) - 40).to_bytes(4, "little")))
    with pytest.raises(BadInput, match=r"is damaged at 'results\.csv'"):
        await import_package(engine, archive, AZORES)
    assert not any((await dump(engine)).values())


@pytest.mark.parametrize("kind", ["link", "lzma", "encrypted"])
async def test_members_that_are_not_plain_are_problems(engine: AsyncEngine, tmp_path: Path, kind: str) -> None:
    archive = zipped(package(tmp_path / "p", {name: FIRST[name] for name in FIRST if name != "categories"}))
    with ZipFile(archive, "a") as file:
        info = ZipInfo("categories.csv", EXPORTED.timetuple()[:6])
        info.compress_type = ZIP_LZMA if kind == "lzma" else ZIP_STORED
        if kind == "link":
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(info, FIRST["categories"])
        if kind == "encrypted":
            file.filelist[-1].flag_bits |= 0x1
    found = await refusal(engine, archive)
    told = {"link": "links are not followed", "lzma": "compressed in an unusual way", "encrypted": "without a password"}
    assert any(problem.startswith("FILE_NOT_PLAIN categories.csv: ") and told[kind] in problem for problem in found)


async def test_an_archive_that_is_damaged_is_told_so(engine: AsyncEngine, tmp_path: Path) -> None:
    archive = zipped(package(tmp_path / "p", FIRST))
    data = bytearray(archive.read_bytes())
    with ZipFile(archive) as file:
        start = file.getinfo("users.csv").header_offset
    data[start + 80 : start + 90] = b"\xff" * 10
    archive.write_bytes(data)
    with pytest.raises(BadInput, match=r"is damaged at 'users\.csv'.*Transfer it again"):
        await import_package(engine, archive, AZORES)
    assert not any((await dump(engine)).values())


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_an_archive_that_is_cut_off_is_no_archive(tmp_path: Path, share: float) -> None:
    archive = zipped(package(tmp_path / "p", FIRST))
    data = archive.read_bytes()
    archive.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(BadInput, match="neither a folder nor a zip archive that is whole"):
        names(archive)


def test_a_file_twice_is_a_problem(tmp_path: Path) -> None:
    archive = zipped(package(tmp_path / "p", FIRST))
    with ZipFile(archive, "a") as file:
        file.writestr("USERS.csv", FIRST["users"])
    report = Report()
    with opened_package(archive, MANIFEST, report):
        assert [str(problem) for problem in report.problems] == [
            "USERS.csv: The package has this file twice, as users.csv."
        ]


def test_the_root_is_looked_at_first_and_then_a_folder(tmp_path: Path) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    package(outer / "one", {"orgs": FIRST["orgs"]})
    assert names(outer) == {"manifest.csv", "orgs.csv"}
    package(outer / "two", {"users": FIRST["users"]})
    with pytest.raises(BadInput, match=r"has more than one manifest\.csv: in one and in two"):
        names(outer)
    package(outer, {"classes": FIRST["classes"]})
    assert names(outer) == {"manifest.csv", "classes.csv"}


async def test_links_in_a_folder_are_not_followed(engine: AsyncEngine, tmp_path: Path) -> None:
    path = package(tmp_path / "p", FIRST)
    (path / "users.csv").rename(tmp_path / "elsewhere")
    (path / "users.csv").symlink_to(tmp_path / "elsewhere")
    found = await refusal(engine, path)
    assert found[0] == "FILE_NOT_PLAIN users.csv: This is no plain file; links are not followed."


def test_the_time_of_a_folder_is_that_of_its_newest_file_and_not_to_come(tmp_path: Path) -> None:
    path = package(tmp_path / "p", FIRST)
    newest = datetime(2024, 10, 5, tzinfo=UTC).timestamp()
    os.utime(path / "users.csv", (newest, newest))
    with opened_package(path, MANIFEST, Report()) as found:
        assert found.modified.timestamp() == newest
    os.utime(path / "users.csv", (4e9, 4e9))
    with opened_package(path, MANIFEST, Report()) as found:
        assert found.modified <= datetime.now(UTC)
