"""One question, asked over and over."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, TextClause
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine


class Glance:
    """By a connection kept for it, outside of any transaction: what is asked many times a second is one statement, not
    four. Not for two at a time."""

    def __init__(self, engine: AsyncEngine, question: TextClause) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._question = question
        self._connection: AsyncConnection | None = None

    async def ask(self, **parameters: Any) -> Row[Any]:
        if self._connection is None:
            self._connection = await self._engine.connect()
        try:
            return (await self._connection.execute(self._question, parameters)).one()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection:
            await connection.close()
