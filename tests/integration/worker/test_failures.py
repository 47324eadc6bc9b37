"""A class whose calculation fails holds up nobody, is told of, and is tried again until it succeeds."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from app import changes, failures, worker
from app.database import transaction
from app.performance import recalculate_many
from app.settings import Settings
from tests.working import CALCULATED, ask, ask_all, idle, measured, tell, until, workers

pytestmark = pytest.mark.usefixtures("redis", "school")

CLASSES = "INSERT INTO class (id, school_id, title) SELECT 'c' || n, 'north', 'C' FROM generate_series(1, {count}) AS n"
POISON = "ALTER TABLE class_performance ADD CONSTRAINT poison CHECK (class_id <> 'algebra' OR present_count < 2)"
ANTIDOTE = "ALTER TABLE class_performance DROP CONSTRAINT poison"
PRESENCE = (
    "INSERT INTO attendance (class_id, student_id, session_date, status) VALUES ('algebra', 'ada', '{day}', 'PRESENT')"
)
FAILURE = "SELECT class_id, attempts, error FROM calculation_failure"
COUNT = "SELECT count(*) FROM calculation_failure"
SECONDS = "SELECT extract(epoch FROM retry_at - failed_at)::int FROM calculation_failure"
DUE = "UPDATE calculation_failure SET retry_at = now()"
# The calculation of a class takes so long as its title says.
SLOW = """
    CREATE FUNCTION be_slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM pg_sleep(title::float) FROM class WHERE id = NEW.class_id AND title ~ '^[0-9.]+$';
        RETURN NEW;
    END $$
