"""A doorman, and tokens to show to it."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from app.auth import Doorman
from app.errors import Unauthenticated
from app.settings import Settings
from tests.conftest import SECRET

NOWHERE = create_async_engine("postgresql+psycopg://nobody@127.0.0.1:1/none")


def configured(**more: Any) -> Settings:
    return Settings(**{"jwt_secret": SECRET, **more})


def doorman(**more: Any) -> Doorman:
    return Doorman(configured(**more), NOWHERE)


def claims(**more: Any) -> dict[str, Any]:
    usual = {"sub": "a", "role": "admin", "iss": "class-performance", "aud": "class-performance"}
    return {k: v for k, v in {**usual, "exp": int(time.time()) + 60, **more}.items() if v is not ...}


def signed(key: Any = SECRET, algorithm: str = "HS256", headers: Any = None, **more: Any) -> str:
    return jwt.encode(claims(**more), key, algorithm, headers)


async def refused(door: Doorman, token: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await door.identify(token)
    return str(caught.value)
