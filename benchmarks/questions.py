"""What is asked of the read path: each question with the classes its answer must be about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from app.graphql.documents import MOST_CHARACTERS, MOST_DOCUMENTS
from app.metrics import METRICS
from benchmarks.client import Wrong

MANY = 50
# What a dashboard shows of a class.
FIELDS = ("classId", "version", "lastUpdated", *(metric.graphql_name for metric in METRICS))
SELECTION = " ".join(FIELDS)

ONE = f"query One($id: ID!) {{ classPerformance(classId: $id) {{ {SELECTION} }} }}"
BY_IDS = f"query ByIds($ids: [ID!]!) {{ classPerformances(ids: $ids) {{ {SELECTION} }} }}"
ALIASES = " ".join(f"a{n}: classPerformance(classId: $i{n}) {{ ...Shown }}" for n in range(MANY))
BY_ALIASES = (
    f"query ByAliases({', '.join(f'$i{n}: ID!' for n in range(MANY))}) {{ {ALIASES} }} "
    f"fragment Shown on ClassPerformance {{ {SELECTION} }}"
)


@dataclass(frozen=True, slots=True)
class Question:
    body: bytes
    class_ids: list[str]

    def check(self, answer: bytes) -> None:
        """No errors, every class that was asked for, in order, with every field."""
        content = orjson.loads(answer)
        if "errors" in content or _shown(content["data"]) != [(id, set(FIELDS)) for id in self.class_ids]:
            raise Wrong(answer[:500])


def _shown(data: dict[str, Any]) -> list[tuple[str, set[str]]]:
    found = [record for value in data.values() for record in (value if isinstance(value, list) else [value])]
    return [(record["classId"], set(record)) for record in found if record]


def ask_one(class_ids: Sequence[str]) -> list[Question]:
    """The same document each time, as clients do, for one class after another."""
    return [_question(ONE, {"id": id}, [id]) for id in class_ids]


def ask_by_ids(class_ids: Sequence[str]) -> list[Question]:
    return [_question(BY_IDS, {"ids": ids}, ids) for ids in _groups(class_ids)]


def ask_by_aliases(class_ids: Sequence[str]) -> list[Question]:
    return [_question(BY_ALIASES, {f"i{n}": id for n, id in enumerate(ids)}, ids) for ids in _groups(class_ids)]


def ask_anew(class_ids: Sequence[str]) -> list[Question]:
    """One class, by half as many documents again as the service remembers: each is parsed and validated anew."""
    remembered = min(MOST_DOCUMENTS, MOST_CHARACTERS // len(ONE))
    ids = [class_ids[n % len(class_ids)] for n in range(remembered * 3 // 2)]
    return [_question(ONE.replace("One", f"One{n:06}"), {"id": id}, [id]) for n, id in enumerate(ids)]


def _groups(class_ids: Sequence[str]) -> list[list[str]]:
    return [list(class_ids[start : start + MANY]) for start in range(0, len(class_ids) - MANY + 1, MANY)]


def _question(document: str, variables: dict[str, Any], class_ids: list[str]) -> Question:
    return Question(orjson.dumps({"query": document, "variables": variables}), class_ids)
