"""The migrations make exactly the tables of the code, and can be taken back."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
import sqlalchemy
from sqlmodel import SQLModel

import app.tables  # noqa: F401  (fills the metadata)
from app import migrate
from app.devservices import Services
from tests.conftest import _administer

CATALOGUE = {
    "columns": """
        SELECT table_name, column_name, data_type, udt_name, is_nullable, column_default, is_generated,
               generation_expression
        FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version'
        ORDER BY 1, 2""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version' ORDER BY 1, 2""",
    "indexes": """
        SELECT tablename, indexname, indexdef FROM pg_indexes
        WHERE schemaname = 'public' AND tablename <> 'alembic_version' ORDER BY 1, 2""",
}


def described(url: str) -> dict[str, list[Any]]:
    with psycopg.connect(url) as connection:
        return {name: connection.execute(query.encode()).fetchall() for name, query in CATALOGUE.items()}


@pytest.fixture
def empty_url(servers: Services) -> Any:
    _administer(servers, "CREATE DATABASE empty TEMPLATE template0")
    yield servers.database_url.rsplit("/", 1)[0] + "/empty"
    _administer(servers, "DROP DATABASE empty WITH (FORCE)")


def test_migrations_equal_the_tables(database_url: str, empty_url: str) -> None:
    engine = sqlalchemy.create_engine(sqlalchemy.make_url(empty_url).set(drivername="postgresql+psycopg"))
    SQLModel.metadata.create_all(engine)
    engine.dispose()
    tables = described(empty_url)
    assert tables["columns"]
    assert described(database_url) == tables


def test_migrations_can_be_taken_back_and_made_again(database_url: str) -> None:
    before = described(database_url)
    migrate.downgrade(database_url, "base")
    assert described(database_url) == {name: [] for name in CATALOGUE}
    migrate.upgrade(database_url)
    assert described(database_url) == before


# Of these the tables of the code know nothing.
PROGRAMS = """
    SELECT proname, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1, 2"""


def programs(url: str) -> list[Any]:
    with psycopg.connect(url) as connection:
        return connection.execute(PROGRAMS.encode()).fetchall()


def test_functions_and_triggers_are_taken_back_and_made_again(database_url: str) -> None:
    before = programs(database_url)
    migrate.downgrade(database_url, "0001")
    assert {name for name, _ in programs(database_url)} == {"class_school_is_fixed"}
    migrate.downgrade(database_url, "base")
    assert programs(database_url) == []
    migrate.upgrade(database_url)
    assert programs(database_url) == before


def test_what_was_stored_before_changes_were_noticed_is_marked_as_a_whole(database_url: str) -> None:
    migrate.downgrade(database_url, "0001")
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO school (id, title, time_zone) VALUES ('a', 'A', 'UTC')")
        connection.execute("INSERT INTO class (id, school_id, title) VALUES ('c', 'a', 'C')")
    migrate.upgrade(database_url)
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT class_id, school_id FROM class_change").fetchall() == [(None, None)]


def test_a_migration_gives_up_when_a_long_transaction_is_in_the_way(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("SELECT FROM class")
        with pytest.raises(sqlalchemy.exc.OperationalError, match="lock timeout"):
            migrate.downgrade(database_url, "base")
    assert described(database_url)["columns"]


def test_a_class_stays_in_its_school(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("INSERT INTO school (id, title, time_zone) VALUES ('a', 'A', 'UTC'), ('b', 'B', 'UTC')")
        connection.execute("INSERT INTO class (id, school_id, title) VALUES ('c', 'a', 'C')")
        with pytest.raises(psycopg.errors.RestrictViolation, match="class c stays in school a"):
            connection.execute("UPDATE class SET school_id = 'b'")
