"""The cache before a real Valkey, in health and in every kind of trouble."""

from __future__ import annotations

import asyncio
import itertools
import socket
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from redis.asyncio import Redis
from structlog.testing import capture_logs

from app import cache as cache_module
from app.cache import Cache
from app.errors import Misconfigured
from app.metrics import METRIC_NAMES
from app.records import Record
from app.settings import Settings
from tests.faults import PASSWORD, Proxy, Server, always_answering, private_server, proxy_before

MARGIN = 1.0  # seconds a busy machine may add to a limit
PATIENT = {"redis_timeout": 5.0}  # where the limit is not what is tested
NOW = datetime(2026, 3, 2, 7, 55, 1, 250, tzinfo=UTC)
FIRST = Record(
    class_id="c1",
    school_id="s1",
    status="ACTIVE",
    version=1,
    pinned_metrics=["average_grade"],
    explanation={"average_grade": {"students": 3}},
    custom={"näme": ["ü", None, 1.5]},
    last_updated=NOW,
    created_at=NOW - timedelta(days=1),
    updated_at=NOW,
    **{name: 7 if name.endswith("_count") else None for name in METRIC_NAMES} | {"average_grade": 81.25},
)


def record(class_id: str = "c1", version: int = 1, **values: Any) -> Record:
    return replace(FIRST, class_id=class_id, version=version, **values)


def key(class_id: str) -> str:
    return f"class-performance:{class_id}"


def new_cache(url: str, **settings: Any) -> Cache:
    return Cache(Settings(redis_url=url, **settings))


@asynccontextmanager
async def cache_at(url: str, **settings: Any) -> AsyncIterator[Cache]:
    cache = new_cache(url, **settings)
    try:
        yield cache
    finally:
        await cache.close()


