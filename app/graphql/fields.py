"""How fields, arguments and resolvers are declared here: never without a description."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import strawberry
from strawberry.extensions import FieldExtension

from app.metrics import METRICS

F = TypeVar("F")
T = TypeVar("T", bound=type)


def described(description: str, **options: Any) -> Any:
    """A field that is an attribute of its source, or of an input."""
    return strawberry.field(description=description, **options)


def argument(description: str, **options: Any) -> Any:
    return strawberry.argument(description=description, **options)


def resolved(
    description: str, *, returns: Any = None, name: str | None = None, needs: FieldExtension | None = None
) -> Callable[[F], F]:
    """A field with a resolver. `returns` is its GraphQL type, where the resolver's own says what the source is."""

    def declare(resolver: F) -> F:
        field: Any = strawberry.field(
            description=description, graphql_type=returns, name=name, extensions=[needs] if needs else []
        )
        declared: F = field(resolver)
        return declared

    return declare


def streamed(description: str, *, returns: Any, needs: FieldExtension) -> Callable[[F], F]:
    """A field of Subscription. Its resolver gives what each event is made of."""

    def declare(resolver: F) -> F:
        field: Any = strawberry.subscription(description=description, graphql_type=returns, extensions=[needs])
        declared: F = field(resolver)
        return declared

    return declare


def with_metrics(cls: T) -> T:
    """One field for each metric. Counts are never null; rates and grades are while there is nothing to divide by."""
    for metric in METRICS:
        cls.__annotations__[metric.name] = int if metric.whole else float | None
        setattr(cls, metric.name, described(metric.description))
    return cls
