"""The lines to Redis."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, ResponseError

from app.errors import Misconfigured
from app.settings import Settings

Answer = TypeVar("Answer")
Command = tuple[str | bytes | int, ...]
Question = Callable[[AbstractConnection, str], Awaitable[Answer]]
"""Asked over a connection to a certain run of a server."""

CONNECTIONS = 16


class Connections(ConnectionPool):
    """Each knows the run of the server it leads to."""

    @classmethod
    def to(cls, settings: Settings) -> Connections:
        """With RESP 3, redis-py 8.1 hands out connections without looking whether they are closed or hold an unread
        answer. With `socket_timeout` it makes a task for each command, which can swallow a cancellation; whoever asks
        has a limit of his own."""
        url = settings.redis_url.get_secret_value() or "redis://"
        options: dict[str, Any] = {
            "socket_timeout": None,
            "socket_connect_timeout": None,
            "retry": Retry(NoBackoff(), 0),
        }
        try:
            return cls.from_url(url, protocol=2, driver_info=None, max_connections=CONNECTIONS, **options)
        except ValueError:
            # Its message may hold a piece of the password.
            raise Misconfigured("REDIS_URL is not like redis://[[user]:password@]host:port/number.") from None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._eras: dict[AbstractConnection, str] = {}

    def channel(self, name: str) -> str:
        """Channels are of the server: a database of the same server with another number is another's."""
        return f"class-performance:{self.connection_kwargs.get('db') or 0}:{name}"

    def make_connection(self) -> AbstractConnection:
        connection: AbstractConnection = super().make_connection()  # type: ignore[no-untyped-call]
        connection.register_connect_callback(self._introduce)  # type: ignore[no-untyped-call]
        return connection

    async def _introduce(self, connection: AbstractConnection) -> None:
        self._eras.pop(connection, None)
        self._eras[connection] = await _run_of(connection)

    async def ask(self, question: Question[Answer]) -> Answer:
        connection = await self.get_connection()  # type: ignore[no-untyped-call]
        try:
            era = self._eras[connection]
            answer = await question(connection, era)
            if self._eras.get(connection) != era:
                raise ConnectionError("It was connected again meanwhile, to another run of the server.")
            return answer
        finally:
            await self.release(connection)


async def _run_of(connection: AbstractConnection) -> str:
    """Where the user may not ask, nothing: then a Redis that comes back with an older state is not recognised."""
    await connection.send_command("INFO", "server", check_health=False)
    try:
        found = re.search(rb"run_id:(\w+)", await connection.read_response())
    except ResponseError:
        return ""
    return found[1].decode() if found else ""


async def send(connection: AbstractConnection, commands: list[Command]) -> list[Any]:
    await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
    return [await _receive(connection) for _ in commands]


async def _receive(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as refusal:
        return refusal
