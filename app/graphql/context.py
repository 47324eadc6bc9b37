"""What an operation has at hand: the viewer, what they may reach, loaders of its own, and the services."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine
from strawberry.types import Info as StrawberryInfo

from app.auth import Action, Doorman, Reach, Viewer
from app.cache import Cache
from app.classes import Classes
from app.graphql.loaders import Loaders
from app.history import History
from app.listing import Listing
from app.performance import Performance
from app.recording import Recording
from app.reports import Reports
from app.settings import Settings
from app.views import Views
from app.watching import Hub


@dataclass(frozen=True, slots=True)
class Services:
    """Made once per process, by whoever starts it."""

    settings: Settings
    engine: AsyncEngine
    cache: Cache
    doorman: Doorman
    performance: Performance
    reports: Reports
    recording: Recording
    listing: Listing
    classes: Classes
    history: History
    hub: Hub
    views: Views
    draining: asyncio.Event  # set when the server is about to stop


class Context:
    """Of one operation. Nothing in it may live longer: loaders would serve stale data."""

    __slots__ = ("_failure", "_reaches", "loaders", "services", "viewer")

    def __init__(self, services: Services, viewer: Viewer) -> None:
        self.services = services
        self.viewer = viewer
        self._failure: Exception | None = None
        self._reaches: dict[Action, Reach] = {}
        self.renew()

    def renew(self) -> None:
        """After a write: what was loaded before it no longer holds."""
        services = self.services
        self.loaders = Loaders(services.performance, services.classes, services.history)

    def fail(self, failure: Exception) -> None:
        """Nothing can be reached any more: whoever asks is told of this failure."""
        self._failure = failure

    async def reach(self, action: Action) -> Reach:
        """Resolved once for the operation. Raises Forbidden where the viewer may never do this."""
        if self._failure is not None:
            raise self._failure
        reach = self._reaches.get(action)
        if reach is None:
            reach = self._reaches[action] = await self.services.doorman.reach(self.viewer, action)
        return reach


Info = StrawberryInfo[Context, None]
