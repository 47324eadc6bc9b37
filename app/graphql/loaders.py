"""One loader per question, made afresh for each operation: one statement or command, whatever the number of keys."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from aiodataloader import DataLoader
from sqlalchemy import Row

from app.classes import Classes, is_storable
from app.facts import ClassFact, SchoolFact
from app.history import History, Span
from app.performance import Performance
from app.records import Record

Key = TypeVar("Key")
Value = TypeVar("Value")


class Loaders:
    """`records` and `classes` by class id, `schools` by school id, `histories` by span."""

    def __init__(self, performance: Performance, classes: Classes, history: History) -> None:
        self._performance = performance
        self.records: DataLoader[str, Record | None] = DataLoader(self._load_records)
        self.classes: DataLoader[str, ClassFact | None] = loader(classes.get_many)
        self.schools: DataLoader[str, SchoolFact | None] = loader(classes.get_schools)
        self.histories: DataLoader[Span, list[Row[Any]]] = loader(history.get_many)

    async def _load_records(self, class_ids: list[str]) -> list[Record | None]:
        known = [class_id for class_id in class_ids if is_storable(class_id)]
        found = dict(zip(known, await self._performance.get_many(known), strict=True)) if known else {}
        return [found.get(class_id) for class_id in class_ids]


def loader(load: Callable[[list[Key]], Awaitable[list[Value]]]) -> DataLoader[Key, Value]:
    async def load_batch(keys: list[Key]) -> list[Value]:
        return await load(keys)

    return DataLoader(load_batch)
