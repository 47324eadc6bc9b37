"""The cache before a real Valkey in health, and at the ends of its life."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from app.cache import Cache
from app.errors import Misconfigured
from app.settings import Settings
from tests.caching import FIRST, MARGIN, PATIENT, cache_at, key, new_cache, record, remember_unknown
from tests.faults import Proxy, Server

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
    await redis.pexpire(await key(redis, "c1"), 5_000)
    await cache.put_many([record()])
    assert await redis.pttl(await key(redis, "c1")) <= 5_000


async def test_an_unknown_id_is_remembered(cache: Cache, redis: Redis) -> None:
    await remember_unknown(cache, ["c1", "c2"])
    assert await cache.get_many(["c1", "c2", "c3"]) == {"c1": None, "c2": None}
    assert 8_900 <= await redis.pttl(await key(redis, "c1")) <= 11_000


async def test_a_record_replaces_the_mark_of_an_unknown_id_but_never_the_other_way(cache: Cache) -> None:
    await remember_unknown(cache, ["c1"])
    await cache.put_many([record()])
    await remember_unknown(cache, ["c1"])
    assert await cache.get_many(["c1"]) == {"c1": record()}


@pytest.mark.parametrize(("status", "ttl"), [("ACTIVE", 300), ("ARCHIVED", 86_400)])
async def test_the_time_to_live_follows_the_status_and_varies(
    cache: Cache, redis: Redis, status: str, ttl: int
) -> None:
    class_ids = [f"c{number}" for number in range(50)]
    await cache.put_many([record(class_id, status=status) for class_id in class_ids])
    lives = [await redis.pttl(await key(redis, class_id)) for class_id in class_ids]
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
        await remember_unknown(cache, [])
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
    prefix = await key(redis, "")
    assert [group[0] for group in scripts] == [f"{prefix}c{number}" for number in range(10)]
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
        b"",
        b"0 ",
        b"\xff\xfe",
    ],
)
async def test_what_cannot_be_decoded_is_a_miss_and_is_replaced(cache: Cache, redis: Redis, value: bytes) -> None:
    await redis.set(await key(redis, "c1"), value)
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
        await remember_unknown(cache, ["\ud800"])
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