@pytest.fixture(autouse=True)
def _a_logger_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was used before may be bound to settings of another test."""
    monkeypatch.setattr(cache_module, "log", structlog.get_logger())


@pytest.fixture
async def cache(redis: Redis, redis_url: str) -> AsyncIterator[Cache]:
    async with cache_at(redis_url, **PATIENT) as cache:
        yield cache


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with private_server(tmp_path / "valkey") as server:
        yield server


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[tuple[Proxy, str]]:
    async with proxy_before(server.port) as proxy:
        yield proxy


async def get_within_limit(cache: Cache, *class_ids: str) -> dict[str, Record | None]:
    began = time.monotonic()
    found = await cache.get_many(class_ids or ["c1"])
    assert time.monotonic() - began < Settings().redis_timeout + MARGIN
    return found


async def until_found(cache: Cache, put: Sequence[Record] = ()) -> None:
    async with asyncio.timeout(10):
        while not await cache.get_many(["c1"]):
            await cache.put_many(put)
            await asyncio.sleep(0.02)


# In health


async def test_what_is_put_is_got_in_full(cache: Cache) -> None:
    records = [record("c1"), record("c2", 5, custom=None, status="ARCHIVED"), record("klasse ☃", 2**40)]
    await cache.put_many(records)
    found = await cache.get_many(["c2", "nobody", "klasse ☃", "c1", "c1"])
    assert found == {each.class_id: each for each in records}


async def test_an_older_record_never_replaces_a_newer_one(cache: Cache) -> None:
    for number, order in enumerate(itertools.permutations([2, 9, 10])):
        for version in order:
            await cache.put_many([record(f"c{number}", version, average_grade=float(version))])
        assert (await cache.get_many([f"c{number}"]))[f"c{number}"].version == 10


async def test_within_one_batch_the_newest_wins(cache: Cache) -> None:
    await cache.put_many([record(version=version) for version in (3, 12, 4)])
    assert (await cache.get_many(["c1"]))["c1"].version == 12


async def test_the_same_record_again_changes_nothing(cache: Cache, redis: Redis) -> None:
    await cache.put_many([record()])
    await redis.pexpire(key("c1"), 5_000)
    await cache.put_many([record()])
    assert await redis.pttl(key("c1")) <= 5_000


async def test_an_unknown_id_is_remembered(cache: Cache, redis: Redis) -> None:
    await cache.remember_unknown(["c1", "c2"])
    assert await cache.get_many(["c1", "c2", "c3"]) == {"c1": None, "c2": None}
    assert 8_900 <= await redis.pttl(key("c1")) <= 11_000


async def test_a_record_replaces_the_mark_of_an_unknown_id_but_never_the_other_way(cache: Cache) -> None:
    await cache.remember_unknown(["c1"])
    await cache.put_many([record()])
    await cache.remember_unknown(["c1"])
    assert await cache.get_many(["c1"]) == {"c1": record()}


@pytest.mark.parametrize(("status", "ttl"), [("ACTIVE", 300), ("ARCHIVED", 86_400)])
async def test_the_time_to_live_follows_the_status_and_varies(
    cache: Cache, redis: Redis, status: str, ttl: int
) -> None:
    class_ids = [f"c{number}" for number in range(50)]
    await cache.put_many([record(class_id, status=status) for class_id in class_ids])
    lives = [await redis.pttl(key(class_id)) for class_id in class_ids]
    assert min(lives) > ttl * 890
    assert max(lives) <= ttl * 1100
    assert max(lives) - min(lives) > ttl * 20


async def test_any_number_of_ids_is_one_command(cache: Cache, redis: Redis) -> None:
    await cache.put_many([record(f"c{number}") for number in range(100)])
    await redis.config_resetstat()
    assert len(await cache.get_many([f"c{number}" for number in range(100)])) == 100
    commands = await redis.info("commandstats")
    assert commands["cmdstat_mget"]["calls"] == 1
    assert set(commands) <= {"cmdstat_mget", "cmdstat_config|resetstat", "cmdstat_info"}


async def test_nothing_asked_is_nothing_sent(server: Server, proxy: tuple[Proxy, str]) -> None:
    counted, url = proxy
    async with cache_at(url) as cache:
        assert await cache.get_many([]) == {}
        await cache.put_many([])
        await cache.remember_unknown([])
    assert counted.connections == 0


async def test_a_batch_is_put_in_one_round_trip_and_no_script_touches_two_keys(cache: Cache, redis: Redis) -> None:
    await cache.put_many([record("c0")])  # teaches Redis the script
    seen = []
    async with redis.monitor() as monitor:
        await cache.put_many([record(f"c{number}", version=2) for number in range(10)])
        await cache.get_many(["the end"])
        while not (line := await monitor.next_command())["command"].startswith("MGET"):
            seen.append((line["client_address"], line["command"].split()))
    called = [words for client, words in seen if client != "lua"]
    assert [words[0] for words in called] == ["EVALSHA"] * 10
    assert {words[2] for words in called} == {"1"}
    keys = [words[1] if client == "lua" else words[3] for client, words in seen]
    scripts = [list(group) for _, group in itertools.groupby(keys)]
    assert [group[0] for group in scripts] == [key(f"c{number}") for number in range(10)]
    assert all(len(group) > 1 for group in scripts)


@pytest.mark.parametrize(
    "value",
    [
        b"1 " + FIRST.to_json()[:-20],
        b"1 " + FIRST.to_json().replace(b'"average_grade":', b'"median_grade":'),
        b"1 " + FIRST.to_json().replace(b'"version":1,', b""),
        b'1 {"last_updated": null}',
        b"1 []",
        b"1 ",
        b"1",
        b"",
        b"0 ",
        b"\xff\xfe",
    ],
)
async def test_what_cannot_be_decoded_is_a_miss_and_is_replaced(cache: Cache, redis: Redis, value: bytes) -> None:
    await redis.set(key("c1"), value)
    await cache.put_many([record("c2")])
    assert await cache.get_many(["c1", "c2"]) == {"c2": record("c2")}
    await cache.put_many([record()])
    assert await cache.get_many(["c1"]) == {"c1": record()}


async def test_scripts_that_were_flushed_are_sent_again(cache: Cache, redis: Redis) -> None:
    await cache.put_many([record()])
    await redis.script_flush()
    await cache.put_many([record(version=2), record("c2")])
    assert {found.version for found in (await cache.get_many(["c1", "c2"])).values()} == {1, 2}
    await redis.config_resetstat()
    await cache.put_many([record(version=3)])
    assert "cmdstat_eval" not in await redis.info("commandstats")


async def test_an_id_no_text_can_have_is_unknown_and_no_failure(cache: Cache) -> None:
    with capture_logs() as logs:
        assert await cache.get_many(["\ud800", ""]) == {}
        await cache.remember_unknown(["\ud800"])
        assert await cache.get_many(["\ud800"]) == {"\ud800": None}
    assert logs == []


async def test_hundreds_of_calls_share_a_few_connections(server: Server, proxy: tuple[Proxy, str]) -> None:
    counted, url = proxy
    async with cache_at(f"{url}?max_connections=4", **PATIENT) as cache:
        await cache.put_many([record(f"c{number}") for number in range(500)])
        answers = await asyncio.gather(*(cache.get_many([f"c{number}"]) for number in range(500)))
    assert answers == [{f"c{number}": record(f"c{number}")} for number in range(500)]
    assert counted.connections <= 4


async def test_a_crowd_within_the_limit_is_not_taken_for_an_outage(redis: Redis, redis_url: str) -> None:
    async with cache_at(f"{redis_url}?max_connections=1", redis_timeout=0.02, redis_retry_after=60) as cache:
        await cache.put_many([record()])
        with capture_logs() as logs:
            answers = await asyncio.gather(*(cache.get_many(["c1"]) for _ in range(3_000)))
        assert {} in answers
        assert logs == []
        assert await cache.get_many(["c1"]) == {"c1": record()}


async def test_a_process_that_was_busy_elsewhere_still_takes_its_answer(redis: Redis, redis_url: str) -> None:
    async with cache_at(redis_url, redis_retry_after=60) as cache:
        await cache.put_many([record()])
        for _ in range(3):
            asking = asyncio.create_task(cache.get_many(["c1"]))
            await asyncio.sleep(0)
            time.sleep(0.15)  # noqa: ASYNC251 - longer than the limit, and the answer has arrived
            assert await asking == {"c1": record()}


async def test_a_process_that_is_busy_all_the_time_still_gets_through(redis: Redis, redis_url: str) -> None:
    async def be_busy() -> None:
        while True:
            time.sleep(0.03)  # noqa: ASYNC251
            await asyncio.sleep(0)

    async with cache_at(redis_url, **PATIENT) as cache:
        await cache.put_many([record()])
    busy = asyncio.create_task(be_busy())
    async with cache_at(redis_url, redis_retry_after=60) as cache:
        assert await cache.get_many(["c1"]) == {"c1": record()}
    busy.cancel()


# In trouble


@asynccontextmanager
async def refusing() -> AsyncIterator[str]:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        yield f"redis://:{PASSWORD}@127.0.0.1:{closed.getsockname()[1]}/0"


@asynccontextmanager
async def mistaken() -> AsyncIterator[str]:
    yield "redis://127.0.0.1:1/0?no_such_option=1"


@asynccontextmanager
async def never_connecting() -> AsyncIterator[str]:
    """A full queue of connections: one more gets no answer at all, as from a machine that is gone."""
    with socket.socket() as full, socket.socket() as first:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        first.connect(full.getsockname())
        yield f"redis://:{PASSWORD}@127.0.0.1:{full.getsockname()[1]}/0"


TROUBLES = {
    "refusing": refusing,
    "mistaken": mistaken,
    "never connecting": never_connecting,
    "silent": lambda: always_answering(b""),
    "loading": lambda: always_answering(b"-LOADING Redis is loading the dataset in memory\r\n"),
    "not for us": lambda: always_answering(f"-ERR unknown command with args: '{PASSWORD}'\r\n".encode()),
    "no redis": lambda: always_answering(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "absurd": lambda: always_answering(b"*2\r\n:1\r\n$-1\r\n"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_no_trouble_raises_or_takes_longer_than_the_limit(trouble: str) -> None:
    async with TROUBLES[trouble]() as url:
        with capture_logs() as logs:
            for call in (Cache.get_many, Cache.put_many, Cache.remember_unknown):
                async with cache_at(url, redis_retry_after=60) as cache:
                    began = time.monotonic()
                    assert not await call(cache, [record()] if call is Cache.put_many else ["c1"])
                    assert time.monotonic() - began < Settings().redis_timeout + MARGIN
                    assert await get_within_limit(cache) == {}
    assert [line["event"] for line in logs] == ["redis_is_away"] * 3
    assert PASSWORD not in str(logs)


def lose(server: Server, proxy: Proxy) -> None:
    proxy.lose()


def stop(server: Server, proxy: Proxy) -> None:
    server.pause()


def kill(server: Server, proxy: Proxy) -> None:
    server.kill()


@pytest.mark.parametrize("fault", [lose, stop, kill])
@pytest.mark.parametrize("crowd", [1, 100])
async def test_when_redis_goes_away_few_ask_and_one_line_is_logged(
    server: Server, proxy: tuple[Proxy, str], fault: Any, crowd: int
) -> None:
    between, url = proxy
    async with cache_at(url, redis_retry_after=60) as cache:
        await cache.put_many([record()])
        assert await cache.get_many(["c1"]) == {"c1": record()}
        fault(server, between)
        with capture_logs() as logs:
            assert await asyncio.gather(*(get_within_limit(cache) for _ in range(crowd))) == [{}] * crowd
            connections, received = between.connections, len(between.received)
            for _ in range(100):
                assert await cache.get_many(["c1"]) == {}
                await cache.put_many([record(version=2)])
                await cache.remember_unknown(["c2"])
        assert (between.connections, len(between.received)) == (connections, received)
        assert between.count("MGET") <= 1 + cache_module.CONNECTIONS
        assert [line["event"] for line in logs] == ["redis_is_away"]
        server.resume()


async def test_who_waits_for_a_turn_when_redis_goes_away_does_not_ask(server: Server, proxy: tuple[Proxy, str]) -> None:
    between, url = proxy
    async with cache_at(f"{url}?max_connections=2", redis_timeout=0.4, redis_retry_after=60) as cache:
        await asyncio.gather(*(cache.get_many(["c1"]) for _ in range(10)))
        between.lose()
        connections = between.connections
        first = [asyncio.create_task(cache.get_many(["c1"])) for _ in range(10)]
        await asyncio.sleep(0.2)
        later = [asyncio.create_task(cache.get_many(["c1"])) for _ in range(10)]
        assert await asyncio.gather(*first, *later) == [{}] * 20
        assert between.connections == connections


async def test_a_wrong_password_is_tried_once_and_not_told(server: Server, proxy: tuple[Proxy, str]) -> None:
    between, url = proxy
    async with cache_at(url.replace(PASSWORD, "a-wrong-secret"), redis_retry_after=60) as cache:
        with capture_logs() as logs:
            for _ in range(100):
                assert await get_within_limit(cache) == {}
    assert between.count("AUTH") == 1
    assert [line["reason"] for line in logs] == ["AuthenticationError"]
    assert "a-wrong-secret" not in str(logs)


async def test_during_an_outage_one_at_a_time_tries(server: Server, proxy: tuple[Proxy, str]) -> None:
    between, url = proxy
    async with cache_at(url, redis_retry_after=0.2) as cache:
        await cache.put_many([record()])
        between.lose()
        await cache.get_many(["c1"])
        before = between.connections
        for trial in range(1, 4):
            await asyncio.sleep(0.25)
            assert await asyncio.gather(*(cache.get_many(["c1"]) for _ in range(50))) == [{}] * 50
            assert between.connections == before + trial


async def test_a_trial_that_is_cancelled_leaves_it_to_another(server: Server, proxy: tuple[Proxy, str]) -> None:
    between, url = proxy
    async with cache_at(url, redis_retry_after=0.1) as cache:
        await cache.put_many([record()])
        between.lose()
        await cache.get_many(["c1"])
        await asyncio.sleep(0.15)
        trial = asyncio.create_task(cache.get_many(["c1"]))
        await asyncio.sleep(0.01)
        trial.cancel()
        between.pass_on()
        await until_found(cache)


@pytest.mark.parametrize("fault", [lose, stop, kill])
async def test_redis_is_used_again_when_it_is_back(server: Server, proxy: tuple[Proxy, str], fault: Any) -> None:
    between, url = proxy
    async with cache_at(url, redis_retry_after=0.05) as cache:
        await cache.put_many([record()])
        await asyncio.gather(*(cache.get_many(["c1"]) for _ in range(100)))
        with capture_logs() as logs:
            fault(server, between)
            assert await get_within_limit(cache) == {}
            await asyncio.sleep(0.1)
            assert await get_within_limit(cache) == {}
            between.pass_on()
            server.resume() if fault is not kill else server.restart()
            await until_found(cache, [record()])
            # None of the connections from before is met again, however many are needed at once.
            assert await asyncio.gather(*(cache.get_many(["c1"]) for _ in range(50))) == [{"c1": record()}] * 50
        assert [line["event"] for line in logs] == ["redis_is_away", "redis_is_back"]


async def test_a_restart_between_two_calls_is_not_even_noticed(server: Server) -> None:
    async with cache_at(server.url) as cache:
        await asyncio.gather(*(cache.get_many(["c1"]) for _ in range(50)))
        server.kill()
        server.restart()
        await until_listening(server)
        with capture_logs() as logs:
            await cache.put_many([record()])
            assert await asyncio.gather(*(cache.get_many(["c1"]) for _ in range(50))) == [{"c1": record()}] * 50
        assert logs == []


async def test_a_server_that_is_loading_is_away_and_then_back(server: Server) -> None:
    async with server.client() as client:
        await client.mset({f"filler:{number}": "x" for number in range(2_000)})
        await client.save()
    server.kill()
    server.restart("--key-load-delay", "500", "--loading-process-events-interval-bytes", "1024")
    await until_listening(server)
    async with cache_at(server.url, redis_timeout=1, redis_retry_after=0.05) as cache:
        with capture_logs() as logs:
            await until_found(cache, [record()])
    assert [line["event"] for line in logs] == ["redis_is_away", "redis_is_back"]
    assert logs[0]["reason"] == "BusyLoadingError"


async def until_listening(server: Server) -> None:
    async with asyncio.timeout(10):
        while True:
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", server.port)).close()
                return
            await asyncio.sleep(0.01)


async def test_a_full_server_is_still_read_and_keeps_no_older_record(server: Server) -> None:
    class_ids = [f"c{number}" for number in range(10)]
    async with server.client() as client, cache_at(server.url, redis_retry_after=60) as cache:
        await cache.put_many([record(class_id) for class_id in [*class_ids, "other"]])
        await client.config_set("maxmemory-policy", "noeviction")
        await client.config_set("maxmemory", 1)
        with capture_logs() as logs:
            for class_id in class_ids:
                await cache.put_many([record(class_id, version=2)])
                await cache.remember_unknown(["nobody"])
                assert await cache.get_many([class_id, "other", "nobody"]) == {"other": record("other")}
        assert [(line["event"], line["reason"]) for line in logs] == [("redis_refuses_writes", "OutOfMemoryError")]
        await client.config_set("maxmemory", 0)
        await cache.put_many([record("c1", version=2)])
        assert await cache.get_many(["c1"]) == {"c1": record("c1", version=2)}


# Cancelled callers


async def test_answers_belong_to_their_questions_after_cancellations(redis: Redis, redis_url: str) -> None:
    class_ids = [f"c{number}" for number in range(100)]
    async with cache_at(f"{redis_url}?max_connections=5", **PATIENT) as cache:
        await cache.put_many([record(class_id) for class_id in class_ids])
        for turns in range(30):
            await cancel_half_way([cache.get_many([class_id]) for class_id in class_ids], turns)
            await cancel_half_way([cache.put_many([record(class_id)]) for class_id in class_ids], turns)
            answers = await asyncio.gather(*(cache.get_many([class_id]) for class_id in class_ids))
            assert answers == [{class_id: record(class_id)} for class_id in class_ids]


async def cancel_half_way(calls: Sequence[Any], turns: int) -> None:
    """Cancel every call at some turn of the loop, each kind of place in turn."""
    tasks = [asyncio.create_task(call) for call in calls]
    for _ in range(turns):
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_slow_answer_to_a_cancelled_caller_is_never_read_by_another(server: Server) -> None:
    async with cache_at(f"{server.url}?max_connections=3", **PATIENT) as cache:
        await cache.put_many([record("c1"), record("c2")])
        await asyncio.gather(*(cache.get_many(["c1"]) for _ in range(3)))
        server.pause()
        asking = [asyncio.create_task(cache.get_many(["c1"])) for _ in range(100)]
        await asyncio.sleep(0.1)
        for task in asking:
            task.cancel()
        assert all(
            isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*asking, return_exceptions=True)
        )
        server.resume()
        assert await asyncio.gather(*(cache.get_many(["c2"]) for _ in range(100))) == [{"c2": record("c2")}] * 100


# At the ends of its life


async def test_a_cache_connects_to_nothing_until_it_is_asked(server: Server, proxy: tuple[Proxy, str]) -> None:
    between, url = proxy
    cache = new_cache(url)
    await asyncio.sleep(0.05)
    await cache.close()
    assert between.connections == 0


async def test_closing_leaves_no_connection(server: Server) -> None:
    async with server.client() as client:
        async with cache_at(server.url) as cache:
            await asyncio.gather(*(cache.get_many(["c1"]) for _ in range(50)))
            assert len(await client.client_list()) > 1
        await asyncio.sleep(0.05)
        assert len(await client.client_list()) == 1


async def test_closing_does_not_wait_for_a_server_that_is_away(server: Server) -> None:
    cache = new_cache(server.url)
    await cache.get_many(["c1"])
    server.pause()
    began = time.monotonic()
    await cache.close()
    assert time.monotonic() - began < Settings().redis_timeout + MARGIN
    server.resume()


async def test_without_an_address_there_is_nothing_to_ask() -> None:
    cache = new_cache("")
    await cache.put_many([record("c1", 1)])
    assert await cache.get_many(["c1"]) == {}
    await cache.close()


@pytest.mark.parametrize("url", ["localhost:6379", "redis://:sec/ret@localhost"])
def test_an_address_that_is_none_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(Misconfigured, match="REDIS_URL") as refusal:
        new_cache(url)
    assert "sec" not in str(refusal.value)
