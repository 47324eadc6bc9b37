"""The doorman: who is asking, and which classes they may see and change.

`PERMISSIONS` is the whole policy. A class out of reach looks as if it did not exist; only an action that a role can
never take is Forbidden.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.errors import Forbidden, Unauthenticated
from app.ids import is_storable
from app.settings import Settings
from app.tokens import Tokens, mint

__all__ = ["PERMISSIONS", "Action", "Doorman", "Reach", "Viewer", "ViewerRole", "mint"]

TAUGHT_SECONDS = 25.0  # who watches is looked at every 5 s: what was revoked is gone in 30
MOST_VIEWERS = 10_000
MOST_TOKENS = 10_000

TEACHES = text(
    "SELECT DISTINCT class_id FROM enrollment WHERE person_id = :person_id AND role = 'TEACHER' "
    "AND (begins IS NULL OR begins <= clock_timestamp()) AND (ends IS NULL OR ends > clock_timestamp())"
)


class ViewerRole(StrEnum):
    ADMIN = "admin"
    SCHOOL_ADMIN = "school_admin"
    TEACHER = "teacher"
    SERVICE = "service"


class Action(StrEnum):
    """REPORT: updateMetrics and unpinMetrics. RECORD: grades to activities. ROSTER: schools to enrollments."""

    READ = "read"
    REPORT = "report"
    RECALCULATE = "recalculate"
    RECORD = "record"
    ROSTER = "roster"


class Extent(StrEnum):
    """How far a permission goes. GRANTED: classes of `schools`, or all where the token has no such claim."""

    ALL = "all"
    SCHOOLS = "schools"
    TAUGHT = "taught"
    GRANTED = "granted"


@dataclass(frozen=True, slots=True)
class Rule:
    extent: Extent
    scope: str | None = None


ALL, SCHOOLS, TAUGHT = Rule(Extent.ALL), Rule(Extent.SCHOOLS), Rule(Extent.TAUGHT)
ADMIN, SCHOOL_ADMIN, TEACHER, SERVICE = ViewerRole


def granted(scope: str) -> Rule:
    return Rule(Extent.GRANTED, scope)


# Where there is no rule, the role is never allowed.
PERMISSIONS: Mapping[Action, Mapping[ViewerRole, Rule]] = {
    Action.READ: {ADMIN: ALL, SCHOOL_ADMIN: SCHOOLS, TEACHER: TAUGHT, SERVICE: granted("metrics:read")},
    Action.REPORT: {ADMIN: ALL, SCHOOL_ADMIN: SCHOOLS, SERVICE: granted("metrics:write")},
    Action.RECALCULATE: {ADMIN: ALL, SCHOOL_ADMIN: SCHOOLS, TEACHER: TAUGHT, SERVICE: granted("metrics:write")},
    Action.RECORD: {ADMIN: ALL, SCHOOL_ADMIN: SCHOOLS, TEACHER: TAUGHT, SERVICE: granted("facts:write")},
    Action.ROSTER: {ADMIN: ALL, SCHOOL_ADMIN: SCHOOLS, SERVICE: granted("facts:write")},
}


@dataclass(frozen=True, slots=True)
class Viewer:
    """`schools` is None where the token does not say; for a teacher, `id` is the person's."""

    id: str
    role: ViewerRole
    schools: frozenset[str] | None
    scopes: frozenset[str]
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Reach:
    """The classes that a viewer may act on."""

    everything: bool = False
    schools: frozenset[str] = frozenset()
    classes: frozenset[str] = frozenset()

    def covers(self, class_id: str, school_id: str) -> bool:
        return self.everything or school_id in self.schools or class_id in self.classes

    def covers_school(self, school_id: str) -> bool:
        return self.everything or school_id in self.schools


EVERYTHING = Reach(everything=True)


