"""GraphQL over HTTP: statuses, media types, and what must never be a 500."""

from __future__ import annotations

import json
import zlib
from typing import Any

import orjson
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from app.graphql.negotiation import GRAPHQL, JSON, accepts, negotiate
from app.settings import Settings
from tests.serving import Client, serving

OK = '{ classPerformance(classId: "n1") { version } }'
UPDATE = 'mutation { recalculateMetrics(input: {classIds: ["n1"]}) { __typename } }'


def bearer(api: Client) -> dict[str, str]:
    return {"authorization": f"Bearer {api.token()}"}


async def post(api: Client, content: bytes | str, **headers: str) -> Any:
    given = {"content-type": "application/json", **bearer(api), **{k.replace("_", "-"): v for k, v in headers.items()}}
    return await api.http.post("/graphql", content=content, headers=given)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        (GRAPHQL, GRAPHQL),
        (JSON, JSON),
        (f"{GRAPHQL}, {JSON}", GRAPHQL),
        (f"{JSON}, {GRAPHQL}", GRAPHQL),
        (f"{GRAPHQL};q=0.5, {JSON}", JSON),
        (f"{GRAPHQL}; charset=utf-8, */*;q=0.1", GRAPHQL),
        (f"{GRAPHQL}, */*", GRAPHQL),
        (f"{JSON};q=0, */*", GRAPHQL),
        ("APPLICATION/JSON", JSON),
        ("text/html", None),
        ("application/json;q=0", None),
        ("application/json;q=much", None),
        ("application/json; charset=latin1", None),
        (";;,,=", None),
    ],
)
def test_the_media_type_is_negotiated(accept: str, expected: str | None) -> None:
    assert negotiate(accept) == expected


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", True),
        ("text/event-stream", True),
        ("TEXT/event-stream; q=0.1", True),
        ("application/json, text/*", True),
        ("*/*", True),
        ("*/*, text/event-stream;q=0", False),
        ("application/*", False),
        ("application/json", False),
    ],
)
def test_events_are_accepted_by_name_or_by_range(accept: str, expected: bool) -> None:
    assert accepts(accept, "text/event-stream") == expected


@pytest.mark.parametrize("media", [JSON, GRAPHQL])
@pytest.mark.parametrize(
    ("query", "variables", "code", "status"),
    [
        (OK, None, None, 200),
        ("{", None, "GRAPHQL_PARSE_FAILED", 400),
        ("", None, "GRAPHQL_PARSE_FAILED", 400),
        ("{ nonsense }", None, "GRAPHQL_VALIDATION_FAILED", 400),
        ("query A { viewer { id } } query B { viewer { id } }", None, "OPERATION_NOT_FOUND", 400),
        ("query ($id: ID!) { class(id: $id) { id } }", {}, "BAD_USER_INPUT", 400),
        ("query ($id: ID!) { class(id: $id) { id } }", {"id": {"a": 1}}, "BAD_USER_INPUT", 400),
        (
            'query { class(id: "n1") { performance { history(from: "today") { at } } } }',
            None,
            "GRAPHQL_VALIDATION_FAILED",
            400,
        ),
        ("{ classPerformanceConnection(first: -1) { totalCount } }", None, "BAD_USER_INPUT", 200),
    ],
)
async def test_a_refused_operation_has_its_status_and_code(
    api: Client, world: AsyncEngine, media: str, query: str, variables: Any, code: str | None, status: int
) -> None:
    response = await api.send(query, variables, accept=media)
    assert response.status_code == (status if media == GRAPHQL else 200)
    assert response.headers["content-type"] == f"{media}; charset=utf-8"
    errors = response.json().get("errors", [])
    assert {error["extensions"]["code"] for error in errors} == ({code} if code else set())
    assert ("data" in response.json()) == (status == 200)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"query"',
        b"[[[[]]]]",
        b'[{"query": "{ viewer { id } }"}]',
        b"[" * 100_000,
        b'{"query": ' + b"[" * 50_000,
        b'{"query": "{ viewer { id } }", "variables": {"a": ' + b'{"a":' * 5_000 + b"1" + b"}" * 5_000 + b"}}",
        b'{"query": 1}',
        b'{"query": null}',
        b'{"variables": {}}',
        b'{"query": "{ viewer { id } }", "variables": []}',
        b'{"query": "{ viewer { id } }", "variables": "x"}',
        b'{"query": "{ viewer { id } }", "operationName": 1}',
        b'{"query": "{ viewer { id } }", "operationName": "\\ud800"}',
        b'{"query": "{ viewer { id } }", "extensions": []}',
        b'{"query": "\xff"}',
        b'\xfe\xff{"query": "{ viewer { id } }"}',
    ],
)
async def test_what_is_no_request_is_a_400(api: Client, body: bytes) -> None:
    response = await post(api, body)
    assert response.status_code == 400
    assert response.json()["errors"][0]["extensions"]["code"] == "BAD_REQUEST"


