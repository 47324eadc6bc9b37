"""docs/oneroster.md says what is read of a package."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.importers.oneroster.delivery import KINDS, OF_ROWS
from app.importers.oneroster.files import MODIFIED, STATUS, files_of
from app.importers.oneroster.options import MOST_REMOVED
from app.importers.package import MOST_BYTES, MOST_ENTRIES, MOST_SHRUNK
from app.importers.report import MOST_PROBLEMS
from app.shelf import shelf

DOCUMENT = (Path(__file__).parents[2] / "docs" / "oneroster.md").read_text()
LINES = re.findall(r"^\| `(\w+)\.csv`(?: \((1\.[12])\))? \| (.*) \| (.*)\|$", DOCUMENT, re.MULTILINE)


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_every_column_that_is_read_is_listed(version: str) -> None:
    listed = {
        name: (re.findall(r"`(\w+)`", required), re.findall(r"`(\w+)`", optional))
        for name, only, required, optional in LINES
        if only in ("", version)
    }
    for name, file in files_of(version).items():
        columns = file.columns(delta=False)
        own = [column for column in columns if column not in (STATUS, MODIFIED)]
        assert listed.pop(name) == ([c for c in own if columns[c]], [c for c in own if not columns[c]])
    assert listed == {}


def test_limits_are_as_they_are_told() -> None:
    assert f"more\n  than {MOST_ENTRIES:,} files or {MOST_BYTES // 2**30} GB" in DOCUMENT
    assert f"more than {MOST_SHRUNK} times its size" in DOCUMENT
    assert f"more than {MOST_REMOVED:g} %" in DOCUMENT
    assert MOST_PROBLEMS == 1_000
    assert "the first thousand" in DOCUMENT


def test_what_is_staged_has_a_shelf() -> None:
    assert all(shelf(kind).columns for kind in KINDS)
    assert "TOO_MANY_REMOVED" not in OF_ROWS
