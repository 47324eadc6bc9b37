"""The least that tells subscribers anything: a bare ASGI application that sends what Redis tells it to every socket."""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress
from typing import Any

from redis.asyncio import Redis
from starlette.types import Receive, Scope, Send

CHANNEL = "benchmark"
ACK = '{"type":"connection_ack"}'
GREETING = '{"id":"1","type":"next"}'


class Broadcast:
    """Looks at nothing it is sent: after two messages it has acknowledged and subscribed whoever sent them."""

    def __init__(self, redis_url: str) -> None:
        self._url = redis_url
        self._sockets: dict[int, Send] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        await receive()
        await send({"type": "websocket.accept", "subprotocol": scope["subprotocols"][0]})
        await receive()
        await send({"type": "websocket.send", "text": ACK})
        await receive()
        self._sockets[id(send)] = send
        await send({"type": "websocket.send", "text": GREETING})
        while (await receive())["type"] != "websocket.disconnect":
            pass
        del self._sockets[id(send)]

    async def _live(self, receive: Receive, send: Send) -> None:
        """The service freezes what is alive at its start; so does this."""
        await receive()
        async with Redis.from_url(self._url, protocol=2) as redis, redis.pubsub() as pubsub:
            await pubsub.subscribe(CHANNEL)
            relay = asyncio.create_task(self._relay(pubsub))
            gc.collect()
            gc.freeze()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            relay.cancel()
        await send({"type": "lifespan.shutdown.complete"})

    async def _relay(self, pubsub: Any) -> None:
        async for message in pubsub.listen():
            if message["type"] == "message":
                event = {"type": "websocket.send", "text": message["data"].decode()}
                for send in list(self._sockets.values()):
                    with suppress(OSError):  # gone
                        await send(event)
