"""Any facts in any order, repeated, corrected and taken back, by SQL and by the gradebook, in transactions that commit
out of order, with two workers at work meanwhile: whenever nothing is left to do, every record is what a full rebuild
would give and what the independent calculation says, each version is once in the history, the last in the cache."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import settings as profile
from hypothesis.stateful import run_state_machine_as_test
from redis.asyncio import Redis

from app.settings import Settings
from tests.backstage import Backstage, backstage
from tests.term import Term

PROFILE = profile(
    max_examples=12,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],  # what depends on who is first does not shrink
)

# Between what a calculation reads and what it writes, time for others to be in its way.
SLOWLY = """
    CREATE FUNCTION be_slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM pg_sleep(0.05) WHERE random() < 0.4; RETURN NULL;
    END $$;
    CREATE TRIGGER slowly BEFORE UPDATE ON class_performance FOR EACH STATEMENT EXECUTE FUNCTION be_slow();
"""


@pytest.fixture
def stage(settings: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backstage]:
    monkeypatch.setattr("app.worker.CLOCK_SECONDS", 0.1)
    monkeypatch.setattr("app.worker.POLL_SECONDS", 0.01)
    with backstage(settings) as stage:
        yield stage


def test_any_history_of_facts_ends_in_what_a_rebuild_gives(stage: Backstage, database_url: str) -> None:
    with (
        psycopg.connect(database_url, autocommit=True) as sql,
        psycopg.connect(database_url) as late,
        psycopg.connect(database_url, options="-c timezone=UTC") as eye,
    ):
        sql.execute(SLOWLY)
        eye.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        machine = type("Machine", (Term,), {"stage": stage, "sql": sql, "late": late, "eye": eye})
        run_state_machine_as_test(machine, settings=PROFILE)
