"""Who is let in, and how many of them at a time: by process, for it costs a process to serve them."""

from __future__ import annotations

from collections import Counter

from starlette.requests import Request

from app.auth import Doorman, Viewer, ViewerRole
from app.errors import TooMany, Unauthenticated
from app.graphql.requests import HttpFault
from app.settings import Settings


async def admit(doorman: Doorman, authorization: str) -> Viewer:
    """Raises Unauthenticated."""
    token = _token(authorization)
    if not token:
        raise Unauthenticated
    return await doorman.identify(token)


async def admit_request(doorman: Doorman, request: Request) -> Viewer:
    """Raises HttpFault."""
    authorization = request.headers.get("authorization", "")
    try:
        return await admit(doorman, authorization)
    except Unauthenticated as error:
        challenge = "Bearer" + (' error="invalid_token"' if _token(authorization) else "")
        raise HttpFault(401, error.code, str(error), {"www-authenticate": challenge}) from None


def _token(authorization: str) -> str:
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


class Quota:
    """How many of something each viewer has. What was taken must be given back when it has really ended."""

    def __init__(self, most: int, words: str) -> None:
        self._most = most
        self._words = words
        self._taken: Counter[tuple[ViewerRole, str]] = Counter()

    def take(self, viewer: Viewer) -> None:
        """Raises TooMany."""
        if self._taken[viewer.role, viewer.id] >= self._most:
            raise TooMany(f"You have {self._most:,} {self._words} here already; end some first.")
        self._taken[viewer.role, viewer.id] += 1

    def give_back(self, viewer: Viewer) -> None:
        key = viewer.role, viewer.id
        self._taken[key] -= 1
        if not self._taken[key]:
            del self._taken[key]


class Quotas:
    def __init__(self, settings: Settings) -> None:
        self.connections = Quota(settings.max_connections_per_viewer, "connections")
        self.subscriptions = Quota(settings.max_subscriptions_per_viewer, "subscriptions")
