"""A place to develop in: embedded servers and a secret of this directory's own, where none are set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import SecretStr

from app import devservices, migrate
from app.settings import Settings

DATA = Path(".data")


def with_secret(settings: Settings) -> Settings:
    """Enough to make and check tokens with."""
    if settings.jwt_secret or settings.jwt_jwks:
        return settings
    secret = SecretStr(devservices.password(DATA, "jwt.secret"))
    return Settings(**{**settings.model_dump(), "jwt_secret": secret})


@contextmanager
def development() -> Iterator[Settings]:
    """With neither DATABASE_URL nor REDIS_URL set: embedded servers, the database brought to the newest tables."""
    given = Settings(environment="development")
    if given.database_url.get_secret_value():
        yield given
        return
    with devservices.embedded(DATA) as services:
        migrate.upgrade(services.database_url)
        urls = {"database_url": services.database_url, "redis_url": services.redis_url}
        if given.redis_url.get_secret_value():
            del urls["redis_url"]
        yield Settings(**{**given.model_dump(), **urls})
