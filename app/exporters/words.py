"""The filter of an export, in the words of the connection's: what ClassPerformanceFilter of the API takes, as JSON."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, NoReturn

import orjson

from app.columns import ClassStatus
from app.errors import BadInput
from app.listing import Filter, Range
from app.metrics import METRICS

EXAMPLE = '{"schoolIds": ["north"], "averageGrade": {"atLeast": 80}}'
EXAMPLE_RANGE = '{"atLeast": 80}'
METRIC_WORDS = {metric.graphql_name: metric.name for metric in METRICS}
WORDS = ("schoolIds", "classIds", "statuses", "teacherId", *METRIC_WORDS)
RANGE_WORDS = ("atLeast", "atMost", "isNull")


def read_filter(written: str | None) -> Filter:
    """Raises BadInput with the word that is wrong. Null is the same as not given."""
    if written is None:
        return Filter()
    try:
        found = orjson.loads(written)
    except orjson.JSONDecodeError as error:
        raise BadInput(f"--filter is not JSON, such as {EXAMPLE}: {error}.") from None
    given = _object("", found, WORDS)
    ranges = {METRIC_WORDS[word]: _range(word, given[word]) for word in METRIC_WORDS if word in given}
    return Filter(
        _ids("schoolIds", given),
        _ids("classIds", given),
        _statuses(given),
        _text("teacherId", given["teacherId"]) if "teacherId" in given else None,
        ranges,
    )


def _object(place: str, found: Any, words: Sequence[str]) -> dict[str, Any]:
    if not isinstance(found, dict):
        _refuse(place, f"must be an object, such as {EXAMPLE_RANGE if place else EXAMPLE}")
    for word in found:
        if word not in words:
            near = difflib.get_close_matches(word, words, n=1)
            hint = f"did you mean {near[0]}?" if near else f"these are: {', '.join(words)}."
            raise BadInput(f"--filter: there is no {'.'.join(filter(None, (place, word)))!r}; {hint}")
    return {word: value for word, value in found.items() if value is not None}


def _range(word: str, found: Any) -> Range:
    given = _object(word, found, RANGE_WORDS)
    is_null = given.get("isNull")
    if is_null is not None and not isinstance(is_null, bool):
        _refuse(f"{word}.isNull", "must be true or false")
    return Range(_number(word, "atLeast", given), _number(word, "atMost", given), is_null)


def _number(word: str, bound: str, given: Mapping[str, Any]) -> float | None:
    value = given.get(bound)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        _refuse(f"{word}.{bound}", "must be a number")
    return float(value)


def _ids(word: str, given: Mapping[str, Any]) -> list[str] | None:
    """One alone may stand without its list, as in the API."""
    if word not in given:
        return None
    value = given[word]
    return [_text(word, each) for each in (value if isinstance(value, list) else [value])]


def _statuses(given: Mapping[str, Any]) -> list[ClassStatus] | None:
    statuses = _ids("statuses", given)
    if statuses is None:
        return None
    if unknown := [status for status in statuses if status not in list(ClassStatus)]:
        _refuse("statuses", f"must be of {', '.join(ClassStatus)}; {unknown[0]!r} is not")
    return [ClassStatus(status) for status in statuses]


def _text(word: str, value: Any) -> str:
    if not isinstance(value, str):
        _refuse(word, "must be text")
    return value


def _refuse(place: str, message: str) -> NoReturn:
    raise BadInput(f"--filter{': ' + place if place else ''} {message}.")