DEEP = 2_000
HOSTILE = {
    "deep selections": "{ class(id: 1) " + "{ performance { class " * DEEP + "{ id }" + "} }" * DEEP + "}",
    "deep lists": "{ classPerformances(ids: " + "[" * DEEP + "]" * DEEP + ") { id } }",
    "deep objects": "mutation { updateMetrics(input: " + "{a: " * DEEP + "1" + "}" * DEEP + ") { __typename } }",
    "long integer": "{ classPerformanceConnection(first: " + "9" * 5_000 + ") { totalCount } }",
    "surrogate": '{ class(id: "\\ud800") { id } }',
    "tokens": "{ " + "a: viewer { id } " * 2_000 + "}",
    "comments": "#\n" * 100_000 + OK,
    "fragment cycle": "{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }",
    "long custom integer": 'mutation { updateMetrics(input: {classId: "n1", data: {metadata: {custom: {a: '
    + "9" * 30
    + "}}}}) { __typename } }",
    "long integer in JSON": 'mutation { updateMetrics(input: {classId: "n1", data: {metadata: {custom: {a: '
    + "9" * 5_000
    + "}}}}) { __typename } }",
    "infinity in JSON": 'mutation { updateMetrics(input: {classId: "n1", data: {metadata: {custom: {a: 1e999}}}})'
    " { __typename } }",
    "NUL in JSON": 'mutation { updateMetrics(input: {classId: "n1", data: {metadata: {custom: {a: "\\u0000"}}}})'
    " { __typename } }",
    "enum in JSON": 'mutation { updateMetrics(input: {classId: "n1", data: {metadata: {custom: A}}}) { __typename } }',
    "several anonymous": "{ viewer { id } } { viewer { id } }",
    "a fragment alone": "fragment A on Viewer { id }",
    "a type": "type A { a: Int }",
}  # fmt: skip


@pytest.mark.parametrize("query", HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_document_is_refused(api: Client, world: AsyncEngine, query: str) -> None:
    response = await api.send(query, accept=GRAPHQL)
    assert response.status_code == 400
    assert response.json()["errors"][0]["extensions"]["code"] in (
        "GRAPHQL_PARSE_FAILED",
        "GRAPHQL_VALIDATION_FAILED",
        "OPERATION_NOT_FOUND",
    )


@pytest.mark.parametrize(
    "value",
    ["9" * 5_000, "1e999", "-" + "9" * 400, '"\\u0000"', '{"a":' * 500 + "1" + "}" * 500, "[" * 900 + "]" * 900],
)
@pytest.mark.parametrize("kind", ["Int", "Float", "ID", "String", "DateTime", "JSON"])
async def test_a_hostile_variable_is_refused_or_harmless(
    api: Client, world: AsyncEngine, kind: str, value: str
) -> None:
    fields = {
        "Int": "classPerformanceConnection(first: $v) { totalCount }",
        "Float": "classPerformanceConnection(filter: {averageGrade: {atLeast: $v}}) { totalCount }",
        "ID": "classPerformanceConnection(filter: {schoolIds: [$v], classIds: [$v], teacherId: $v}) { totalCount }",
        "String": "classPerformanceConnection(after: $v) { totalCount }",
        "DateTime": 'classPerformance(classId: "n1") { history(from: $v) { at } }',
        "JSON": 'updateMetrics(input: {classId: "n1", data: {metadata: {custom: $v}}}) { __typename }',
    }
    operation = "mutation" if kind == "JSON" else "query"
    nullable = "!" if kind == "ID" else ""
    query = f"{operation} ($v: {kind}{nullable}) {{ {fields[kind]} }}"
    response = await post(api, f'{{"query": {json.dumps(query)}, "variables": {{"v": {value}}}}}', accept=GRAPHQL)
    assert response.status_code in (200, 400)
    for error in response.json().get("errors", []):
        assert error["extensions"]["code"] in ("BAD_USER_INPUT", "BAD_REQUEST", "INVALID_CURSOR")


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/graphql",
     "application/json; charset=latin1"],
)  # fmt: skip
async def test_only_json_is_taken(api: Client, content_type: str) -> None:
    response = await post(api, b'{"query": "{ viewer { id } }"}', content_type=content_type)
    assert response.status_code == 415


async def test_a_compressed_body_is_refused(api: Client) -> None:
    response = await post(api, zlib.compress(b'{"query": "{ viewer { id } }"}'), content_encoding="gzip")
    assert response.status_code == 415


async def test_a_charset_of_utf8_is_taken(api: Client) -> None:
    response = await post(api, b'{"query": "{ viewer { id } }"}', content_type='application/json; charset="UTF-8"')
    assert response.status_code == 200


async def test_a_body_beyond_the_limit_is_refused(api: Client) -> None:
    padding = b" " * api.settings.max_body_bytes
    assert (await post(api, b'{"query": "{ viewer { id } }"}' + padding)).status_code == 413

    async def chunks() -> Any:
        for _ in range(1_001):
            yield b" " * 1_000

    headers = {"content-type": "application/json", **bearer(api)}
    assert (await api.http.post("/graphql", content=chunks(), headers=headers)).status_code == 413


