"""Everything that can go wrong on purpose.

ClassPerformanceError
├── BadInput                    the caller can mend it: names what and where
│   ├── InvalidCursor
│   └── Rejected                with every problem found, each with its path
├── Unauthenticated             no token, or one that does not hold
├── Forbidden                   a valid viewer, but not for this
├── TooMany                     open at the same time
├── NotReady                    a part this process needs is away
│   └── OutOfTime               it is there, but this was too much for it, or something was in the way
└── Misconfigured               settings that must not start

Only these reach a client; anything else is masked and logged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class ClassPerformanceError(Exception):
    """Something went wrong."""

    code = "INTERNAL"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class BadInput(ClassPerformanceError):
    """The input is not valid."""

    code = "BAD_USER_INPUT"


class InvalidCursor(BadInput):
    """This cursor was not given by this connection in this order; start again without it."""

    code = "INVALID_CURSOR"


class Unauthenticated(ClassPerformanceError):
    """A valid bearer token is needed."""

    code = "UNAUTHENTICATED"


class Forbidden(ClassPerformanceError):
    """Your role does not allow this."""

    code = "FORBIDDEN"


class TooMany(ClassPerformanceError):
    """Too many are open at the same time; end some first."""

    code = "TOO_MANY_OPERATIONS"


class NotReady(ClassPerformanceError):
    """The service is not ready; try again."""

    code = "UNAVAILABLE"


class OutOfTime(NotReady):
    """This took too long; try again, or with less."""


class Misconfigured(ClassPerformanceError):
    """The settings do not allow a start."""

    code = "MISCONFIGURED"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with an input: `path` leads to it from the input's root."""

    code: str
    message: str
    path: tuple[str, ...] = ()


class Rejected(BadInput):
    """The input has problems; nothing was stored."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__()
        self.problems = list(problems)
