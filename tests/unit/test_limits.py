"""What a document costs is known before it is validated, however its fragments and lists multiply."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from graphql import GraphQLError, get_introspection_query, parse

from app.graphql.documents import Documents, Refused
from app.graphql.limits import BEYOND_COUNTING, MOST_LEVELS, Sizes, TooCostly, refuse_excess
from app.settings import Settings

LIMITS = Settings(environment="development")
METRICS = " ".join(f"m{number}: averageGrade" for number in range(20))


def fields(query: str) -> int:
    sizes = Sizes(parse(query))
    return max(sizes.of(operation.selection_set).fields for operation in sizes.operations)


def prepare(query: str) -> None:
    Documents(LIMITS).prepare(query, None)


def refused(query: str) -> tuple[str, str]:
    """The code and the message."""
    with pytest.raises(Refused) as caught:
        prepare(query)
    first = caught.value.result.body["errors"][0]
    return first["extensions"]["code"], first["message"]


def test_fields_are_counted_with_fragments_opened() -> None:
    query = "query { a { b c ...F } ... on Query { d } ...F } fragment F on T { e f { g } }"
    assert fields(query) == 10


def test_the_largest_operation_counts() -> None:
    assert fields("query A { a } query B { a b c } query C { a b }") == 3


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ('{ classPerformances(ids: ["a", "b", "c"]) { version } }', 1 + 3),
        ("{ classPerformances(ids: $ids) { version } }", 1 + 100),
        ("mutation { recalculateMetrics(input: $input) { classPerformances { version } } }", 1 + 1 + 100),
        ("{ classPerformanceConnection { nodes { version } } }", 2_000 + 50 * 2),
        ("{ classPerformanceConnection(first: 7) { nodes { version } } }", 2_000 + 7 * 2),
        ("{ classPerformanceConnection(last: 7, first: null) { nodes { version } } }", 2_000 + 7 * 2),
        ("{ classPerformanceConnection(first: $n) { nodes { version } } }", 2_000 + 100 * 2),
        ("{ classPerformanceConnection(first: 99999999999) { nodes { version } } }", 2_000 + 100 * 2),
        ("{ classPerformanceConnection(first: -5) { nodes { version } } }", 2_000 + 2),
        ("{ history { at } }", 1 + 1_000),
        ("{ history(interval: WEEK) { at } }", 1 + 53),
        ("{ history(interval: $interval) { at } }", 1 + 1_000),
        ('{ history(interval: DAY, from: "2026-11-01T00:00:00Z", to: "2026-11-15T00:00:00Z") { at } }', 1 + 14 + 2),
        ('{ history(interval: DAY, from: "2020-11-01T00:00:00Z", to: "2026-11-15T00:00:00Z") { at } }', 1 + 366),
        ('{ history(interval: DAY, from: "2026-11-15T00:00:00Z", to: "2026-11-01T00:00:00Z") { at } }', 1 + 2),
        ('{ history(interval: DAY, from: "2026-11-01T00:00:00Z", to: $to) { at } }', 1 + 366),
        ('{ history(from: "2026-11-01T00:00:00Z", to: "2026-11-02T00:00:00Z") { at } }', 1 + 1_000),
        ("{ metadata class { school { title } } }", 20 + 10 + 10 + 1),
        (
            'subscription { classPerformanceUpdated(classIds: ["a", "b"]) { classPerformance { metadata } } }',
            1 + 2 * 21,
        ),
        ("subscription { classPerformanceUpdated(classIds: $ids) { classPerformance { version } } }", 1 + 100 * 2),
        ("subscription { classPerformancesUpdated { classPerformance { version } } }", 1 + 100 * 2),
    ],
)
def test_what_is_in_a_list_counts_for_each_item(query: str, expected: int) -> None:
    assert fields(query) == expected


def test_fragments_that_double_forty_times_are_counted_at_once() -> None:
    doubling = "".join(f"fragment F{n} on T {{ a: x {{ ...F{n + 1} }} b: x {{ ...F{n + 1} }} }} " for n in range(40))
    assert fields(f"query {{ ...F0 }} {doubling} fragment F40 on T {{ x }}") == BEYOND_COUNTING


TITLE = "class { title }"
SANE = {
    "forty fields of a hundred classes": f"query ($ids: [ID!]!) {{ classPerformances(ids: $ids) {{ {METRICS} "
    f"id version classId pinnedMetrics lastUpdated metadata {TITLE} }} }}",
    "several lists": "query ($ids: [ID!]!) {"
    + "".join(f"l{n}: classPerformances(ids: $ids) {{ {METRICS} {TITLE} }} " for n in range(7))
    + "}",
    "a page of everything": f"query ($n: Int) {{ classPerformanceConnection(first: $n) {{ totalCount pageInfo {{ "
    f"endCursor }} edges {{ cursor node {{ {METRICS} metadata class {{ title school {{ title }} }} }} }} }} }}",
    "five pages": "{"
    + "".join(f"p{n}: classPerformanceConnection {{ totalCount nodes {{ {METRICS} {TITLE} }} }} " for n in range(5))
    + "}",
    "the whole history": f'{{ classPerformance(classId: "a") {{ history {{ version at cause {METRICS} }} }} }}',
    "three weeks of fifty classes by day": (
        "{ classPerformances(ids: [" + '"a" ' * 50 + ']) { history(interval: DAY, from: "2026-11-01T00:00:00Z", '
        'to: "2026-11-22T00:00:00Z") { at averageGrade attendanceRate } } }'
    ),
    "a line for each class": "{ classPerformanceConnection { nodes { history(interval: WEEK) { at averageGrade } } } }",
    "introspection": get_introspection_query(),
    "a field in thirty fragments": "{ viewer { "
    + " ".join(f"...F{n}" for n in range(30))
    + " } }"
    + " ".join(f"fragment F{n} on Viewer {{ id role }}" for n in range(30)),
}


@pytest.mark.parametrize("query", SANE.values(), ids=SANE)
def test_what_a_dashboard_asks_is_allowed(query: str) -> None:
    prepare(query)


DEEP = "{ performance { class { performance { version } } } }"
COSTLY = {
    "many counts": "{" + "".join(f"a{n}: classPerformanceConnection {{ totalCount }} " for n in range(700)) + "}",
    "a dozen pages": "{" + "".join(f"a{n}: classPerformanceConnection {{ totalCount }} " for n in range(13)) + "}",
    "many classes of a page": "{ classPerformanceConnection(first: 100) { nodes {"
    + "".join(f"a{n}: class {{ title id }} " for n in range(600))
    + "} } }",
    "much metadata": "query ($ids: [ID!]!) { classPerformances(ids: $ids) {"
    + "".join(f"a{n}: metadata " for n in range(1_500))
    + "} }",
    "much metadata of a few": 'query { classPerformances(ids: ["a", "b"]) {'
    + "".join(f"a{n}: metadata " for n in range(1_500))
    + "} }",
    "classes within classes": '{ class(id: "a") {' + "performance { class {" * 10 + "id" + "} }" * 11,
    "classes within classes of a page": "{ classPerformanceConnection(first: 100) { nodes {"
    + "class { performance { " * 9
    + "id"
    + "} } " * 9
    + "} } }",
    "fragments within lists": "{ classPerformances(ids: $ids) { ...F } } fragment F on ClassPerformance {"
    + "".join(f"a{n}: version " for n in range(300))
    + "}",
    "one key many times": "{" + f'x: class(id: "a") {DEEP} ' * 240 + "}",
    "one leaf many times": "{ viewer {" + "id " * 200 + "} }",
    "one key in many fragments": "{"
    + "".join(f"...F{n} " for n in range(150))
    + "}"
    + "".join(f"fragment F{n} on Query {{ viewer {{ id }} }} " for n in range(150)),
    "one key in many inline fragments": "{" + "... on Query { viewer { id } } " * 150 + "}",
    "one key below one key": "{" + ('x: viewer {' + "id " * 15 + "} ") * 15 + "}",
    "one key in an unused fragment": "{ viewer { id } } fragment F on Query {"
    + f'x: class(id: "a") {DEEP} ' * 240
    + "}",
    "many spreads of nothing": "{" + "".join(f"...F{n} " for n in range(2_000)) + "}",
    "many operations": " ".join(f"query A{n} {{ ...F }}" for n in range(600))
    + "fragment F on Query {"
    + "viewer { id } " * 200
    + "}",
    "fragments within fragments without end": "{ ...F0 }"
    + "".join(f"fragment F{n} on Query {{ viewer {{ id }} ...F{n + 1} }} " for n in range(350))
    + "fragment F350 on Query { viewer { id } }",
}  # fmt: skip


@pytest.mark.parametrize("query", COSTLY.values(), ids=COSTLY)
def test_what_costs_too_much_is_refused_before_it_is_validated(query: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.graphql.documents.validate", lambda *_, **__: pytest.fail("validated"))
    assert refused(query)[0] == "OPERATION_TOO_LARGE"


def test_the_message_names_the_cost_and_the_limit() -> None:
    assert refused(COSTLY["a dozen pages"])[1].endswith(
        "with 26,650 fields, counting lists by their length; at most 25,000 are allowed."
    )


def test_levels_are_those_of_fields() -> None:
    refuse_excess(parse("{ a " * MOST_LEVELS + "}" * MOST_LEVELS), 10_000)
    refuse_excess(parse("{" + "... {" * 100 + "a" + "}" * 101), 10_000)
    with pytest.raises(TooCostly, match=r"21 levels deep"):
        refuse_excess(parse("{ a " * 21 + "}" * 21), 10_000)


EACH = " ".join(f"...F{number}" for number in range(40))


@pytest.mark.parametrize(
    "fragments",
    [
        "fragment F on Query { ...F }",
        "fragment F on Query { viewer { ...G } } fragment G on Viewer { ... { ...F } }",
        "".join(
            f"fragment F{n or ''} on Query {{ {' '.join(f'...F{m or chr(0x20)}' for m in range(40))} }} "
            for n in range(40)
        ),
    ],
)
def test_a_fragment_within_itself_is_named(fragments: str) -> None:
    with pytest.raises(GraphQLError, match=r"Fragment 'F\d*' is spread within itself"):
        refuse_excess(parse("{ ...F } " + fragments), 10_000)
    assert refused("{ ...F } " + fragments)[0] == "GRAPHQL_VALIDATION_FAILED"


def test_an_unknown_fragment_is_left_to_the_validation() -> None:
    assert refused("{ ...F }") == ("GRAPHQL_VALIDATION_FAILED", "Unknown fragment 'F'.")


@pytest.mark.parametrize("number", ["9" * 21, "-" + "9" * 30, "1" + "0" * 5_000])
def test_a_long_integer_is_refused_and_not_repeated(number: str) -> None:
    code, message = refused(f"{{ classPerformanceConnection(first: {number}) {{ totalCount }} }}")
    assert (code, message) == ("GRAPHQL_PARSE_FAILED", "Syntax Error: An integer has more than 20 digits.")


def test_long_names_and_documents_are_refused_and_not_repeated() -> None:
    for query in ("{ " + "a" * 101 + " }", "{ viewer { id } }" + " " * 100_000):
        code, message = refused(query)
        assert code == "GRAPHQL_PARSE_FAILED"
        assert len(message) < 100


def test_a_wrong_value_is_not_repeated_at_length() -> None:
    many = " ".join(f"a{number}: 1" for number in range(1_500))
    code, message = refused(f'mutation {{ updateMetrics(input: {{classId: "a", data: {{{many}}}}}) {{ __typename }} }}')
    assert code == "GRAPHQL_VALIDATION_FAILED"
    assert len(message) < 600


def test_a_validation_that_gives_up_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.graphql.documents.refuse_excess", lambda *_: None)
    code, message = refused(COSTLY["one leaf many times"].replace("id " * 200, "id " * 4_900))
    assert (code, message) == ("GRAPHQL_VALIDATION_FAILED", "The document is too deep or too repetitive to check.")


# As costly as they may be; the first two took a second each before there were limits.
WORST = {
    "one key": "{" + f'x: class(id: "a") {DEEP} ' * 62 + "}",
    "many keys": "{" + " ".join(f'x{n}: class(id: "a") {DEEP} ' * 20 for n in range(10)) + "}",
    "spreads": "{" + " ".join(f"...F{n}" for n in range(140)) + "}" + " ".join(
        f"fragment F{n} on Query {{ a{n}: viewer {{ id }} b{n}: viewer {{ id }} }}" for n in range(140)
    ),
    "operations": " ".join(f"query A{n}($a: ID!) {{ ...F }}" for n in range(300))
    + "fragment F on Query {" + " ".join(f"a{n}: class(id: $a) {{ id }}" for n in range(14)) + "}",
    "unknown values": 'mutation { updateMetrics(input: {classId: "a", data: {metadata: {custom: 1 '
    + " ".join(f"a{n}: 1" for n in range(1_640)) + "}}}) { __typename } }",
    "unknown fields": "{" + " ".join(f"a{n}" for n in range(4_900)) + "}",
    "lines": "\n" * 70_000 + "{" + " ".join(f"a{n}" for n in range(4_000)) + "}",
}  # fmt: skip


@pytest.mark.parametrize("query", WORST.values(), ids=WORST)
def test_the_worst_that_may_be_sent_is_answered_soon(query: str) -> None:
    best = 9.0
    for _ in range(3):
        begun = time.process_time()
        with suppress(Refused):
            Documents(LIMITS).prepare(query, "A0")
        best = min(best, time.process_time() - begun)
    assert best < 0.5
