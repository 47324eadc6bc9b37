"""From the cells of a row to the values of a fact."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from enum import StrEnum
from operator import itemgetter
from typing import Any, get_args
from zoneinfo import ZoneInfo

from pydantic import ValidationError
from sqlalchemy import Boolean, Date, DateTime, Integer, Numeric

from app.calendar import start_of_day
from app.shelf import SOURCE_TIMES, Shelf

DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
# A date alone in these means the end of that day, elsewhere its start.
ENDS_OF_DAYS = ("due_at", "ends")
SHOWN = 60
PYDANTIC_SHOULD = re.compile(r"^\w+( input)? should ")
EXPECTED = {
    "instant": "an instant with its offset from UTC, such as 2024-09-02T08:30:00+01:00, or a date, such as 2024-09-02",
    "day": "a date, such as 2024-09-02",
    "number": "a number, such as 7.5",
    "whole": "a whole number, such as 3",
    "truth": "true or false",
}

Values = tuple[Any, ...]


class InvalidRow(Exception):
    """One or more cells do not hold what their column needs: `faults` are the messages by column.

    `understood` are the row's values as far as they are text, its key and references among them; None for the rest.
    """

    def __init__(self, faults: dict[str, str], understood: Values) -> None:
        super().__init__()
        self.faults, self.understood = faults, understood


def columns_of(here: Shelf) -> dict[str, bool]:
    """The columns a file of this kind may have, and whether it must. The halves of a submission share a source time."""
    fields = here.fact.model_fields
    content = [column for half in here.halves for column in half.content]
    return {column: fields[column].is_required() for column in (*here.key, *content)} | {"recorded_at": False}


def form_of(here: Shelf, column: str) -> str | None:
    """Which form a cell has, as `EXPECTED` names them, or None for text."""
    kind = here.table.c[column].type
    forms = {DateTime: "instant", Date: "day", Numeric: "number", Integer: "whole", Boolean: "truth"}
    return next((form for type_, form in forms.items() if isinstance(kind, type_)), None)


def expected_in(here: Shelf, column: str) -> str | None:
    if form := form_of(here, column):
        return EXPECTED[form]
    choices = choices_in(here, column)
    return f"one of {', '.join(choices)}" if choices else None


def choices_in(here: Shelf, column: str) -> list[str]:
    if column not in here.fact.model_fields:
        return []
    annotation = here.fact.model_fields[column].annotation
    kinds = (annotation, *get_args(annotation))
    return [choice for kind in kinds if isinstance(kind, type) and issubclass(kind, StrEnum) for choice in kind]


class Layout:
    """How the rows under one header become facts of one kind. A column without a name is not read.

    `source_time`: what the file calls the column of the source time.
    """

    def __init__(self, here: Shelf, header: Sequence[str], source_time: str = "recorded_at") -> None:
        self.shelf, self.header, self.times, self.source_time = here, header, here.times, source_time
        read = [name for name in header if name]
        self.blank = {"title": ""} if "title" in read else {}
        self.texts = {name for name in read if form_of(here, name) is None}
        self.choices = {name: {choice.upper(): choice for choice in choices_in(here, name)} for name in read}
        self.instants = [name for name in read if form_of(here, name) == "instant"]
        self.plain = {
            name: form.fullmatch
            for name in read
            for form in [{"day": DAY, "number": NUMBER, "whole": NUMBER}.get(form_of(here, name) or "")]
            if form
        }
        self.validate: Callable[[dict[str, Any]], Any] = here.fact.model_validate
        self.values = itemgetter(*here.columns)

    def row(self, cells: Sequence[str]) -> dict[str, Any]:
        """An empty cell is the same as none, but for a title."""
        return self.blank | {name: cell for name, cell in zip(self.header, cells, strict=True) if cell and name}

    def dated(self, row: dict[str, Any]) -> bool:
        """Whether the school's time zone is needed, to say when a day begins or ends."""
        return any(len(row.get(name, "")) == 10 for name in self.instants)

    def place(self, row: dict[str, Any]) -> tuple[str, str]:
        """The table and id whose time zone the row's days are in."""
        if "time_zone" in self.header:
            return "zone", row.get("time_zone", "")
        column = "school_id" if "school_id" in self.header else "class_id"
        return column.removesuffix("_id"), row.get(column, "")

    def read(self, row: dict[str, Any], zone: ZoneInfo, recorded_at: datetime | None) -> Values:
        """The values in the order of the shelf's columns. Raises `InvalidRow` with everything that is wrong.

        `recorded_at`: the source time of a row that has none; None if each must have its own.
        """
        shown = row.copy()
        faults = self._read(row, zone)
        time = row.pop(self.source_time, recorded_at)
        if time is not None or self.source_time in shown:
            row |= dict.fromkeys(self.times, time)
        try:
            values: Values = self.values(self.validate(row).__dict__)
        except ValidationError as error:
            faults += self._faults(error)
        if faults:
            raise self._invalid(shown, dict(faults))
        return values

    def _invalid(self, row: dict[str, Any], reasons: dict[str, str]) -> InvalidRow:
        good = self.texts - reasons.keys()
        understood = tuple(row.get(column) if column in good else None for column in self.shelf.columns)
        messages = {column: self._message(column, reason, row) for column, reason in reasons.items()}
        return InvalidRow(messages, understood)

    def _read(self, row: dict[str, Any], zone: ZoneInfo) -> list[tuple[str, str]]:
        for name, choices in self.choices.items():
            if name in row:
                row[name] = choices.get(row[name].upper(), row[name])
        faults = [(name, "expected") for name, plain in self.plain.items() if name in row and not plain(row[name])]
        for name in self.instants:
            if name in row:
                try:
                    row[name] = _instant(row[name], name, zone)
                except (ValueError, OverflowError):
                    faults.append((name, "expected"))
        for name, _ in faults:
            row[name] = None
        return faults

    def _faults(self, error: ValidationError) -> list[tuple[str, str]]:
        """Those of a cell that could not be read at all are known already, under a better name."""
        faults = []
        for detail in error.errors(include_url=False, include_context=False):
            name = str(detail["loc"][0])
            if detail["input"] is not None:
                faults.append(("recorded_at" if name in SOURCE_TIMES else name, _reason(detail["type"], detail["msg"])))
        return faults

    def _message(self, column: str, reason: str, row: dict[str, Any]) -> str:
        if reason == "required":
            return "This is required."
        found = row.get(column, "")
        found = f"{found[:SHOWN]}…" if len(found) > SHOWN else found
        expected = expected_in(self.shelf, column)
        if reason == "expected" and expected:
            return f"Expected {expected}; found {found!r}."
        return f"{reason[0].upper()}{reason[1:]}; found {found!r}."


def _instant(cell: str, column: str, zone: ZoneInfo) -> datetime:
    if DAY.fullmatch(cell):
        return start_of_day(date.fromisoformat(cell) + timedelta(days=column in ENDS_OF_DAYS), zone)
    instant = datetime.fromisoformat(cell)
    if instant.tzinfo is None:
        raise ValueError
    return instant


def _reason(kind: str, message: str) -> str:
    if kind == "missing":
        return "required"
    if kind == "enum" or kind.endswith(("_parsing", "_type", "_from_float")):
        return "expected"
    return PYDANTIC_SHOULD.sub("must ", message.removeprefix("Value error, "))