async def test_nothing_acceptable_is_a_406(api: Client) -> None:
    assert (await api.send("{ viewer { id } }", accept="text/html")).status_code == 406


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD"])
async def test_other_methods_are_refused(api: Client, method: str) -> None:
    response = await api.http.request(method, "/graphql", headers=bearer(api))
    assert response.status_code == 405
    assert response.headers["allow"] == "GET, POST"


async def test_get_takes_queries(api: Client, world: AsyncEngine) -> None:
    query = "query A($id: ID!) { class(id: $id) { title } } query B { viewer { id } }"
    parameters = {"query": query, "operationName": "A", "variables": '{"id": "n1"}'}
    response = await api.http.get("/graphql", params=parameters, headers=bearer(api))
    assert response.json() == {"data": {"class": {"title": "Class n1"}}}


@pytest.mark.parametrize("parameters", [{}, {"query": OK, "variables": "[1]"}, {"query": OK, "variables": "{"}])
async def test_a_malformed_get_is_a_400(api: Client, parameters: dict[str, str]) -> None:
    response = await api.http.get("/graphql", params=parameters, headers=bearer(api))
    assert response.status_code == 400


async def test_get_takes_no_mutation(api: Client, world: AsyncEngine) -> None:
    response = await api.http.get("/graphql", params={"query": UPDATE}, headers=bearer(api))
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize("media", [JSON, GRAPHQL])
@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer nonsense", "Basic abc", "Bearer é", "Bearer a.b.c"])
async def test_no_token_no_data(api: Client, media: str, authorization: str) -> None:
    headers = {"authorization": authorization.encode()} if authorization else {}
    response = await api.http.post("/graphql", json={"query": OK}, headers={"accept": media, **headers})
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert response.headers["content-type"] == f"{media}; charset=utf-8"
    (error,) = response.json()["errors"]
    assert error["extensions"]["code"] == "UNAUTHENTICATED"


async def test_what_a_viewer_sees_is_kept_by_nobody(api: Client) -> None:
    assert (await api.send("{ viewer { id } }")).headers["cache-control"] == "no-store"


async def test_a_fault_outside_the_operation_is_masked(api: Client, monkeypatch: Any) -> None:
    async def fail(*_: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("app.graphql.execution.Execution.execute", fail)
    response = await api.send("{ viewer { id } }")
    assert response.status_code == 500
    assert "secret" not in response.text
    assert response.json()["errors"][0]["extensions"]["code"] == "INTERNAL"


async def test_in_production_nothing_tells_of_the_schema(settings: Settings) -> None:
    production = Settings(
        environment="production",
        database_url=settings.database_url,
        redis_url=settings.redis_url,
        jwt_secret=settings.jwt_secret,
    )
    async with serving(production) as api:
        for query in ("{ __schema { types { name } } }", '{ __type(name: "Class") { name } }'):
            (error, *_) = await api.errors(query)
            assert error["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
        for query in (
            "{ viewr { id } }",
            '{ class(i: "a") { id } }',
            "{ classPerformanceConnection(orderBy: {field: TITEL}) { totalCount } }",
        ):
            for error in await api.errors(query):
                assert "Did you mean" not in error["message"]
        query = "query ($o: ClassPerformanceOrder) { classPerformanceConnection(orderBy: $o) { totalCount } }"
        for error in await api.errors(query, {"o": {"field": "TITEL"}}):
            assert "Did you mean" not in error["message"]
        assert (await api.ask("{ viewer { __typename } }"))["viewer"] == {"__typename": "Viewer"}


async def test_in_development_the_schema_helps(api: Client) -> None:
    assert (await api.ask("{ __schema { queryType { name } } }"))["__schema"]["queryType"]["name"] == "Query"
    (error,) = await api.errors("{ viewr { id } }")
    assert "Did you mean" in error["message"]


def test_orjson_refuses_what_it_cannot_hold() -> None:
    """What the reading of requests relies on."""
    for text in ('"\\ud800"', "[" * 2_000, b'"\xff"'):
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(text)


async def test_an_operation_that_opens_to_too_many_fields_is_refused_before_it_is_executed(api: Client) -> None:
    doubling = "".join(
        f"fragment F{n} on ClassPerformance {{ a: class {{ performance {{ ...F{n + 1} }} }} "
        f"b: class {{ performance {{ ...F{n + 1} }} }} }} "
        for n in range(20)
    )
    query = f'{{ classPerformance(classId: "n1") {{ ...F0 }} }} {doubling} fragment F20 on ClassPerformance {{ id }}'
    (error,) = await api.errors(query)
    assert error["extensions"]["code"] == "OPERATION_TOO_LARGE"
    assert "at most 25,000" in error["message"]


async def test_the_page_to_ask_from_can_neither_be_framed_nor_send_elsewhere(api: Client) -> None:
    response = await api.http.get("/graphiql")
    policy = {part.strip() for part in response.headers["content-security-policy"].split(";")}
    assert {"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"} <= policy
