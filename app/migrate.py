"""Alembic, driven from Python: up, down, and writing a new migration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from app.database import read_url

LOCK_TIMEOUT = "2s"
"""A migration that cannot have its lock at once gives up, rather than hold up everyone who queues behind it."""


def folder() -> Path:
    """In the wheel the migrations lie inside the package, in a checkout beside it."""
    here = Path(__file__).parent
    packaged = here / "migrations"
    return packaged if packaged.is_dir() else here.parent / "migrations"


def upgrade(database_url: str, revision: str = "head") -> None:
    _run(database_url, command.upgrade, revision)


def downgrade(database_url: str, revision: str) -> None:
    _run(database_url, command.downgrade, revision)


def write(database_url: str, message: str) -> None:
    """Write a migration file from the difference between tables and database."""
    _run(database_url, command.revision, message, True)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(folder()))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    return config


def _run(database_url: str, action: Any, *arguments: Any) -> None:
    options = f"-c lock_timeout={LOCK_TIMEOUT} -c timezone=UTC"
    engine = create_engine(read_url(database_url), connect_args={"options": options})
    try:
        with engine.connect() as connection:
            config = _config()
            config.attributes["connection"] = connection
            action(config, *arguments)
            connection.commit()
    finally:
        engine.dispose()
