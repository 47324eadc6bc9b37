"""One loader per question, made afresh for each operation: one statement or command, whatever the number of keys."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, TypeVar

from aiodataloader import DataLoader
from sqlalchemy import Row

from app.classes import Classes
from app.facts import ClassFact, SchoolFact
from app.history import History, Span
from app.performance import Performance
from app.records import Record

Key = TypeVar("Key")
Value = TypeVar("Value")


class Loaders:
    """`records`, `stale_since` and `classes` by class id, `schools` by school id, `histories` by span."""

    def __init__(self, performance: Performance, classes: Classes, history: History) -> None:
        self._performance = performance
        self._classes = classes
        self._history = history

    @cached_property
    def records(self) -> DataLoader[str, Record | None]:
        return loader(self._performance.get_many)

    @cached_property
    def stale_since(self) -> DataLoader[str, datetime | None]:
        return loader(self._performance.get_stale_since)

    @cached_property
    def classes(self) -> DataLoader[str, ClassFact | None]:
        return loader(self._classes.get_many)

    @cached_property
    def schools(self) -> DataLoader[str, SchoolFact | None]:
        return loader(self._classes.get_schools)

    @cached_property
    def histories(self) -> DataLoader[Span, list[Row[Any]]]:
        return loader(self._history.get_many)


def loader(load: Callable[[Sequence[Key]], Awaitable[list[Value]]]) -> DataLoader[Key, Value]:
    async def load_batch(keys: list[Key]) -> list[Value]:
        return await load(keys)

    return DataLoader(load_batch)