class Doorman:
    def __init__(self, settings: Settings, engine: AsyncEngine) -> None:
        self._tokens = Tokens(settings)
        self._viewers: OrderedDict[bytes, Viewer] = OrderedDict()
        self._taught = Taught(engine)

    async def identify(self, token: str) -> Viewer:
        """Whom a bearer token speaks for. Raises Unauthenticated. A token seen before is trusted until it expires."""
        digest = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
        viewer = self._viewers.get(digest)
        if viewer is not None:
            self._viewers.move_to_end(digest)
        else:
            viewer = _viewer(await self._tokens.verify(token))
            self._viewers[digest] = viewer
            if len(self._viewers) > MOST_TOKENS:
                self._viewers.popitem(last=False)
        if viewer.expires_at.timestamp() <= time.time():
            self._viewers.pop(digest, None)
            raise Unauthenticated("The token has expired.")
        return viewer

    async def reach(self, viewer: Viewer, action: Action) -> Reach:
        """Raises Forbidden where the viewer's role, or a service's scopes, never allow the action."""
        rule = PERMISSIONS[action].get(viewer.role)
        if rule is None:
            raise Forbidden
        if rule.scope is not None and rule.scope not in viewer.scopes:
            raise Forbidden(f"This needs the scope {rule.scope}.")
        if rule.extent is Extent.TAUGHT:
            return Reach(classes=await self._taught.classes(viewer.id))
        if rule.extent is Extent.ALL or (rule.extent is Extent.GRANTED and viewer.schools is None):
            return EVERYTHING
        return Reach(schools=viewer.schools or frozenset())

    def varies(self, viewer: Viewer, action: Action) -> bool:
        """Whether the reach may change while the token holds."""
        rule = PERMISSIONS[action].get(viewer.role)
        return rule is not None and rule.extent is Extent.TAUGHT


class Taught:
    """What each teacher teaches now, by person; less than 30 s old, read once for all who ask at the same time."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._known: OrderedDict[str, tuple[float, asyncio.Task[frozenset[str]]]] = OrderedDict()

    async def classes(self, person_id: str) -> frozenset[str]:
        known = self._known.get(person_id)
        if known is None or _is_stale(*known):
            known = self._read(person_id)
        if known[1].done():
            return known[1].result()
        # One who gives up waiting must not end the read for the others.
        return await asyncio.shield(known[1])

    def _read(self, person_id: str) -> tuple[float, asyncio.Task[frozenset[str]]]:
        """Its age counts from before the read: a class revoked during it may have been seen."""
        known = time.monotonic(), asyncio.create_task(self._select(person_id))
        known[1].add_done_callback(_look)
        self._known[person_id] = known
        self._known.move_to_end(person_id)
        if len(self._known) > MOST_VIEWERS:
            self._known.popitem(last=False)
        return known

    async def _select(self, person_id: str) -> frozenset[str]:
        async with self._engine.connect() as connection:
            return frozenset((await connection.scalars(TEACHES, {"person_id": person_id})).all())


def _look(read: asyncio.Task[frozenset[str]]) -> None:
    """So that a failure which nobody waits for any more is no warning."""
    if not read.cancelled():
        read.exception()


def _is_stale(started: float, read: asyncio.Task[frozenset[str]]) -> bool:
    if time.monotonic() - started >= TAUGHT_SECONDS:
        return True
    return read.done() and (read.cancelled() or read.exception() is not None)


def _viewer(claims: Mapping[str, Any]) -> Viewer:
    try:
        return Viewer(
            id=_identity(claims["sub"]),
            role=ViewerRole(claims["role"]),
            schools=_schools(claims["schools"]) if "schools" in claims else None,
            scopes=frozenset(_scope(claims.get("scope", "")).split()),
            expires_at=datetime.fromtimestamp(min(int(claims["exp"]), 7_258_118_400), UTC),
        )
    except (ValueError, TypeError, OverflowError):
        raise Unauthenticated("The token's claims are not as they should be.") from None


def _identity(claim: object) -> str:
    """Storable: it is compared with ids and kept with what the viewer does."""
    if not (isinstance(claim, str) and is_storable(claim)):
        raise ValueError(claim)
    return claim


def _schools(claim: object) -> frozenset[str]:
    if not isinstance(claim, list):
        raise TypeError(claim)
    return frozenset(map(_identity, claim))


def _scope(claim: object) -> str:
    if not isinstance(claim, str):
        raise TypeError(claim)
    return claim
