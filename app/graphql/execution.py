"""Between the transports and the resolvers: operations made ready once, executed for a viewer, answered in one form."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import isawaitable
from itertools import chain
from typing import Any

from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    GraphQLSyntaxError,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    execute,
    parse,
    specified_rules,
    validate,
)

from app.auth import Action, Viewer
from app.errors import NotReady
from app.graphql.context import Context, Services
from app.graphql.faults import Fault, fault, present, refuse
from app.graphql.limits import TooCostly, refuse_excess, refuse_long_words
from app.graphql.plans import NotPlain, Plan, compile_plan
from app.graphql.schema import executable
from app.settings import Settings

MOST_DOCUMENTS = 1_000
MOST_CHARACTERS = 256_000
MOST_ERRORS = 3
LONGEST_DOCUMENT = 100_000
LONGEST_MESSAGE = 500
ABORTED = "Validation aborted."
"""What the validation says of a document that it gives up."""

LAST_SECONDS = 5.0
"""How much longer than a statement an operation may take."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One of a valid document. `kind`: query, mutation or subscription. `plan`: for a plain read, how."""

    document: DocumentNode
    name: str | None
    kind: str
    plan: Plan | None


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


class Execution:
    """The one way in: whatever the transport, and however an operation comes to be carried out."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._documents = Documents(services.settings)

    def prepare(self, text: str, name: str | None = None) -> Operation:
        return self._documents.prepare(text, name)

    async def execute(self, operation: Operation, variables: Mapping[str, Any] | None, viewer: Viewer) -> Result:
        """Never raises because of a resolver: what goes wrong is in the result. Never takes for ever either."""
        try:
            async with asyncio.timeout(self._services.settings.database_timeout + LAST_SECONDS):
                return await self._execute(operation, variables, Context(self._services, viewer))
        except TimeoutError:
            return Result({"errors": [fault(NotReady("This took too long; try again."))], "data": None})

    async def _execute(self, operation: Operation, variables: Mapping[str, Any] | None, context: Context) -> Result:
        if operation.plan:
            data = await _carry_out(operation.plan, variables or {}, context)
            if data is not None:
                return Result({"data": data})
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


async def _carry_out(plan: Plan, variables: Mapping[str, Any], context: Context) -> dict[str, Any] | None:
    """None where the executor has to find the words. It does not try again: in this context the failure stays."""
    try:
        ids = plan.ids(variables)
    except NotPlain:
        return None
    try:
        reach = await context.reach(Action.READ)
        asked = list(dict.fromkeys(chain.from_iterable(ids)))
        records = await context.services.performance.get_many(asked)
    except Exception as error:
        context.fail(error)
        return None
    return plan.answer(ids, dict(zip(asked, records, strict=True)), reach)


def _respond(result: ExecutionResult) -> Result:
    if not result.errors:
        return Result({"data": result.data})
    faults = [present(error) for error in result.errors]
    if result.data is None and all(error.path is None for error in result.errors):
        return Result({"errors": faults}, refused=True)
    return Result({"errors": faults, "data": result.data})
