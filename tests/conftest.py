"""Real servers: PostgreSQL and Valkey of this run's own, and for each test a copy of a migrated database."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from app import migrate
from app.database import create_engine
from app.devservices import Services, embedded
from app.settings import Settings

SECRET = "a secret of the tests, at least thirty-two bytes long"
_numbers = itertools.count()


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    with embedded(tmp_path_factory.mktemp("servers"), fsync=False) as services:
        yield services


def _administer(servers: Services, statement: str) -> None:
    with psycopg.connect(servers.database_url, dbname="postgres", autocommit=True) as connection:
        connection.execute(statement.encode())


@pytest.fixture(scope="session")
def template(servers: Services) -> str:
    migrate.upgrade(servers.database_url)
    return servers.database_url.rsplit("/", 1)[1]


@contextmanager
def new_database(servers: Services, template: str) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    _administer(servers, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield servers.database_url.rsplit("/", 1)[0] + "/" + name
    _administer(servers, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(servers: Services, template: str) -> Iterator[str]:
    """A database of this test's own."""
    with new_database(servers, template) as url:
        yield url


@pytest.fixture
def redis_url(servers: Services) -> str:
    return servers.redis_url


@pytest.fixture
def settings(database_url: str, redis_url: str) -> Settings:
    return Settings(
        environment="development",
        database_url=database_url,
        redis_url=redis_url,
        jwt_secret=SECRET,
    )


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """Emptied before and after: it is shared by the tests of a process."""
    async with Redis.from_url(redis_url) as client:
        await client.flushall()
        yield client
        await client.flushall()


@pytest.fixture
async def engine(settings: Settings) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(settings)
    yield engine
    await engine.dispose()
