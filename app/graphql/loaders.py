"""One loader per question, made afresh for each operation: one statement or command, whatever the number of keys."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
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
    """`records` and `classes` by class id, `schools` by school id, `histories` by span."""

    def __init__(self, performance: Performance, classes: Classes, history: History) -> None:
        self.records: DataLoader[str, Record | None] = loader(performance.get_many)
        self.classes: DataLoader[str, ClassFact | None] = loader(classes.get_many)
        self.schools: DataLoader[str, SchoolFact | None] = loader(classes.get_schools)
        self.histories: DataLoader[Span, list[Row[Any]]] = loader(history.get_many)


def loader(load: Callable[[Sequence[Key]], Awaitable[list[Value]]]) -> DataLoader[Key, Value]:
    async def load_batch(keys: list[Key]) -> list[Value]:
        return await load(keys)

    return DataLoader(load_batch)