"""
SLOWLY = "CREATE TRIGGER slowly BEFORE UPDATE ON class_performance FOR EACH ROW EXECUTE FUNCTION be_slow()"


async def test_a_failure_is_recorded_and_holds_up_no_other(settings: Settings, engine: AsyncEngine) -> None:
    failed = measured("classperf_calculation_failures_total")
    await tell(engine, POISON, CLASSES.format(count=120), PRESENCE.format(day="2026-01-06"))
    (marked,) = (await ask_all(engine, "SELECT min(at) FROM class_change WHERE class_id = 'algebra'"))[0]
    async with workers(settings, 2):
        await idle(engine)
    assert await ask_all(engine, FAILURE) == [("algebra", 1, "CheckViolation 23514")]
    assert await ask(engine, "SELECT count(*) FROM class_performance WHERE class_id LIKE 'c%'") == 120
    assert await ask(engine, "SELECT present_count FROM class_performance WHERE class_id = 'algebra'") == 1
    assert await ask(engine, "SELECT since FROM calculation_failure") == marked
    assert measured("classperf_calculation_failures_total") - failed == 1
    async with engine.connect() as connection:
        assert await changes.stale_since(connection, ["algebra", "biology"]) == {"algebra": marked}


async def test_it_is_tried_again_ever_more_rarely_until_it_succeeds(settings: Settings, engine: AsyncEngine) -> None:
    await tell(engine, POISON, PRESENCE.format(day="2026-01-06"))
    waits = {}
    async with workers(settings, 2):
        for attempt in (1, 2, 9, 10):
            await tell(engine, f"UPDATE calculation_failure SET attempts = {attempt - 1}, retry_at = now()")
            await until(lambda attempt=attempt: ask(engine, f"{COUNT} WHERE attempts = {attempt}"))
            waits[attempt] = await ask(engine, SECONDS)
        await tell(engine, ANTIDOTE, DUE)
        await until(lambda: ask(engine, f"SELECT ({COUNT}) = 0"))
        await idle(engine)
    assert waits == {1: 10, 2: 20, 9: 2560, 10: 3600}
    assert await ask(engine, "SELECT present_count FROM class_performance WHERE class_id = 'algebra'") == 2


async def test_a_new_fact_brings_the_next_attempt_forward_but_not_at_once(
    settings: Settings, engine: AsyncEngine
) -> None:
    await tell(engine, POISON, PRESENCE.format(day="2026-01-06"))
    async with workers(settings, 2):
        await until(lambda: ask(engine, COUNT))
        await tell(engine, "UPDATE calculation_failure SET attempts = 9, retry_at = failed_at + interval '1 hour'")
        calculated = measured(CALCULATED)
        since = await ask(engine, "SELECT since FROM calculation_failure")
        await tell(engine, ANTIDOTE, PRESENCE.format(day="2026-01-07"), CLASSES.format(count=3))
        await until(lambda: ask(engine, f"{COUNT} WHERE retry_at <= failed_at + interval '10 seconds'"))
        await idle(engine)
        assert measured(CALCULATED) - calculated == 3
        assert await ask(engine, "SELECT since FROM calculation_failure") == since
        await tell(engine, DUE)
        await until(lambda: ask(engine, f"SELECT ({COUNT}) = 0"))
    assert await ask(engine, "SELECT present_count FROM class_performance WHERE class_id = 'algebra'") == 3


async def test_what_somebody_else_calculates_is_a_failure_no_more(settings: Settings, engine: AsyncEngine) -> None:
    await tell(engine, POISON, PRESENCE.format(day="2026-01-06"))
    async with workers(settings):
        await until(lambda: ask(engine, COUNT))
    await tell(engine, ANTIDOTE)
    async with transaction(engine) as connection:
        await recalculate_many(connection, ["algebra"])
    assert await ask(engine, COUNT) == 0


async def test_one_bad_class_does_not_hold_up_its_school(settings: Settings, engine: AsyncEngine) -> None:
    """Marked as a whole: what was opened must not be closed again by the failure."""
    await tell(engine, POISON, CLASSES.format(count=20), PRESENCE.format(day="2026-01-06"))
    async with workers(settings):
        await idle(engine)
        await tell(engine, "DELETE FROM calculation_failure", "UPDATE school SET pass_mark = 90")
        await idle(engine)
    assert await ask_all(engine, FAILURE) == [("algebra", 1, "CheckViolation 23514")]
    told = "SELECT count(*) FROM class_performance WHERE (explanation #>> '{policy,passMark}')::numeric = 90"
    assert await ask(engine, told) == 21


async def test_a_class_for_which_no_record_can_be_made_is_a_failure_like_another(
    settings: Settings, engine: AsyncEngine
) -> None:
    await tell(engine, "ALTER TABLE class_performance ADD CONSTRAINT poison CHECK (class_id <> 'c3')")
    async with workers(settings, 2):
        await tell(engine, CLASSES.format(count=5))
        await idle(engine)
        assert await ask_all(engine, FAILURE) == [("c3", 1, "CheckViolation 23514")]
        assert await ask(engine, "SELECT count(*) FROM class_performance WHERE version > 0") == 6
        await tell(engine, DUE)
        await until(lambda: ask(engine, f"{COUNT} WHERE attempts = 2"))
        await idle(engine)
        await tell(engine, ANTIDOTE, DUE)
        await until(lambda: ask(engine, f"SELECT ({COUNT}) = 0"))
    assert await ask(engine, "SELECT version FROM class_performance WHERE class_id = 'c3'") == 1


async def test_a_bad_class_whose_time_has_come_does_not_stop_the_clock_for_others(
    settings: Settings, engine: AsyncEngine
) -> None:
    await tell(
        engine,
        "UPDATE class_performance SET next_change_at = now()",
        "ALTER TABLE class_performance ADD CHECK (class_id <> 'algebra' OR version < 0) NOT VALID",
    )
    calculated = measured(CALCULATED)
    async with workers(settings):
        await until(lambda: ask(engine, COUNT))
        await until(
            lambda: ask(engine, "SELECT next_change_at IS NULL FROM class_performance WHERE class_id = 'biology'")
        )
    assert measured(CALCULATED) - calculated == 1


async def test_many_bad_classes_are_each_found(settings: Settings, engine: AsyncEngine) -> None:
    await tell(
        engine,
        CLASSES.format(count=60),
        "ALTER TABLE class_performance ADD CHECK (class_id NOT LIKE 'c%5' OR version = 0)",
    )
    async with workers(settings, 2):
        await idle(engine)
    assert await ask_all(engine, "SELECT class_id, attempts FROM calculation_failure ORDER BY 1") == [
        ("c15", 1), ("c25", 1), ("c35", 1), ("c45", 1), ("c5", 1), ("c55", 1),
    ]  # fmt: skip
    assert await ask(engine, "SELECT count(*) FROM class_performance WHERE version > 0 AND class_id LIKE 'c%'") == 54


async def test_a_batch_that_is_too_slow_is_halved(settings: Settings, engine: AsyncEngine) -> None:
    await tell(engine, SLOW, SLOWLY, CLASSES.format(count=7), "UPDATE class SET title = '0.3'")
    async with workers(settings.model_copy(update={"worker_timeout": 1.2})):
        await idle(engine)
    assert await ask(engine, COUNT) == 0
    assert await ask(engine, "SELECT count(*) FROM class_performance WHERE version > 0") == 9


async def test_a_class_that_is_too_slow_alone_is_a_failure(settings: Settings, engine: AsyncEngine) -> None:
    await tell(engine, SLOW, SLOWLY, CLASSES.format(count=5), "UPDATE class SET title = '60' WHERE id = 'c3'")
    async with workers(settings.model_copy(update={"worker_timeout": 0.5})):
        await idle(engine)
        assert await ask_all(engine, FAILURE) == [("c3", 1, "QueryCanceled 57014")]
        assert await ask(engine, "SELECT count(*) FROM class_performance WHERE version > 0") == 6
        await tell(engine, "DROP TRIGGER slowly ON class_performance", DUE)
        await until(lambda: ask(engine, f"SELECT ({COUNT}) = 0"))
    assert await ask(engine, "SELECT count(*) FROM class_performance WHERE version > 0") == 7


async def test_while_a_class_that_hangs_is_tried_again_the_others_go_on(
    settings: Settings, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in (("BATCH_LIMIT", 1.0), ("PART_LIMIT", 0.5), ("STOPPED_WITHIN", 0.5)):
        monkeypatch.setattr(worker, name, seconds)
    await tell(engine, SLOW, SLOWLY, CLASSES.format(count=5), "UPDATE class SET title = '300' WHERE id = 'c3'")
    hanging = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%calculated%' AND pid <> "
    async with workers(settings):
        await until(lambda: ask(engine, COUNT))
        await tell(engine, DUE)
        await until(lambda: ask(engine, hanging + "pg_backend_pid() AND now() - query_start > interval '1 second'"))
        await tell(engine, PRESENCE.format(day="2026-01-06"))
        await until(lambda: ask(engine, "SELECT present_count = 2 FROM class_performance WHERE class_id = 'algebra'"))
        assert await ask(engine, "SELECT attempts FROM calculation_failure") == 1


async def test_a_failure_names_its_kind_and_never_a_value(engine: AsyncEngine) -> None:
    secret = "a grade of somebody"
    with pytest.raises(IntegrityError) as raised:
        await tell(engine, "INSERT INTO class (id, school_id, title) VALUES (:secret, :secret, 'C')", secret=secret)
    assert failures.kind_of(raised.value) == "ForeignKeyViolation 23503"
    assert failures.kind_of(ValueError(secret)) == "ValueError"


@pytest.mark.parametrize(
    ("statement", "away"),
    [
        ("SELECT pg_terminate_backend(pg_backend_pid())", True),
        ("SELECT pg_cancel_backend(pg_backend_pid())", False),
        ("DO $$ BEGIN RAISE disk_full; END $$", False),
        ("DO $$ BEGIN RAISE out_of_memory; END $$", False),
        ("DO $$ BEGIN RAISE too_many_connections; END $$", True),
        ("SELECT 1/0", False),
    ],
)
async def test_only_a_database_that_is_away_is_waited_for(engine: AsyncEngine, statement: str, away: bool) -> None:
    async with engine.connect() as connection:
        with pytest.raises(Exception) as raised:
            await connection.execute(text(statement))
        assert failures.is_away(raised.value) == away


async def test_a_failure_that_is_put_aside_is_one_nobody_is_working_on(engine: AsyncEngine) -> None:
    error: Any = ValueError()
    async with transaction(engine) as connection:
        await changes.mark(connection, ["algebra"])
    async with transaction(engine) as connection:
        await changes.claim_of(connection, ["algebra"])
        await failures.put_aside(engine, "algebra", error)
        assert await ask(engine, COUNT) == 0
    await failures.put_aside(engine, "algebra", error)
    assert await ask(engine, COUNT) == 0
