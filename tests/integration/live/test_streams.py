"""graphql-sse, with a connection for each operation: what is sent, and what is refused with a status."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest

from tests.live import Live
from tests.wires import FOLLOW, PATIENCE, WATCH

IDS = {"ids": ["n1"]}


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_events_come_as_they_happen(house: Live, method: str) -> None:
    async with house.stream(WATCH, {"ids": ["n1", "nowhere"]}, method=method) as stream:
        headers = stream.response.headers
        assert (stream.response.status_code, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-store", "no")
        assert {await stream.see(), await stream.see()} == {("n1", 1), ("nowhere", None)}
        await house.change("n1")
        assert await stream.see() == ("n1", 2)
    async with house.stream(FOLLOW, {"school": "south"}, method=method) as stream:
        assert await stream.see() == ("s1", 1)


async def test_what_is_on_the_wire(house: Live) -> None:
    async with house.stream("{ viewer { id } }") as stream:
        text = (await stream.response.aread()).decode()
    assert text == ':\n\nevent: next\ndata: {"data":{"viewer":{"id":"somebody"}}}\n\nevent: complete\ndata:\n\n'


async def test_mutations_are_posted(house: Live) -> None:
    mutation = 'mutation { recalculateMetrics(input: {classIds: ["n1"]}) { __typename } }'
    async with house.stream(mutation) as stream:
        kind, payload = await stream.event()
        assert (kind, payload["data"]["recalculateMetrics"]["__typename"]) == ("next", "RecalculateMetricsSuccess")
        assert await stream.event() == ("complete", None)
        assert await stream.event() == ("end", None)
    async with house.stream(mutation, method="GET") as stream:
        assert stream.response.status_code == 405
        assert stream.response.headers["allow"] == "POST"


async def test_a_connection_that_is_silent_is_kept_alive(house: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.graphql.sse.KEEP_ALIVE_SECONDS", 0.05)
    async with house.stream(WATCH, IDS) as stream:
        blocks = [await stream.block() for _ in range(6)]
        assert blocks.count([":"]) == 5
        assert [block[0] for block in blocks if block != [":"]] == ["event: next"]


REFUSED: dict[str, tuple[str, Any, str]] = {
    "syntax": ("{", None, "GRAPHQL_PARSE_FAILED"),
    "validation": ("subscription { nonsense }", None, "GRAPHQL_VALIDATION_FAILED"),
    "variables": (WATCH, None, "BAD_USER_INPUT"),
    "too many": (WATCH, {"ids": ["n1"] * 101}, "BAD_USER_INPUT"),
    "no such operation": ("query A { viewer { id } } query B { viewer { id } }", None, "OPERATION_NOT_FOUND"),
}


async def test_an_operation_that_is_refused_is_told_as_an_event(house: Live) -> None:
    for query, variables, code in REFUSED.values():
        async with house.stream(query, variables) as stream:
            assert stream.response.status_code == 200
            kind, payload = await stream.event()
            assert (kind, {error["extensions"]["code"] for error in payload["errors"]}) == ("next", {code})
            assert await stream.event() == ("complete", None)
            assert await stream.event() == ("end", None)


async def test_who_may_never_subscribe_is_told(house: Live) -> None:
    async with house.stream(WATCH, IDS, token=house.token("service", scopes=["facts:write"])) as stream:
        _, payload = await stream.event()
        assert payload["errors"][0]["extensions"]["code"] == "FORBIDDEN"


async def test_a_fault_of_ours_tells_nothing(house: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.graphql.event_plans.EventPlan.answer", lambda *_: {}["secret"])
    async with house.stream(WATCH, IDS) as stream:
        _, payload = await stream.event()
        assert payload["errors"][0]["extensions"]["code"] == "INTERNAL"
        assert "secret" not in str(payload)
        assert await stream.event() == ("complete", None)


async def test_what_is_no_request_has_a_status(house: Live) -> None:
    bearer = {"authorization": f"Bearer {house.token()}"}
    body = {"query": WATCH, "variables": IDS}
    events = {"accept": "text/event-stream"}
    cases: list[tuple[int, dict[str, Any]]] = [
        (401, {"json": body, "headers": events}),
        (401, {"json": body, "headers": {**events, "authorization": "Bearer nonsense"}}),
        (406, {"json": body, "headers": {**bearer, "accept": "application/json"}}),
        (406, {"json": body, "headers": {**bearer, "accept": "text/event-stream;q=0"}}),
        (405, {"json": body, "headers": {**bearer, **events}, "method": "PUT"}),
        (415, {"content": "{}", "headers": {**bearer, **events, "content-type": "text/plain"}}),
        (400, {"content": "[", "headers": {**bearer, **events, "content-type": "application/json"}}),
        (400, {"json": [], "headers": {**bearer, **events}}),
        (400, {"method": "GET", "headers": {**bearer, **events}}),
        (413, {"json": {"query": "x" * house.settings.max_body_bytes}, "headers": {**bearer, **events}}),
    ]
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{house.port}") as http:
        found = [(await http.request(**{"method": "POST", "url": "/graphql/stream", **how})) for _, how in cases]
    assert [response.status_code for response in found] == [status for status, _ in cases]
    assert all(response.json()["errors"][0]["extensions"]["code"] for response in found)
    assert all(response.headers["content-type"].startswith("application/json") for response in found)


@pytest.mark.parametrize("accept", ["text/event-stream, multipart/mixed", "text/*", "*/*", ""])
async def test_events_are_given_to_whoever_takes_them(house: Live, accept: str) -> None:
    async with house.stream(WATCH, IDS, accept=accept) as stream:
        assert await stream.see() == ("n1", 1)


async def test_many_streams_of_one_viewer_go_on_beside_each_other(house: Live) -> None:
    async def follow(begun: asyncio.Event) -> list[Any]:
        async with house.stream(WATCH, IDS) as stream:
            found = [await stream.see()]
            begun.set()
            return [*found, await stream.see()]

    begun = [asyncio.Event() for _ in range(20)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(follow(event)) for event in begun]
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(event.wait() for event in begun))
        await house.change("n1")
    assert [task.result() for task in tasks] == [[("n1", 1), ("n1", 2)]] * 20
