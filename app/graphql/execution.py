"""Between the transports and the resolvers: an operation executed for a viewer, and answered in one form."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from inspect import isawaitable
from itertools import chain, repeat
from typing import Any, cast

import orjson
from graphql import ExecutionResult, execute
from graphql.execution import Executor, create_source_event_stream, execute_subscription_event

from app.auth import Action, Viewer
from app.errors import NotReady
from app.graphql.context import Context, Services
from app.graphql.documents import Documents, Operation, Refused, Result
from app.graphql.event_plans import Payloads
from app.graphql.faults import fault, present
from app.graphql.plans import Plan
from app.graphql.schema import executable
from app.graphql.shapes import NotPlain
from app.watching import Update

LAST_SECONDS = 5.0
"""How much longer than a statement an operation may take."""
TOO_LONG = "This took too long; try again."
AT_ONCE = 50
"""Events, after which others have their turn."""
EVENTS_BEING_EXECUTED = 2
"""Of events that read the database, so that they do not keep its connections from whoever asks. Those that wait are
overtaken by what is newer."""
PAUSES = (1.0, 2.0, 5.0)
"""Between attempts to make an event."""


class Execution:
    """The one way in: whatever the transport, and however an operation comes to be carried out."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._documents = Documents(services.settings)
        self._payloads = Payloads()
        self._turns = asyncio.Semaphore(EVENTS_BEING_EXECUTED)

    @property
    def _seconds(self) -> float:
        """What an operation, or an event, may take."""
        return self._services.settings.database_timeout + LAST_SECONDS

    def prepare(self, text: str, name: str | None = None) -> Operation:
        return self._documents.prepare(text, name)

    async def execute(self, operation: Operation, variables: Mapping[str, Any] | None, viewer: Viewer) -> Result:
        """Never raises because of a resolver: what goes wrong is in the result. Never takes for ever either."""
        try:
            async with asyncio.timeout(self._seconds):
                return await self._execute(operation, variables, Context(self._services, viewer))
        except TimeoutError:
            return Result({"errors": [fault(NotReady(TOO_LONG))], "data": None})

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

    async def subscribe(
        self, operation: Operation, variables: Mapping[str, Any] | None, viewer: Viewer
    ) -> AsyncGenerator[bytes, None]:
        """The payload of each event, as JSON, until it is closed. Raises Refused where there can be none."""
        executor = Executor.build(
            executable,
            operation.document,
            context_value=Context(self._services, viewer),
            raw_variable_values=dict(variables or {}),
            operation_name=operation.name,
            hide_suggestions=not self._services.settings.suggestions,
        )
        if isinstance(executor, list):
            raise Refused(*map(present, executor))
        source = await self._begin(executor)
        return self._tell(operation, executor, source, viewer)

    async def _begin(self, executor: Executor[Any]) -> AsyncGenerator[Update, None]:
        try:
            async with asyncio.timeout(self._seconds):
                begun = create_source_event_stream(executor)
                source = await begun if isawaitable(begun) else begun
        except TimeoutError:
            raise Refused(fault(NotReady(TOO_LONG))) from None
        if isinstance(source, ExecutionResult):
            raise Refused(*map(present, source.errors or ()))
        return cast(AsyncGenerator[Update, None], source)

    async def _tell(
        self, operation: Operation, executor: Executor[Any], source: AsyncGenerator[Update, None], viewer: Viewer
    ) -> AsyncGenerator[bytes, None]:
        plan, told = operation.event_plan, 0
        async with aclosing(source) as updates:
            async for update in updates:
                yield self._payloads.make(plan, update) if plan else await self._execute_event(executor, update, viewer)
                told += 1
                if told % AT_ONCE == 0:
                    await asyncio.sleep(0)

    async def _execute_event(self, executor: Executor[Any], update: Update, viewer: Viewer) -> bytes:
        """An event that could not be made whole is made again: there may be no other after it."""
        for pause in chain(PAUSES, repeat(PAUSES[-1])):
            event = executor.build_per_event_executor(update)
            event.context_value = Context(self._services, viewer)
            async with self._turns:
                body = await self._body(event)
            if all(fault["extensions"]["code"] != NotReady.code for fault in body.get("errors", ())):
                break
            await asyncio.sleep(pause)
        return orjson.dumps(body)

    async def _body(self, event: Executor[Any]) -> dict[str, Any]:
        try:
            async with asyncio.timeout(self._seconds):
                outcome = execute_subscription_event(event)
                return _respond(await outcome if isawaitable(outcome) else outcome).body
        except TimeoutError:
            return {"errors": [fault(NotReady(TOO_LONG))], "data": None}


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
