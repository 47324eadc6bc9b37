"""Redis pub/sub: who is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from redis.asyncio.connection import AbstractConnection

from app.cache import Cache
from app.connections import Connections, send
from app.observability import SUBSCRIBED
from app.presence import reason
from app.settings import Settings

log = structlog.get_logger()

BEAT = 0.75  # seconds; each is a question whether anyone is there
SILENT_BEATS = 3
CONNECTED_WITHIN = 3.0
WAKE = "wake"

Hear = Callable[[bytes], None]
Tell = Callable[[], None]


class Subscription:
    """To one channel, over a connection of its own, renewed for ever. `name` is of the channel.

    Redis keeps nothing for who is not there: after each confirmed subscription `on_gap` says that messages may have
    been lost. Both callbacks are called from the loop and must not wait.
    """

    def __init__(self, settings: Settings, name: str = "") -> None:
        self._pause = settings.redis_retry_after
        self._configured = bool(settings.redis_url.get_secret_value())
        self._pool = Connections.to(settings)
        self._channel = self._pool.channel(name)
        self._name = name or "publications"
        self._silent_beats = 0
        self._missed = False
        self.connected = False

    async def run(self, on_message: Hear, on_gap: Tell) -> None:
        """Until it is cancelled; where there is no Redis there is nothing to do."""
        connection = self._pool.make_connection()
        while self._configured:
            try:
                await self._listen(connection, on_message, on_gap)
            except* Exception as errors:
                self._lose(errors.exceptions[0])
            await asyncio.sleep(self._pause)

    async def _listen(self, connection: AbstractConnection, on_message: Hear, on_gap: Tell) -> None:
        try:
            async with asyncio.TaskGroup() as both:
                async with asyncio.timeout(CONNECTED_WITHIN):
                    await self._subscribe(connection)
                on_gap()
                both.create_task(self._beat(connection))
                await self._read(connection, on_message)
        finally:
            self.connected = False
            SUBSCRIBED.labels(self._name).set(0)
            await connection.disconnect(nowait=True)

    async def _subscribe(self, connection: AbstractConnection) -> None:
        await connection.connect()  # type: ignore[no-untyped-call]
        (confirmed,) = await send(connection, [("SUBSCRIBE", self._channel)])
        if isinstance(confirmed, Exception):
            raise confirmed
        self._silent_beats = 0
        self.connected = True
        SUBSCRIBED.labels(self._name).set(1)
        if self._missed:
            log.info("subscription_is_back", channel=self._name)
        self._missed = False

    async def _read(self, connection: AbstractConnection, on_message: Hear) -> None:
        """Without a pause between messages that have arrived: those who lag behind get the newest, and Redis, which
        drops whoever lags too far, is not kept waiting."""
        while True:
            answer = await connection.read_response()
            self._silent_beats = 0
            if answer[0] == b"message":
                on_message(answer[2])

    async def _beat(self, connection: AbstractConnection) -> None:
        """A connection may be half open, where whoever only listens waits for ever. Counted in questions without an
        answer, not in seconds: this process may have been busy, and the answer be there already."""
        while self._silent_beats < SILENT_BEATS:
            self._silent_beats += 1
            async with asyncio.timeout(CONNECTED_WITHIN):
                await connection.send_command("PING", check_health=False)
            await asyncio.sleep(BEAT)
        raise TimeoutError

    def _lose(self, error: BaseException) -> None:
        if not self._missed:
            log.warning("subscription_is_away", channel=self._name, reason=reason(error))
        self._missed = True


class Publications(Subscription):
    """Messages are `<class id>`, a NUL, and what the cache was given: a record, or its version when it was deleted."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)


class Wake:
    """Tells workers, wherever they are, that there is something to do. It may be lost."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    async def wake(self) -> None:
        await self._cache.say(WAKE)
