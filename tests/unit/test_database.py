"""A URL of a database that cannot be read is refused without a word of it."""

from __future__ import annotations

import traceback

import pytest

from app import migrate
from app.database import create_engine, read_url
from app.errors import Misconfigured
from app.settings import Settings

MALFORMED = [
    "postgresql://usr:hunter2@127.0.0.1:1x/hunter2",
    "postgresql://usr:hunter2@127.0.0.1:99999999999999999999999x",
    "hunter2",
    "",
    "mysql://usr:hunter2@127.0.0.1/db",
    "hunter2://usr:hunter2@127.0.0.1/db",
]


@pytest.mark.parametrize("url", MALFORMED)
def test_a_malformed_url_is_refused_and_not_repeated(url: str) -> None:
    for use in (
        lambda: read_url(url),
        lambda: create_engine(Settings(database_url=url)),
        lambda: migrate.upgrade(url),
    ):
        with pytest.raises(Misconfigured, match="DATABASE_URL is not of the form") as caught:
            use()
        told = "".join(traceback.format_exception(caught.value))
        assert "hunter2" not in str(caught.value)
        assert "hunter2" not in told.replace('"hunter2', "")
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg", "postgresql+asyncpg"])
def test_any_way_to_write_postgresql_will_do(scheme: str) -> None:
    url = read_url(f"{scheme}://usr:hunter2@127.0.0.1:5432/db?sslmode=disable")
    assert (url.drivername, url.password, url.port, url.database) == ("postgresql+psycopg", "hunter2", 5432, "db")
