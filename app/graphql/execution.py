"""Between the transports and the resolvers: operations made ready once, executed for a viewer, answered in one form."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any

from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLSyntaxError,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    execute,
    parse,
    specified_rules,
    validate,
)

from app.auth import Viewer
from app.graphql.context import Context, Services
from app.graphql.faults import Fault, present, refuse
from app.graphql.schema import executable
from app.settings import Settings

MOST_DOCUMENTS = 1_000
MOST_CHARACTERS = 256_000


@dataclass(frozen=True, slots=True)
class Operation:
    """A document that holds, and which of its operations is meant. `kind`: query, mutation or subscription."""

    document: DocumentNode
    name: str | None
    kind: str


@dataclass(frozen=True, slots=True)
class Result:
    """`body` is what GraphQL calls a response. Refused: nothing was executed, so it has no data."""

    body: dict[str, Any]
    refused: bool = False


class Refused(Exception):
    """The operation cannot be executed as it stands."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__()
        self.result = Result({"errors": list(faults)}, refused=True)


class Documents:
    """Parses and validates; remembers what held, by its text."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._rules = specified_rules if settings.introspection else (*specified_rules, NoSchemaIntrospectionCustomRule)
        self._known: OrderedDict[str, DocumentNode] = OrderedDict()
        self._characters = 0

    def prepare(self, text: str, name: str | None) -> Operation:
        """Raises Refused."""
        document = self._known.get(text)
        if document is None:
            document = self._check(text)
            self._remember(text, document)
        else:
            self._known.move_to_end(text)
        return _choose(document, name)

    def _check(self, text: str) -> DocumentNode:
        most = self._settings.max_tokens
        try:
            document = parse(text, max_lexical_tokens=most, max_comments=most)
        except GraphQLSyntaxError as error:
            raise Refused(refuse(error, "GRAPHQL_PARSE_FAILED")) from None
        errors = validate(executable, document, self._rules, hide_suggestions=not self._settings.suggestions)
        if errors:
            raise Refused(*(refuse(error, "GRAPHQL_VALIDATION_FAILED") for error in errors))
        return document

    def _remember(self, text: str, document: DocumentNode) -> None:
        """Bounded by what it holds, not by number alone: a parsed document is far larger than its text."""
        self._known[text] = document
        self._characters += len(text)
        while self._characters > MOST_CHARACTERS or len(self._known) > MOST_DOCUMENTS:
            oldest, _ = self._known.popitem(last=False)
            self._characters -= len(oldest)


def _choose(document: DocumentNode, name: str | None) -> Operation:
    found = [
        definition
        for definition in document.definitions
        if isinstance(definition, OperationDefinitionNode)
        and (name is None or (definition.name and definition.name.value == name))
    ]
    if len(found) == 1:
        return Operation(document, name, found[0].operation.value)
    message = "Several operations: operationName must say which." if found else "There is no such operation."
    raise Refused({"message": message, "extensions": {"code": "OPERATION_NOT_FOUND"}})


class Execution:
    """The one way in: whatever the transport, and however an operation comes to be carried out."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._documents = Documents(services.settings)

    def prepare(self, text: str, name: str | None = None) -> Operation:
        return self._documents.prepare(text, name)

    async def execute(self, operation: Operation, variables: Mapping[str, Any] | None, viewer: Viewer) -> Result:
        """Never raises because of a resolver: what goes wrong is in the result."""
        context = Context(self._services, viewer)
        outcome = execute(
            executable,
            operation.document,
            context_value=context,
            variable_values=dict(variables or {}),
            operation_name=operation.name,
            hide_suggestions=not self._services.settings.suggestions,
        )
        result = await outcome if isawaitable(outcome) else outcome
        return _respond(result)


def _respond(result: ExecutionResult) -> Result:
    if not result.errors:
        return Result({"data": result.data})
    faults = [present(error) for error in result.errors]
    if result.data is None and all(error.path is None for error in result.errors):
        return Result({"errors": faults}, refused=True)
    return Result({"errors": faults, "data": result.data})
