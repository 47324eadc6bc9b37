"""The connection: pages that together are the whole list, each class once, whatever happens meanwhile."""

from __future__ import annotations

import base64
import random
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.auth import Reach
from app.cursors import CLASS_ID, LAST_UPDATED, TITLE, WHOLE, Order, Place, decode, encode
from app.errors import InvalidCursor
from app.listing import Filter, Listing, Window
from tests.serving import LONG_AGO, Client, statements, store

ALL = Reach(everything=True)
IDS = [f"c{number}" for number in range(9)]
FIELDS = (CLASS_ID, TITLE, LAST_UPDATED, "average_grade", "present_count")


@pytest.fixture
async def nine(engine: AsyncEngine) -> AsyncEngine:
    await store(
        engine,
        schools=[{"id": "s", "title": "S", "time_zone": "UTC", "recorded_at": LONG_AGO}],
        classes=[{"id": i, "school_id": "s", "title": i, "recorded_at": LONG_AGO} for i in IDS],
    )
    return engine


VALUES: dict[str, st.SearchStrategy[Any]] = {
    CLASS_ID: st.none(),
    TITLE: st.sampled_from(["", "a", "A", "ä", "b", "'", "☃"]),
    LAST_UPDATED: st.sampled_from([f"2026-01-01T00:00:00.{n:06}+00:00" for n in (0, 1, 2, 1000)]),
    "average_grade": st.sampled_from([None, None, 0.0, 0.01, 59.99, 60.0, 1e-300, 0.1 + 0.2]),
    "present_count": st.sampled_from([0, 1, 2, 2**31 - 1]),
}


async def set_values(engine: AsyncEngine, field: str, values: dict[str, Any]) -> None:
    if field == CLASS_ID:
        return
    table, key, cast = ("class", "id", "text") if field == TITLE else ("class_performance", "class_id", None)
    cast = cast or {LAST_UPDATED: "timestamptz"}.get(field, "float8")
    async with engine.begin() as connection:
        await connection.execute(
            text(
                f"UPDATE {table} SET {field} = v.value FROM (SELECT unnest(CAST(:ids AS text[])) AS id, "
                f"unnest(CAST(:values AS {cast}[])) AS value) v WHERE v.id = {table}.{key}"
            ),
            {"ids": list(values), "values": list(values.values())},
        )


def in_order(values: dict[str, Any], order: Order) -> list[str]:
    """Nulls last, ties by id; the order by id itself turns with the direction."""
    if order.field == CLASS_ID:
        return sorted(values, reverse=order.descending)
    known = sorted(i for i in values if values[i] is not None)
    known.sort(key=lambda i: values[i], reverse=order.descending)
    return known + sorted(i for i in values if values[i] is None)


async def walk(listing: Listing, order: Order, size: int, *, forward: bool) -> list[str]:
    """Every page to the end, the flags checked on the way."""
    seen: list[str] = []
    cursor = None
    while True:
        window = Window(first=size, after=cursor) if forward else Window(last=size, before=cursor)
        page = await listing.get_page(ALL, Filter(), order, window)
        ids = [item.record.class_id for item in page.items]
        ahead, behind = (page.has_next, page.has_previous) if forward else (page.has_previous, page.has_next)
        assert behind == (cursor is not None)
        assert len(ids) <= size
        seen = seen + ids if forward else ids + seen
        if not ahead:
            return seen
        cursor = page.items[-1 if forward else 0].cursor


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), field=st.sampled_from(FIELDS), descending=st.booleans(), size=st.integers(1, 10))
async def test_pages_put_together_are_the_whole_list(
    nine: AsyncEngine, data: st.DataObject, field: str, descending: bool, size: int
) -> None:
    values = {i: data.draw(VALUES[field]) for i in IDS}
    await set_values(nine, field, values)
    order = Order(field, descending)
    expected = in_order(values, order)
    assert await walk(Listing(nine), order, size, forward=True) == expected
    assert await walk(Listing(nine), order, size, forward=False) == expected


