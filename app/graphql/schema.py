"""Assembles the schema."""

from __future__ import annotations

from collections.abc import Iterator

import strawberry
from graphql import GraphQLArgument, GraphQLInputField, GraphQLInputObjectType, GraphQLObjectType, GraphQLSchema
from graphql.pyutils import Undefined
from strawberry.schema.config import StrawberryConfig

from app.graphql.mutations import Mutation
from app.graphql.queries import Query
from app.graphql.scalars import SCALARS
from app.graphql.subscriptions import Subscription
from app.graphql.types import Class, ClassPerformance

schema = strawberry.Schema(
    query=Query,
    mutation=Mutation,
    subscription=Subscription,
    types=[Class, ClassPerformance],
    config=StrawberryConfig(scalar_map=SCALARS),
)
executable: GraphQLSchema = schema._schema


def _inputs() -> Iterator[GraphQLArgument | GraphQLInputField]:
    for kind in executable.type_map.values():
        if isinstance(kind, GraphQLInputObjectType):
            yield from kind.fields.values()
        if isinstance(kind, GraphQLObjectType) and not kind.name.startswith("__"):
            for field in kind.fields.values():
                yield from field.args.values()


# What may be left out is null for the resolvers by their own defaults; `= null` would only be noise to a reader.
for given in _inputs():
    if given.default_value is None:
        given.default_value = Undefined


def export() -> str:
    """The schema as SDL."""
    return schema.as_str() + "\n"
