"""The size of an operation is known before it is executed, however its fragments multiply."""

from __future__ import annotations

from graphql import parse

from app.graphql.limits import count_fields


def test_fields_are_counted_with_fragments_opened() -> None:
    document = parse("""
        query { a { b c ...F } ... on Query { d } ...F }
        fragment F on T { e f { g } }
    """)
    assert count_fields(document) == 10


def test_the_largest_operation_counts() -> None:
    assert count_fields(parse("query A { a } query B { a b c } query C { a b }")) == 3


def test_fragments_that_double_forty_times_are_counted_at_once() -> None:
    doubling = "".join(f"fragment F{n} on T {{ a: x {{ ...F{n + 1} }} b: x {{ ...F{n + 1} }} }} " for n in range(40))
    document = parse(f"query {{ ...F0 }} {doubling} fragment F40 on T {{ x }}")
    assert count_fields(document) > 2**40