async def test_a_class_whose_value_stays_is_seen_once_whatever_changes_around_it(nine: AsyncEngine) -> None:
    chance, order, listing = random.Random(7), Order("average_grade", descending=True), Listing(nine)
    still = {i: chance.choice([None, 1.0, 2.0, 3.0]) for i in IDS[:5]}
    for forward in (True, False) * 10:
        await set_values(nine, order.field, {**still, **{i: chance.random() * 4 for i in IDS[5:]}})
        seen, cursor = [], None
        while True:
            window = Window(first=2, after=cursor) if forward else Window(last=2, before=cursor)
            page = await listing.get_page(ALL, Filter(), order, window)
            seen += [item.record.class_id for item in page.items]
            if not (page.has_next if forward else page.has_previous):
                break
            cursor = page.items[-1 if forward else 0].cursor
            await set_values(nine, order.field, {i: chance.choice([None, chance.random() * 4]) for i in IDS[5:]})
        assert sorted(i for i in seen if i in still) == sorted(still)


async def test_a_slice_between_two_cursors(nine: AsyncEngine) -> None:
    order, listing = Order(), Listing(nine)
    page = await listing.get_page(ALL, Filter(), order, Window())
    after, before = page.items[1].cursor, page.items[6].cursor
    found = await listing.get_page(ALL, Filter(), order, Window(first=3, after=after, before=before))
    assert [i.record.class_id for i in found.items] == IDS[2:5]
    assert (found.has_previous, found.has_next) == (True, True)
    found = await listing.get_page(ALL, Filter(), order, Window(last=3, after=after, before=before))
    assert [i.record.class_id for i in found.items] == IDS[3:6]
    empty = await listing.get_page(ALL, Filter(), order, Window(first=5, after=page.items[-1].cursor))
    assert (empty.items, empty.has_next, empty.has_previous) == ([], False, True)
    none = await listing.get_page(ALL, Filter(), order, Window(first=0))
    assert (none.items, none.has_next, none.has_previous) == ([], True, False)


