"""Documents: what a client wrote, parsed, measured and validated once, and ready to be executed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSyntaxError,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    parse,
    specified_rules,
    validate,
)

from app.graphql.event_plans import EventPlan, compile_event_plan
from app.graphql.faults import Fault, refuse
from app.graphql.limits import TooCostly, refuse_excess, refuse_long_words
from app.graphql.plans import Plan, compile_plan
from app.graphql.schema import executable
from app.settings import Settings

MOST_DOCUMENTS = 1_000
MOST_CHARACTERS = 256_000
MOST_ERRORS = 3
LONGEST_DOCUMENT = 100_000
LONGEST_MESSAGE = 500
ABORTED = "Validation aborted."
"""What the validation says of a document that it gives up."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One of a valid document. `kind`: query, mutation or subscription. `plan`: for a plain read, how; `event_plan`:
    for plain events."""

    document: DocumentNode
    name: str | None
    kind: str
    plan: Plan | None
    event_plan: EventPlan | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """`body` is what GraphQL calls a response. Refused: nothing was executed, so it has no data."""

    body: dict[str, Any]
    refused: bool = False

    def to_json(self) -> bytes:
        return orjson.dumps(self.body)


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
        self._known: OrderedDict[str, Sequence[Operation]] = OrderedDict()
        self._characters = 0

    def prepare(self, text: str, name: str | None) -> Operation:
        """Raises Refused."""
        operations = self._known.get(text)
        if operations is None:
            operations = _operations(self._check(text))
            self._remember(text, operations)
        else:
            self._known.move_to_end(text)
        return _choose(operations, name)

    def _check(self, text: str) -> DocumentNode:
        if len(text) > LONGEST_DOCUMENT:
            message = f"The document has more than {LONGEST_DOCUMENT:,} characters; send values as variables."
            raise Refused({"message": message, "extensions": {"code": "GRAPHQL_PARSE_FAILED"}})
        most = self._settings.max_tokens
        try:
            document = parse(text, max_lexical_tokens=most, max_comments=most)
            refuse_long_words(document)
            refuse_excess(document, self._settings.max_fields)
        except GraphQLSyntaxError as error:
            raise Refused(refuse(error, "GRAPHQL_PARSE_FAILED")) from None
        except TooCostly as error:
            raise Refused(refuse(error, "OPERATION_TOO_LARGE")) from None
        except GraphQLError as error:
            raise Refused(refuse(error, "GRAPHQL_VALIDATION_FAILED")) from None
        hide = not self._settings.suggestions
        errors = validate(executable, document, self._rules, max_errors=MOST_ERRORS, hide_suggestions=hide)
        if errors:
            raise Refused(*(refuse(_in_words(error), "GRAPHQL_VALIDATION_FAILED") for error in errors))
        return document

    def _remember(self, text: str, operations: Sequence[Operation]) -> None:
        """Bounded by what it holds, not by number alone: a parsed document is far larger than its text."""
        self._known[text] = operations
        self._characters += len(text)
        while self._characters > MOST_CHARACTERS or len(self._known) > MOST_DOCUMENTS:
            oldest, _ = self._known.popitem(last=False)
            self._characters -= len(oldest)


def _in_words(error: GraphQLError) -> GraphQLError:
    """Some messages hold the whole value that is wrong; one does not say what happened."""
    if error.message == ABORTED:
        error.message = "The document is too deep or too repetitive to check."
    elif len(error.message) > LONGEST_MESSAGE:
        error.message = error.message[:LONGEST_MESSAGE] + "…"
    return error


def _operations(document: DocumentNode) -> Sequence[Operation]:
    return [
        Operation(
            document,
            definition.name.value if definition.name else None,
            definition.operation.value,
            compile_plan(document, definition),
            compile_event_plan(document, definition),
        )
        for definition in document.definitions
        if isinstance(definition, OperationDefinitionNode)
    ]


def _choose(operations: Sequence[Operation], name: str | None) -> Operation:
    found = [operation for operation in operations if name is None or operation.name == name]
    if len(found) == 1:
        return found[0]
    message = "Several operations: operationName must say which." if found else "There is no such operation."
    raise Refused({"message": message, "extensions": {"code": "OPERATION_NOT_FOUND"}})
