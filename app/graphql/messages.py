"""The messages of graphql-transport-ws, as text frames of JSON: read from a client, written to it.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from app.graphql.faults import Fault

SUBPROTOCOL = "graphql-transport-ws"
FROM_CLIENT = {"connection_init", "ping", "pong", "subscribe", "complete"}
WITH_ID = {"subscribe", "complete"}
LONGEST_ID = 255
LONGEST_REASON = 120  # bytes; a frame that closes has no room for more

ACK = '{"type":"connection_ack"}'


class Closing(Exception):
    """The socket is to be closed with this code. Clients try again after 1013 and 4403; the others are for good."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason.encode()[:LONGEST_REASON].decode(errors="ignore")


@dataclass(frozen=True, slots=True)
class Message:
    kind: str
    id: str
    payload: dict[str, Any] | None


def malformed(reason: str) -> Closing:
    return Closing(4400, reason)


def read(text: str) -> Message:
    """Raises Closing."""
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise malformed("This is not JSON.") from None
    if not isinstance(content, dict):
        raise malformed("A message is a JSON object.")
    kind, id_, payload = content.get("type"), content.get("id", ""), content.get("payload")
    if not isinstance(kind, str) or kind not in FROM_CLIENT:
        raise malformed("This is no type of message that a client sends.")
    if not isinstance(payload, dict | None):
        raise malformed("payload must be an object.")
    if kind in WITH_ID and not (isinstance(id_, str) and 1 <= len(id_) <= LONGEST_ID):
        raise malformed(f"id must be a string of 1 to {LONGEST_ID} characters.")
    return Message(kind, id_ if kind in WITH_ID else "", payload)


def pong(payload: dict[str, Any] | None) -> str:
    return orjson.dumps({"type": "pong"} if payload is None else {"type": "pong", "payload": payload}).decode()


def beginning(id_: str) -> str:
    """Of all the events of an operation."""
    return f'{{"id":{_quoted(id_)},"type":"next","payload":'


def next_(beginning: str, payload: bytes) -> str:
    return f"{beginning}{payload.decode()}}}"


def error(id_: str, faults: Sequence[Fault]) -> str:
    return orjson.dumps({"id": id_, "type": "error", "payload": faults}).decode()


def complete(id_: str) -> str:
    return f'{{"id":{_quoted(id_)},"type":"complete"}}'


def _quoted(id_: str) -> str:
    return orjson.dumps(id_).decode()
