"""The schema: exported, described, permitted, and its codes catalogued."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNonNull,
    GraphQLObjectType,
    build_schema,
    is_specified_scalar_type,
)

from app.errors import ClassPerformanceError
from app.gradebook import REFERENCES
from app.graphql.permissions import Needs, NeedsToken
from app.graphql.schema import executable, export
from app.metrics import METRICS
from app.records import Record

ROOT = Path(__file__).parent.parent.parent
ROOTS = [t for t in (executable.query_type, executable.mutation_type, executable.subscription_type) if t]
OURS = {n: t for n, t in executable.type_map.items() if not n.startswith("__") and not is_specified_scalar_type(t)}


def test_the_exported_schema_is_up_to_date() -> None:
    assert (ROOT / "schema.graphql").read_text() == export(), "make schema"


def test_the_exported_schema_can_be_read_again() -> None:
    assert set(build_schema(export()).type_map) >= set(OURS)


def parts() -> Iterator[tuple[str, Any]]:
    for name, kind in OURS.items():
        yield name, kind
        if isinstance(kind, GraphQLEnumType):
            yield from ((f"{name}.{value}", found) for value, found in kind.values.items())
        if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType):
            for field_name, field in kind.fields.items():
                yield f"{name}.{field_name}", field
                for argument, found in getattr(field, "args", {}).items():
                    yield f"{name}.{field_name}({argument})", found


def test_everything_has_a_description() -> None:
    assert [name for name, part in parts() if not part.description] == []


def test_every_root_field_has_a_permission() -> None:
    for root in ROOTS:
        for name, field in root.fields.items():
            declared = field.extensions["strawberry-definition"]
            needs = [e for e in declared.extensions if isinstance(e, Needs | NeedsToken)]
            assert len(needs) == 1, f"{root.name}.{name}"
            assert isinstance(needs[0], Needs) or name == "viewer"


def test_every_metric_is_served_under_its_name_null_only_where_it_can_be() -> None:
    for name in ("ClassPerformance", "ClassPerformanceVersion"):
        fields = OURS[name].fields
        for metric in METRICS:
            found = fields[metric.graphql_name]
            assert isinstance(found.type, GraphQLNonNull) == metric.whole
            assert found.description == metric.description
    for name in ("MetricValues", "ClassPerformanceFilter"):
        assert {metric.graphql_name for metric in METRICS} <= set(OURS[name].fields)


def test_a_record_is_served_whole() -> None:
    served = set(OURS["ClassPerformance"].fields)
    hidden = {"school_id", "status", "explanation", "custom"}
    for name in set(Record.__slots__) - hidden:
        head, *tail = name.split("_")
        assert head + "".join(map(str.capitalize, tail)) in served


def test_no_argument_defaults_to_null() -> None:
    assert "= null" not in export()


def raised() -> set[str]:
    """Every code in the code: words in capitals, the `code` of each error, and what is made of names of things."""
    found = {f"{thing.upper()}_NOT_FOUND" for thing in REFERENCES.values()}
    for path in (ROOT / "app").rglob("*.py"):
        if path.name != "devservices.py":
            found |= set(re.findall(r"""["']([A-Z]+(?:_[A-Z0-9]+)+)["']""", path.read_text()))
    kinds = [ClassPerformanceError]
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        found.add(kind.code)
    return found


def test_every_code_is_in_the_catalogue_and_no_other() -> None:
    catalogued = re.findall(r"^\| `([A-Z0-9_]+)` \|", (ROOT / "docs/errors.md").read_text(), re.MULTILINE)
    assert len(catalogued) == len(set(catalogued))
    assert set(catalogued) == raised()
