"""Expected outcomes that are not success: types, not errors."""

from __future__ import annotations

from collections.abc import Sequence

import strawberry

from app.errors import Problem as Found
from app.errors import Rejected
from app.graphql.fields import described


@strawberry.interface(description="Why a mutation did nothing.")
class Problem:
    code: str = described("One of the codes of the catalogue, for programs.")
    message: str = described("What is wrong, for people.")
    path: list[str] | None = described("Leads from the input to what is wrong; null if it is about the whole.")


@strawberry.type(description="One thing that is wrong with an input.")
class ItemProblem(Problem):
    pass


@strawberry.type(
    description="The input is not valid; nothing was stored. Code, message and path are the first problem's."
)
class ValidationProblem(Problem):
    problems: list[ItemProblem] = described("Everything that was found wrong, a hundred things at the most.")


def validation_problem(found: Sequence[Found], *, below: Sequence[str] = ()) -> ValidationProblem:
    """`below` is the part of the input that the paths begin in."""
    items = [ItemProblem(code=p.code, message=p.message, path=[*below, *map(camel, p.path)] or None) for p in found]
    first = items[0]
    return ValidationProblem(code=first.code, message=first.message, path=first.path, problems=items)


def rejection(rejected: Rejected, *, below: Sequence[str] = ()) -> ValidationProblem:
    return validation_problem(rejected.problems, below=below)


def class_not_found(*path: str) -> Found:
    """In the same words whether the class does not exist or is out of reach."""
    return Found("CLASS_NOT_FOUND", "There is no such class.", path)


def camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(word.capitalize() for word in tail)
