"""docs/csv.md says what the import takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from app.importers.cells import columns_of, expected_in, form_of
from app.importers.csv_folder import FILES
from app.shelf import Shelf, shelf

DOCUMENT = (Path(__file__).parents[2] / "docs" / "csv.md").read_text()
FORMS = {"instant": "instant", "day": "date", "number": "number", "whole": "whole number", "truth": "true or false"}


def documented(name: str) -> list[tuple[str, ...]]:
    section = re.search(rf"^### {re.escape(name)}\n(.*?)(?=^###|\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert section, f"{name} is not described"
    rows = [tuple(cell.strip() for cell in line.split("|")[1:4]) for line in section[1].splitlines() if "|" in line]
    return rows[2:]


def described(here: Shelf, column: str, required: bool) -> tuple[str, ...]:
    form = form_of(here, column)
    choices = (expected_in(here, column) or "text").removeprefix("one of ")
    key = " (key)" if column in here.key else ""
    return f"`{column}`{key}", FORMS[form] if form else choices, default_of(here, column, required)


def default_of(here: Shelf, column: str, required: bool) -> str:
    if required:
        return "required; may be empty" if column == "title" else "required"
    default: Any = here.fact.model_fields[column].default
    if default is None or default == "":
        return "empty"
    return str(default).lower() if isinstance(default, bool) else str(default)


@pytest.mark.parametrize("name", FILES)
def test_every_column_is_described(name: str) -> None:
    here = shelf(FILES[name])
    assert documented(name) == [described(here, column, required) for column, required in columns_of(here).items()]


def test_no_other_file_is_described() -> None:
    assert re.findall(r"^### (.*)$", DOCUMENT, re.MULTILINE) == list(FILES)
