"""graphql-transport-ws: what is said, what is heard, and what closes a socket and what does not."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx2
import pytest

from tests.live import Live
from tests.wires import WATCH

INIT = {"type": "connection_init"}
HELD = {"id": "held", "type": "subscribe", "payload": {"query": WATCH, "variables": {"ids": ["n1"]}}}
QUERY = {"query": "{ viewer { id } }"}


def deep(levels: int) -> str:
    return '{"type":"ping","payload":' + '{"a":' * levels + "1" + "}" * (levels + 1)


MALFORMED: dict[str, Any] = {
    "an array": "[1]",
    "a number": "1",
    "null": "null",
    "a string": '"subscribe"',
    "nothing": "",
    "no JSON": "{",
    "an object without a type": "{}",
    "a type that is no string": '{"type": 1}',
    "a type that is a list": '{"type": ["ping"]}',
    "an unknown type": '{"type": "start", "id": "1"}',
    "a message of the server": '{"type": "next", "id": "1", "payload": {}}',
    "bytes": b'{"type": "ping"}',
    "too deep": deep(2_000),
    "a lone surrogate": '{"type": "ping", "payload": {"a": "\\ud800"}}',
    "a payload that is a list": '{"type": "connection_init", "payload": [1]}',
    "a payload that is a string": '{"type": "ping", "payload": "x"}',
    "no id": json.dumps({"type": "subscribe", "payload": QUERY}),
    "an empty id": json.dumps({"type": "subscribe", "id": "", "payload": QUERY}),
    "an id that is a number": json.dumps({"type": "subscribe", "id": 1, "payload": QUERY}),
    "an id that is an object": json.dumps({"type": "complete", "id": {}}),
    "an endless id": json.dumps({"type": "subscribe", "id": "x" * 256, "payload": QUERY}),
    "no payload": '{"type": "subscribe", "id": "1"}',
    "a payload that is null": '{"type": "subscribe", "id": "1", "payload": null}',
    "no query": '{"type": "subscribe", "id": "1", "payload": {}}',
    "a query that is a number": '{"type": "subscribe", "id": "1", "payload": {"query": 1}}',
    "variables that are a list": '{"type": "subscribe", "id": "1", "payload": {"query": "{a}", "variables": []}}',
    "a name that is a number": '{"type": "subscribe", "id": "1", "payload": {"query": "{a}", "operationName": 1}}',
    "extensions that are a string": '{"type": "subscribe", "id": "1", "payload": {"query": "{a}", "extensions": ""}}',
}


async def test_what_is_no_message_closes_the_socket(house: Live) -> None:
    codes = {}
    for name, frame in MALFORMED.items():
        async with house.socket() as wire:
            await wire.say(frame)
            codes[name], _ = await wire.closed()
    assert codes == dict.fromkeys(MALFORMED, 4400)


async def test_a_token_that_does_not_hold_is_refused(house: Live) -> None:
    for token in (None, "", "nonsense", "a.b.c"):
        async with house.dial() as wire:
            await wire.init(token)
            assert (await wire.closed())[0] == 4403


async def test_a_token_that_has_expired_is_refused(house: Live) -> None:
    token = house.token(lifetime=1)
    await asyncio.sleep(2)
    async with house.dial() as wire:
        await wire.init(token)
        assert await wire.closed() == (4403, "The token has expired.")


async def test_the_token_is_found_however_it_is_written(house: Live) -> None:
    for name, scheme in (("Authorization", "Bearer"), ("authorization", "bearer"), ("AUTHORIZATION", "BEARER")):
        async with house.dial() as wire:
            await wire.say({**INIT, "payload": {"else": 1, name: f"{scheme} {house.token()}"}})
            assert await wire.hear() == {"type": "connection_ack"}


async def test_what_is_no_bearer_token_is_refused(house: Live) -> None:
    for value in (1, None, ["Bearer x"], {"Bearer": "x"}, "Basic x", "Bearer"):
        async with house.dial() as wire:
            await wire.say({**INIT, "payload": {"Authorization": value}})
            assert (await wire.closed())[0] == 4403


async def test_nothing_is_done_before_the_connection_is_acknowledged(house: Live) -> None:
    async with house.dial() as wire:
        await wire.start("{ viewer { id } }")
        assert await wire.closed() == (4401, "Unauthorized")


async def test_there_is_one_initialisation(house: Live) -> None:
    async with house.socket() as wire:
        await wire.init(house.token())
        assert await wire.closed() == (4429, "Too many initialisation requests")


async def test_who_says_nothing_is_sent_away(house: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.graphql.websocket.INIT_SECONDS", 0.3)
    async with house.dial() as wire:
        await wire.say({"type": "ping"})
        assert await wire.hear() == {"type": "pong"}
        assert await wire.closed() == (4408, "Connection initialisation timeout")


async def test_other_protocols_are_not_spoken(house: Live) -> None:
    for offered in (["graphql-ws"], ["graphql-ws", "chat"], None):
        async with house.dial(subprotocols=offered) as wire:
            assert await wire.closed() == (4406, "Speak graphql-transport-ws.")


async def test_of_several_protocols_ours_is_taken(house: Live) -> None:
    async with house.dial(subprotocols=["graphql-ws", "graphql-transport-ws"]) as wire:
        assert wire.connection.subprotocol == "graphql-transport-ws"


async def test_an_id_that_is_in_use_closes_the_socket(house: Live) -> None:
    for id_ in ("held", "☃" * 100):
        async with house.socket() as wire:
            await wire.say({**HELD, "id": id_}, {**HELD, "id": id_})
            code, reason = await wire.closed()
            assert code == 4409
            assert reason.startswith(f"Subscriber for {id_[:30]}")


async def test_an_id_is_free_again_when_either_side_has_completed(house: Live) -> None:
    async with house.socket() as wire:
        for _ in range(3):
            await wire.say(HELD)
            assert await wire.see() == ("n1", 1)
            await wire.stop("held")
        for _ in range(3):
            await wire.say({"id": "held", "type": "subscribe", "payload": QUERY})
            assert await wire.next("held") == {"viewer": {"id": "somebody"}}
            assert await wire.hear() == {"id": "held", "type": "complete"}


async def test_after_complete_nothing_comes(house: Live) -> None:
    async with house.socket() as wire:
        stopped, kept = await wire.watch("n1"), await wire.watch("n1")
        assert await wire.see_many(2) == {"n1": 1}
        await wire.stop(stopped)
        await wire.stop("never begun")
        await wire.say({"type": "ping"})
        assert await wire.hear() == {"type": "pong"}
        await house.change("n1")
        await wire.next(kept)
        await wire.see_nothing()


async def test_a_ping_is_answered_with_what_it_carried(house: Live) -> None:
    async with house.dial() as wire:
        await wire.say({"type": "ping", "payload": {"a": [1, "é"]}}, {"type": "pong"}, {"type": "pong", "payload": {}})
        assert await wire.hear() == {"type": "pong", "payload": {"a": [1, "é"]}}


REFUSED = {
    "syntax": ("{", None, "GRAPHQL_PARSE_FAILED"),
    "validation": ("subscription { nonsense }", None, "GRAPHQL_VALIDATION_FAILED"),
    "two fields": (
        'subscription { a: classPerformanceUpdated(classIds: ["n1"]) { classId } '
        'b: classPerformanceUpdated(classIds: ["n1"]) { classId } }',
        None,
        "GRAPHQL_VALIDATION_FAILED",
    ),
    "cost": (
        "subscription { classPerformancesUpdated { classPerformance {"
        + "".join(f"a{n}: history {{ at }} " for n in range(5))
        + "} } }",
        None,
        "OPERATION_TOO_LARGE",
    ),
    "no variable": (WATCH, None, "BAD_USER_INPUT"),
    "a wrong variable": (WATCH, {"ids": "n1", "known": [{"classId": "n1"}]}, "BAD_USER_INPUT"),
    "no classes": (WATCH, {"ids": []}, "BAD_USER_INPUT"),
    "too many classes": (WATCH, {"ids": ["n1"] * 101}, "BAD_USER_INPUT"),
    "too many known": (
        WATCH,
        {"ids": ["n1"], "known": [{"classId": "n1", "version": 1}] * 101},
        "BAD_USER_INPUT",
    ),
    "a query": ("query ($id: ID!) { class(id: $id) { id } }", {}, "BAD_USER_INPUT"),
    "no such operation": ("query A { viewer { id } } query B { viewer { id } }", None, "OPERATION_NOT_FOUND"),
}


async def test_an_operation_that_is_refused_is_told_and_the_others_go_on(house: Live) -> None:
    codes = {}
    async with house.socket() as wire:
        held = await wire.watch("n1")
        assert await wire.see() == ("n1", 1)
        for name, (query, variables, _) in REFUSED.items():
            refused = await wire.start(query, variables)
            message = await wire.hear()
            assert (message["type"], message["id"]) == ("error", refused)
            (codes[name],) = {error["extensions"]["code"] for error in message["payload"]}
        assert codes == {name: code for name, (_, _, code) in REFUSED.items()}
        await house.change("n1")
        assert (await wire.next(held))["classPerformanceUpdated"]["classPerformance"] == {"version": 2}


async def test_who_may_never_subscribe_is_told(house: Live) -> None:
    async with house.socket(house.token("service", scopes=["facts:write"])) as wire:
        await wire.watch("n1")
        message = await wire.hear()
        assert message["type"] == "error"
        assert message["payload"][0]["extensions"]["code"] == "FORBIDDEN"
        assert message["payload"][0]["path"] == ["classPerformanceUpdated"]


async def test_a_subscription_to_nothing_is_refused(house: Live) -> None:
    query = 'subscription ($it: Boolean!) { classPerformanceUpdated(classIds: ["n1"]) DIRECTIVE { classId } }'
    async with house.socket() as wire:
        for directive in ("@skip(if: $it)", "@include(if: $it)"):
            await wire.start(query.replace("DIRECTIVE", directive), {"it": "skip" in directive})
            assert (await wire.hear())["payload"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"


async def test_queries_and_mutations_are_answered_too(house: Live) -> None:
    async with house.socket(house.token("school_admin", schools=["north"])) as wire:
        await wire.start('{ n: classPerformance(classId: "n1") { version } s: classPerformance(classId: "s1") { id } }')
        assert await wire.next() == {"n": {"version": 1}, "s": None}
        assert (await wire.hear())["type"] == "complete"
        mutation = """mutation ($id: ID!) { updateMetrics(input: {classId: $id, data: {averageGrade: 5}}) {
            __typename ... on UpdateMetricsSuccess { classPerformance { averageGrade version } } } }"""
        await wire.start(mutation, {"id": "n1"})
        success = {"__typename": "UpdateMetricsSuccess", "classPerformance": {"averageGrade": 5, "version": 2}}
        assert await wire.next() == {"updateMetrics": success}
        assert (await wire.hear())["type"] == "complete"
        await wire.start(mutation, {"id": "s1"})
        assert (await wire.next())["updateMetrics"] == {"__typename": "ValidationProblem"}


async def test_an_error_within_a_query_comes_with_its_data(house: Live) -> None:
    async with house.socket() as wire:
        await wire.start("{ viewer { id } classPerformanceConnection(first: -1) { totalCount } }")
        message = await wire.hear()
        assert message["type"] == "next"
        assert message["payload"]["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"


async def test_a_fault_of_ours_ends_one_operation_and_tells_nothing(
    house: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house.socket() as wire:
        held = await wire.watch("n1")
        assert await wire.see() == ("n1", 1)

        def fail(*_: Any) -> None:
            raise RuntimeError("secret")

        with monkeypatch.context() as patch:
            patch.setattr("app.graphql.event_plans.EventPlan.answer", fail)
            patch.setattr("app.graphql.execution.Execution.execute", fail)
            for query in (WATCH.replace("version", "id"), "{ viewer { id } }"):
                id_ = await wire.start(query, {"ids": ["n2"]})
                message = await wire.hear()
                assert (message["id"], message["type"]) == (id_, "error")
                assert message["payload"][0]["extensions"]["code"] == "INTERNAL"
                assert "secret" not in json.dumps(message)
        await house.change("n1")
        await wire.next(held)


async def test_a_fault_of_ours_that_nothing_foresaw_closes_the_socket(
    house: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house.socket() as wire:
        monkeypatch.setattr("app.graphql.execution.Execution.prepare", lambda *_: 1 / 0)
        await wire.start("{ viewer { id } }")
        assert await wire.closed() == (4500, "Internal server error")


async def test_a_message_beyond_the_limit_closes_the_socket(house: Live) -> None:
    async with house.socket() as wire:
        await wire.say({"type": "ping", "payload": {"a": "x" * house.settings.max_body_bytes}})
        assert (await wire.closed())[0] == 1009


async def test_subscriptions_are_not_answered_by_a_plain_post(house: Live) -> None:
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{house.port}") as http:
        response = await http.post(
            "/graphql",
            json={"query": WATCH, "variables": {"ids": ["n1"]}},
            headers={"authorization": f"Bearer {house.token()}"},
        )
    (error,) = response.json()["errors"]
    assert (response.status_code, error["extensions"]["code"]) == (400, "BAD_REQUEST")
    assert "/graphql/stream" in error["message"]
    assert "WebSocket" in error["message"]


async def test_nobody_waits_for_an_operation_that_takes_long(house: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = asyncio.Event()

    async def take_long(*_: Any) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async with house.socket() as wire:
        held = await wire.watch("n1")
        assert await wire.see() == ("n1", 1)
        monkeypatch.setattr("app.graphql.execution.Execution.execute", take_long)
        slow = await wire.start("{ viewer { id } }")
        await wire.say({"type": "ping"})
        assert await wire.hear() == {"type": "pong"}
        await house.change("n1")
        await wire.next(held)
        await wire.stop(slow)
        async with asyncio.timeout(10):
            await ended.wait()
