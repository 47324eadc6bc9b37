"""Servers of a benchmark's own, databases on them, and a district to ask about. Nobody's data is near."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
from pydantic import SecretStr

from app import migrate
from app.devservices import embedded
from app.settings import Settings

# The same on every machine and every day.
NOW = datetime(2026, 3, 11, 12, tzinfo=UTC)


def today() -> datetime:
    """Classes of a district as seen today are in mid-term now, and move with the clock as they do in a school."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


@contextmanager
def servers() -> Iterator[Settings]:
    """PostgreSQL and Valkey, stopped and deleted at the end. Writes reach the disk, as they would in production."""
    with TemporaryDirectory(prefix="classperf-bench-") as folder, embedded(Path(folder)) as services:
        yield Settings(
            database_url=SecretStr(services.database_url),
            redis_url=SecretStr(services.redis_url),
            jwt_secret=SecretStr(secrets.token_urlsafe(48)),
            log_level="error",
            nightly_cron="",
        )


def database(settings: Settings, name: str) -> Settings:
    """With an empty database of this name."""
    url = settings.database_url.get_secret_value()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    fresh = url.rpartition("/")[0] + f"/{name}"
    migrate.upgrade(fresh)
    return settings.model_copy(update={"database_url": SecretStr(fresh)})


def tidy(settings: Settings) -> None:
    """As autovacuum would have left it in time."""
    with psycopg.connect(settings.database_url.get_secret_value(), autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


def environment(settings: Settings) -> dict[str, str]:
    """Of a process that is to have these settings."""
    given = settings.model_dump(exclude_none=True)
    return {name.upper(): _plain(value) for name, value in given.items()}


def _plain(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
