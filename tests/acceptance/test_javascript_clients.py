"""The clients that front ends use, from npm and as they are, against the real processes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator

import pytest
import redis

from app.devservices import Services
from tests import javascript
from tests.conftest import new_database
from tests.deployment import Deployment
from tests.front_ends import EVERY, STREAMS, FrontEnd, front_end, is_refusal, one_of_each, refusal
from tests.soak.links import Link

FOLLOW = """
subscription($schoolId: ID, $known: [KnownVersion!]) {
  classPerformancesUpdated(schoolId: $schoolId, known: $known) {
    classId classPerformance { classId version absentCount }
  }
}"""
every_client = pytest.mark.parametrize("name", EVERY)
_numbers = itertools.count()


@pytest.fixture(scope="module")
def product(servers: Services, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """With one worker and one server."""
    javascript.require()
    with redis.Redis.from_url(servers.redis_url) as client:
        client.flushall()
    directory = tmp_path_factory.mktemp("deployment")
    with (
        new_database(servers, template) as database_url,
        contextlib.closing(Deployment(directory, database_url, servers.redis_url)) as product,
        product.running("worker"),
        product.serving() as product.server,
    ):
        yield product


def a_name() -> str:
    return f"class-{next(_numbers)}"


@every_client
async def test_the_snapshot_comes_first_and_then_what_sql_changes(product: Deployment, name: str) -> None:
    class_id = await product.new_class(a_name())
    async with front_end(name, product) as front:
        front.watch("one", class_id)
        await front.sees("one", class_id, 0)
        for _ in range(3):
            await front.sees("one", class_id, await product.absent(class_id))
        assert front.versions("one") == {class_id: [1, 2, 3, 4]}


@every_client
async def test_subscriptions_share_a_client_and_end_one_by_one(product: Deployment, name: str) -> None:
    first, second, third = [await product.new_class(a_name()) for _ in range(3)]
    async with front_end(name, product) as front:
        front.watch("one", first)
        front.watch("two", second, third)
        await front.sees("one", first, 0)
        for class_id in (second, third):
            await front.sees("two", class_id, 0)
        front.script.order("end", id="one")
        await front.script.until("complete", id="one")
        for class_id in (first, second, third):
            await product.absent(class_id)
        for class_id in (second, third):
            await front.sees("two", class_id, 1)
        assert front.versions("one") == {first: [1]}
        assert front.streams or front.connections == 1


@every_client
async def test_a_bad_operation_leaves_the_others_alone(product: Deployment, name: str) -> None:
    class_id = await product.new_class(a_name())
    async with front_end(name, product) as front:
        front.watch("one", class_id)
        await front.sees("one", class_id, 0)
        front.script.order("subscribe", id="bad", query="subscription { nothingOfTheKind }", variables={})
        (error,) = (await front.script.until("error", id="bad"))["errors"]
        assert "nothingOfTheKind" in error["message"]
        await front.sees("one", class_id, await product.absent(class_id))
        assert front.streams or front.connections == 1


@every_client
async def test_a_bad_token_is_refused(product: Deployment, name: str) -> None:
    async with front_end(name, product, token="not.a.token", retryAttempts=0) as front:
        front.watch("one", "class")
        assert refusal(await front.script.until("error", id="one")) in (4403, 401, "UNAUTHENTICATED")
        assert front.connections == 0


async def test_a_token_that_expires_ends_it_and_a_new_one_goes_on(product: Deployment) -> None:
    still, changed = [await product.new_class(a_name()) for _ in range(2)]
    async with one_of_each(product, lifetime=6) as fronts:
        await all_see_the_snapshot(fronts, still, changed)
        for front in fronts.values():
            front.script.order("token", token=product.token())
        for front in fronts.values():
            await front.loses("one", 4403)
        refused = {name: [refusal(e) for e in front.script.events if is_refusal(e)] for name, front in fronts.items()}
        assert refused == {name: ["UNAUTHENTICATED" if name in STREAMS else 4403] for name in EVERY}
        await all_see_what_is_newer_and_nothing_else(product, fronts, still, changed)


async def test_clients_come_back_elsewhere_with_what_they_know(product: Deployment) -> None:
    still, changed = [await product.new_class(a_name()) for _ in range(2)]
    with product.serving() as server:
        async with switch(server.port) as link, one_of_each(product, link.port) as fronts:
            await all_see_the_snapshot(fronts, still, changed)
            link.behind = product.server.port
            await asyncio.to_thread(server.process.stop)
            await product.absent(changed)
            for front in fronts.values():
                await front.loses("one", 1012)
                await front.sees("one", changed, 1)
            await all_see_what_is_newer_and_nothing_else(product, fronts, still, changed)


async def all_see_the_snapshot(fronts: dict[str, FrontEnd], *class_ids: str) -> None:
    for front in fronts.values():
        front.watch("one", *class_ids)
    for front in fronts.values():
        for class_id in class_ids:
            await front.sees("one", class_id, 0)


async def all_see_what_is_newer_and_nothing_else(
    product: Deployment, fronts: dict[str, FrontEnd], still: str, changed: str
) -> None:
    """Twice, since a snapshot that should not be may come after the first."""
    for _ in range(2):
        absences = await product.absent(changed)
        for front in fronts.values():
            await front.sees("one", changed, absences)
    for front in fronts.values():
        told = front.versions("one")
        assert told == {still: [1], changed: [*range(1, absences + 2)]}, front.script.events


@contextlib.asynccontextmanager
async def switch(port: int) -> AsyncIterator[Link]:
    """What stands before several servers: new connections go to the one it is set to."""
    link = Link("clients", port)
    await link.open()
    try:
        yield link
    finally:
        link.close()


async def test_a_dashboard_follows_classes_as_they_come(product: Deployment) -> None:
    async with front_end("graphql-ws", product) as front:
        front.script.order("subscribe", id="all", query=FOLLOW, variables={"schoolId": "north"})
        class_id = await product.new_class(a_name())
        await front.sees("all", class_id, 0)
        await front.sees("all", class_id, await product.absent(class_id))


async def test_queries_go_over_a_socket_too(product: Deployment) -> None:
    async with front_end("graphql-ws", product) as front:
        front.script.order("subscribe", id="q", query="{ viewer { role } }", variables={})
        answer = await front.script.until("next", id="q")
        assert answer["data"] == {"viewer": {"role": "ADMIN"}}
        await front.script.until("complete", id="q")


async def test_who_would_also_take_a_stream_gets_ordinary_json(product: Deployment) -> None:
    async with front_end("urql", product) as front:
        front.script.order("query", id="q", query="{ viewer { role } }")
        answer = await front.script.until("answer", id="q")
        assert answer["data"] == {"viewer": {"role": "ADMIN"}}
        response = await front.script.until("response")
        assert "text/event-stream" in response["accept"]
        assert response["type"].startswith("application/graphql-response+json")
