"""Runs migrations on the connection that `app.migrate` hands over."""

from __future__ import annotations

from alembic import context
from sqlmodel import SQLModel

import app.tables  # noqa: F401  (fills the metadata)

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=SQLModel.metadata, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
