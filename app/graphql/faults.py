"""What a client is told of an error: its code and message if it is known, and nothing otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from traceback import extract_tb
from typing import Any
from uuid import uuid4

import structlog
from graphql import GraphQLError
from psycopg import DatabaseError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from structlog.contextvars import get_contextvars

from app.errors import BadInput, ClassPerformanceError, NotReady

Fault = dict[str, Any]
"""An entry of `errors` in a response."""

MASK = "Something went wrong on our side."

log = structlog.get_logger(__name__)


def fault(error: ClassPerformanceError) -> Fault:
    return {"message": str(error), "extensions": {"code": error.code}}


def explain(error: BaseException) -> Fault:
    """What went wrong before or after executing."""
    if isinstance(error, PoolTimeout):
        error = NotReady()
    return fault(error) if isinstance(error, ClassPerformanceError) else mask(error)


def mask(error: BaseException) -> Fault:
    return {"message": MASK, "extensions": {"code": ClassPerformanceError.code, "requestId": report(error)}}


def refuse(error: GraphQLError, code: str) -> Fault:
    """What is wrong with a document is the client's to know."""
    return _located(error, error.message, {"code": code})


def present(error: GraphQLError) -> Fault:
    """What went wrong while executing."""
    cause = _cause(error)
    if isinstance(cause, PoolTimeout):
        cause = NotReady()
    if isinstance(cause, ClassPerformanceError):
        return _located(error, str(cause), {"code": cause.code})
    if cause is None or (isinstance(cause, GraphQLError) and (cause.nodes or error.path is None)):
        return _located(error, error.message, {"code": BadInput.code})
    return _located(error, MASK, {"code": ClassPerformanceError.code, "requestId": report(cause, error.path)})


def _cause(error: GraphQLError) -> BaseException | None:
    """What a resolver raised; None where the request itself is at fault.

    GraphQL's own errors about a request name the nodes; those about what a resolver returned do not, and are ours.
    """
    cause = error.original_error
    while isinstance(cause, GraphQLError) and cause.original_error is not None:
        cause = cause.original_error
    return cause


def report(error: BaseException, path: Any = None) -> str:
    """Log what a client is not told; the id that both sides can name.

    Of the errors only what the code says of itself: their messages may hold what somebody sent or what a row holds.
    """
    request_id = str(get_contextvars().get("request_id") or uuid4().hex)
    causes = [_describe(link) for link in _chain(error)]
    log.error("request_failed", request_id=request_id, path=path and list(path), errors=causes)
    return request_id


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what caused it."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        yield link
        seen.add(id(link))
        link = link.__cause__ or link.__context__


def _describe(error: BaseException) -> dict[str, Any]:
    described: dict[str, Any] = {"type": f"{type(error).__module__}.{type(error).__qualname__}"}
    if isinstance(error, DatabaseError):
        described |= {"sqlstate": error.sqlstate, "constraint": error.diag.constraint_name}
    frames = extract_tb(error.__traceback__)
    return {**described, "frames": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]}


def _located(error: GraphQLError, message: str, extensions: dict[str, Any]) -> Fault:
    found: Fault = {"message": message}
    if error.locations:
        found["locations"] = [{"line": location.line, "column": location.column} for location in error.locations]
    if error.path is not None:
        found["path"] = list(error.path)
    return {**found, "extensions": extensions}