CONNECTION = """query ($first: Int, $after: String, $last: Int, $before: String, $filter: ClassPerformanceFilter,
    $orderBy: ClassPerformanceOrder) { classPerformanceConnection(first: $first, after: $after, last: $last,
    before: $before, filter: $filter, orderBy: $orderBy) { totalCount edges { cursor node { classId } }
    nodes { classId } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""


async def ask(api: Client, token: str | None = None, **variables: Any) -> Any:
    return (await api.ask(CONNECTION, variables, token=token))["classPerformanceConnection"]


async def ids(api: Client, token: str | None = None, **variables: Any) -> list[str]:
    found = await ask(api, token, **variables)
    assert found["totalCount"] == len(found["nodes"])
    return [node["classId"] for node in found["nodes"]]


async def test_the_connection_is_as_relay_has_it(api: Client, world: AsyncEngine) -> None:
    found = await ask(api, first=2, orderBy={"field": "TITLE", "direction": "DESC"})
    assert found["nodes"] == [edge["node"] for edge in found["edges"]] == [{"classId": "s1"}, {"classId": "n2"}]
    assert found["totalCount"] == 3
    assert found["pageInfo"] == {
        "hasNextPage": True,
        "hasPreviousPage": False,
        "startCursor": found["edges"][0]["cursor"],
        "endCursor": found["edges"][1]["cursor"],
    }


@pytest.mark.parametrize(
    ("filter_", "expected"),
    [
        ({}, ["n1", "n2", "s1"]),
        ({"schoolIds": ["north", "\0", "x" * 999]}, ["n1", "n2"]),
        ({"schoolIds": []}, []),
        ({"classIds": ["s1", "n1", "no"], "schoolIds": ["north"]}, ["n1"]),
        ({"statuses": ["ARCHIVED"]}, []),
        ({"statuses": ["ACTIVE", "ARCHIVED"]}, ["n1", "n2", "s1"]),
        ({"teacherId": "tina"}, ["n1"]),
        ({"teacherId": "sam"}, []),
        ({"teacherId": "\0"}, []),
        ({"participationRate": {"atLeast": 0}}, ["n1"]),
        ({"participationRate": {"isNull": True}}, ["n2", "s1"]),
        ({"participationRate": {"isNull": False}}, ["n1"]),
        ({"presentCount": {"atLeast": -0.5, "atMost": 0.5}}, ["n1", "n2", "s1"]),
        ({"presentCount": {"atLeast": 0.5}}, []),
        ({"presentCount": {"atMost": 1e300}}, ["n1", "n2", "s1"]),
        ({"averageGrade": {"atMost": 1000}}, []),
    ],
)
async def test_filters(api: Client, world: AsyncEngine, filter_: Any, expected: list[str]) -> None:
    assert await ids(api, filter=filter_) == expected


@pytest.mark.parametrize(
    ("role", "subject", "claims", "expected"),
    [
        ("admin", "a", {}, ["n1", "n2", "s1"]),
        ("school_admin", "a", {"schools": ["north"]}, ["n1", "n2"]),
        ("school_admin", "a", {"schools": []}, []),
        ("school_admin", "a", {}, []),
        ("teacher", "tom", {}, ["s1"]),
        ("teacher", "tom", {"schools": ["north"]}, ["s1"]),
        ("teacher", "sam", {}, []),
        ("service", "x", {"scopes": ["metrics:read"]}, ["n1", "n2", "s1"]),
        ("service", "x", {"scopes": ["metrics:read"], "schools": ["south"]}, ["s1"]),
        ("service", "x", {"scopes": ["metrics:read"], "schools": []}, []),
    ],
)
async def test_everybody_sees_their_own(
    api: Client, world: AsyncEngine, role: str, subject: str, claims: Any, expected: list[str]
) -> None:
    assert await ids(api, api.token(role, subject, **claims)) == expected


@pytest.mark.parametrize(
    "window", [{"first": 1, "last": 1}, {"first": -1}, {"last": -1}, {"first": 101}, {"last": 101}]
)
async def test_a_window_that_makes_no_sense_is_refused(api: Client, world: AsyncEngine, window: Any) -> None:
    (error,) = await api.errors(CONNECTION, window)
    assert error["extensions"]["code"] == "BAD_USER_INPUT"


async def test_a_page_is_one_statement_and_its_count_another(api: Client, world: AsyncEngine) -> None:
    with statements() as seen:
        await ask(api, first=1)
    assert len(seen) == 2
    with statements() as seen:
        await api.ask("{ classPerformanceConnection { nodes { classId version } pageInfo { hasNextPage } } }")
    assert len(seen) == 1


def forged(*content: Any) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(content)).decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "", "x", "é", "=", "a" * 10_000, "bm9uc2Vuc2U", forged(), forged(1), forged(2, "average_grade", False, 1, "a"),
        forged(True, "average_grade", False, 1, "a"), forged(1, "average_grade", True, 1, "a"),
        forged(1, "passing_rate", False, 1, "a"), forged(1, "average_grade", False, "1", "a"),
        forged(1, "average_grade", False, True, "a"), forged(1, "average_grade", False, [1], "a"),
        forged(1, "average_grade", False, 1, 1), forged(1, "average_grade", False, 1, None),
        forged(1, "average_grade", False, 1, "a\0"), forged(1, "average_grade", False, 1, ""),
        forged(1, "average_grade", False, 1, "a", "b"),
    ],
)  # fmt: skip
async def test_a_cursor_not_given_by_this_order_is_refused(api: Client, world: AsyncEngine, cursor: str) -> None:
    order = {"field": "AVERAGE_GRADE"}
    for side in ("after", "before"):
        (error,) = await api.errors(CONNECTION, {side: cursor, "orderBy": order})
        assert error["extensions"]["code"] == "INVALID_CURSOR"


@given(st.text(max_size=100) | st.binary(max_size=60).map(lambda b: base64.urlsafe_b64encode(b).decode()))
def test_no_text_is_more_than_an_invalid_cursor(cursor: str) -> None:
    for field in FIELDS:
        with pytest.raises(InvalidCursor):
            decode(Order(field), cursor)


JSON_VALUES = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=9)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(field=st.sampled_from(FIELDS), value=JSON_VALUES, forward=st.booleans())
async def test_a_forged_value_is_refused_or_harmless(nine: AsyncEngine, field: str, value: Any, forward: bool) -> None:
    cursor = forged(1, field, False, value, "c3")
    window = Window(first=3, after=cursor) if forward else Window(last=3, before=cursor)
    with suppress(InvalidCursor):
        await Listing(nine).get_page(ALL, Filter(), Order(field), window)


@given(st.sampled_from(sorted(WHOLE)), st.booleans(), st.floats(allow_nan=False, allow_infinity=False), st.none())
def test_a_place_comes_back_as_it_was(field: str, descending: bool, value: float, nothing: None) -> None:
    order = Order(field, descending)
    place = Place(7 if WHOLE[field] else value, "a")
    assert decode(order, encode(order, place)) == place


async def test_redis_is_not_asked_for_a_page(api: Client, world: AsyncEngine, redis: Redis) -> None:
    before = (await redis.info("commandstats")).get("cmdstat_mget", {}).get("calls", 0)
    await ask(api)
    assert (await redis.info("commandstats")).get("cmdstat_mget", {}).get("calls", 0) == before
