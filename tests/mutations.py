"""Ways to spoil a statement: each condition, join, bound and number of it taken away or changed, one at a time."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from tests.sqltext import Span, Statement

COMPARISONS = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "<>": "="}
SIGNS = {"+": "-", "-": "+", "*": "/", "/": "*"}
FUNCTIONS = {"min": "max", "max": "min", "sum": "max", "bool_or": "bool_and", "greatest": "least", "least": "greatest"}
WRAPPERS = {"coalesce", "nullif", "round", "greatest", "least", "btrim"}
NOT_BEFORE_A_TERM = {"(", ",", ".", "SELECT", "THEN", "ELSE", "WHEN", "=>"}
MOMENTS = {"at": "at_star", "at_star": "at"}
NOT_ALTERED = {"'infinity'", "'-infinity'", "''", "'UTC'"}


KINDS = {
    "condition": "a condition is always true",
    "alternative": "an alternative is never true",
    "comparison": "`<` for `<=`, `>` for `>=`, `=` for `<>`, and back",
    "join": "`LEFT JOIN` for `JOIN`, and back",
    "null": "`IS NULL` for `IS NOT NULL`, and back; `IS FALSE` for `IS NOT TRUE`",
    "negation": "without `NOT`",
    "else": "without `ELSE`",
    "wrapper": "without `coalesce`, `nullif`, `round`, `btrim`; one side of `greatest` or `least` alone",
    "function": "another aggregate: `max` for `min`, for `sum`; `bool_and` for `bool_or`; `count(*)`",
    "distinct": "without `DISTINCT`",
    "row": "a row of `VALUES` less",
    "branch": "a branch of `UNION ALL` without rows",
    "grouping": "a column of `GROUP BY` or `PARTITION BY` less",
    "sign": "`-` for `+`, `/` for `*`, and back",
    "term": "without what is added or subtracted",
    "number": "a number one more, one less",
    "text": "another text",
    "character": "one character of white space less",
    "truth": "`true` for `false`, and back",
    "cast": "without the cast",
    "time zone": "`UTC` for the time zone",
    "moment": "T* for T, and back",
}


@dataclass(frozen=True)
class Mutant:
    kind: str
    place: str
    line: int
    was: str
    becomes: str
    sql: str
    start: int = 0
    number: int = 1

    @property
    def name(self) -> str:
        again = f" (#{self.number})" if self.number > 1 else ""
        return f"{self.kind} | {self.place} | {self.was} -> {self.becomes}{again}"


Edit = tuple[str, Span, str, str]
"""What kind of change, of which tokens, to what, and what to show of the place."""
Rule = Callable[[Statement], Iterator[Edit]]


def conditions(s: Statement) -> Iterator[Edit]:
    """An operand of AND, and a condition as a whole, becomes true; an operand of OR false."""
    for condition in s.conditions():
        for operands in condition.alternatives:
            if len(operands) > 1 or (condition.introduced_by and len(condition.alternatives) == 1):
                yield from (("condition", span, "TRUE", "") for span in operands)
        if len(condition.alternatives) > 1 or condition.introduced_by == "WHEN":
            for operands in condition.alternatives:
                yield "alternative", Span(operands[0].first, operands[-1].end), "FALSE", ""


def comparisons(s: Statement) -> Iterator[Edit]:
    for n in range(len(s)):
        if s[n] in COMPARISONS:
            yield "comparison", Span(n, n + 1), COMPARISONS[s[n]], around(s, n)


def joins(s: Statement) -> Iterator[Edit]:
    for n in range(len(s)):
        if s[n] == "JOIN" and s[n - 1] == "LEFT":
            yield "join", Span(n - 1, n + 1), "JOIN", f"LEFT JOIN {s[n + 1]}"
        elif s[n] == "JOIN" and s[n - 1] != "CROSS":
            yield "join", Span(n, n + 1), "LEFT JOIN", f"JOIN {s[n + 1]}"


def nulls_and_negations(s: Statement) -> Iterator[Edit]:
    for n in range(len(s)):
        if s.follows(n, "IS", "NOT", "TRUE"):
            yield "null", Span(n, n + 3), "IS FALSE", around(s, n)
        elif s.follows(n, "IS", "NOT", "NULL"):
            yield "null", Span(n, n + 3), "IS NULL", around(s, n)
        elif s.follows(n, "IS", "NULL"):
            yield "null", Span(n, n + 2), "IS NOT NULL", around(s, n)
        elif s[n] == "NOT" and s[n - 1] != "IS":
            yield "negation", Span(n, n + 1), "", around(s, n)


def cases(s: Statement) -> Iterator[Edit]:
    for n in range(len(s)):
        if s[n] == "ELSE":
            end = next(k for k in range(n, len(s)) if s[k] == "END")
            yield "else", Span(n, end), "", ""


def wrappers(s: Statement) -> Iterator[Edit]:
    """coalesce(x, 0) becomes x; greatest(x, y) becomes x, and y."""
    for n in range(len(s)):
        if s[n] in WRAPPERS and s[n + 1] == "(":
            kept = s.arguments(n) if s[n] in ("greatest", "least") else s.arguments(n)[:1]
            yield from (("wrapper", Span(n, s.closing[n + 1] + 1), f"({s.source(a)})", "") for a in kept)


def functions(s: Statement) -> Iterator[Edit]:
    for n in range(len(s)):
        if s[n] == "count" and s[n + 2] not in ("*", "DISTINCT"):
            yield "function", Span(n + 2, s.closing[n + 1]), "*", around(s, n)
        elif s[n] in FUNCTIONS and s[n + 1] == "(":
            yield "function", Span(n, n + 1), FUNCTIONS[s[n]], s.source(Span(n, s.closing[n + 1] + 1))


def distinctness(s: Statement) -> Iterator[Edit]:
    for n in range(len(s)):
        if s[n] == "DISTINCT":
            yield "distinct", Span(n, n + 1), "", around(s, n)


def lists(s: Statement) -> Iterator[Edit]:
    """A row of VALUES and a column of PARTITION BY less; a branch of UNION ALL that gives nothing."""
    for group in s.groups():
        level = list(s.level(group))
        if s[group.first] == "VALUES":
            yield from without_one(s, "row", s.split(Span(group.first + 1, group.end), ","))
        for n in level:
            if s.follows(n, "PARTITION", "BY"):
                yield from without_one(s, "grouping", s.split(Span(n + 2, group.end), ","))
        branches = s.split(group, "UNION")
        for k, branch in enumerate(branches if len(branches) > 1 else []):
            span = Span(branch.first + (k > 0), branch.end)
            yield "branch", span, f"SELECT * FROM ({s.source(span)}) AS gone WHERE FALSE", s.source(span)


def groupings(s: Statement) -> Iterator[Edit]:
    """GROUP BY one column less; what SELECT shows of it is then the least of many."""
    for group in s.groups():
        level = list(s.level(group))
        for n in level:
            if s.follows(n, "GROUP", "BY"):
                end = next((k for k in level if k > n and s[k] in ("HAVING", "ORDER")), group.end)
                columns = s.split(Span(n + 2, end), ",")
                selected = next(k for k in reversed(level) if k < n and s[k] == "SELECT")
                listed = s.split(Span(selected + 1, next(k for k in level if k > selected and s[k] == "FROM")), ",")
                for column in columns:
                    yield "grouping", Span(selected, end), ungrouped(s, n, listed, columns, column), s.source(column)


def ungrouped(s: Statement, group_by: int, listed: list[Span], columns: list[Span], gone: Span) -> str:
    kept = ", ".join(s.source(column) for column in columns if column is not gone)
    shown = ", ".join(least(s, item, s.source(gone)) for item in listed)
    source = s.source(Span(listed[-1].end, group_by))
    return f"SELECT {shown} {source} {f'GROUP BY {kept}' if kept else ''}"


def least(s: Statement, item: Span, column: str) -> str:
    """A listed column, with the name that it has there."""
    named = s.follows(item.end - 2, "AS") and item.end - item.first > 2
    value = s.source(Span(item.first, item.end - 2)) if named else s.source(item)
    return f"min({value}) AS {s[item.end - 1]}" if value == column else s.source(item)


def without_one(s: Statement, kind: str, parts: list[Span]) -> Iterator[Edit]:
    """The separator goes too: the one before or, for the first of several, the one after."""
    for k, part in enumerate(parts[: len(parts) if len(parts) > 1 else 0]):
        span = Span(parts[k - 1].end, part.end) if k else Span(part.first, parts[1].first)
        yield kind, span, "", s.source(part)


def arithmetic(s: Statement) -> Iterator[Edit]:
    for n in range(1, len(s)):
        if s[n] not in SIGNS or s[n - 1] in NOT_BEFORE_A_TERM:
            continue
        yield "sign", Span(n, n + 1), SIGNS[s[n]], around(s, n)
        if s[n] in "+-":
            yield "term", Span(n, end_of_term(s, n + 1)), "", around(s, n)


def end_of_term(s: Statement, n: int) -> int:
    """Behind the product that begins at a token."""
    while True:
        if s[n] == "interval":
            return n + 2
        while s[n + 1] == "." or s.closing.get(n + 1):
            n = n + 2 if s[n + 1] == "." else s.closing[n + 1]
        n = s.closing.get(n, n)
        if s.follows(n + 1, "FILTER"):
            n = s.closing[n + 2]
        if s[n + 1] not in ("*", "/"):
            return n + 1
        n += 2


def numbers(s: Statement) -> Iterator[Edit]:
    for n, token in enumerate(s.tokens):
        if token.kind == "number":
            whole, _, decimals = token.text.partition(".")
            rest = f".{decimals}" if decimals else ""
            yield "number", Span(n, n + 1), f"{int(whole) + 1}{rest}", around(s, n)
            if int(whole) > 0:
                yield "number", Span(n, n + 1), f"{int(whole) - 1}{rest}", around(s, n)


def texts(s: Statement) -> Iterator[Edit]:
    for n, token in enumerate(s.tokens):
        if token.text.startswith("E'"):
            yield from characters(s, n)
        elif token.kind == "text" and token.text not in NOT_ALTERED and s[n - 1] != "interval":
            yield "text", Span(n, n + 1), f"'not {token.text[1:]}", around(s, n)


def characters(s: Statement, n: int) -> Iterator[Edit]:
    """A list of characters, one less."""
    text = s[n]
    for found in re.finditer(r"\\(?:u[0-9A-F]{4}|x[0-9A-F]{2}|.)| (?=\\)", text):
        yield "character", Span(n, n + 1), text[: found.start()] + text[found.end() :], repr(found.group())


def truths(s: Statement) -> Iterator[Edit]:
    for n in range(len(s)):
        if s[n] in ("true", "false"):
            yield "truth", Span(n, n + 1), "false" if s[n] == "true" else "true", around(s, n)


def types_and_zones(s: Statement) -> Iterator[Edit]:
    for n in range(len(s)):
        if s[n] == "::":
            yield "cast", Span(n, n + 2), "", around(s, n)
        elif s.follows(n, "TIME", "ZONE"):
            yield "time zone", Span(n + 2, end_of_term(s, n + 2)), "'UTC'", around(s, n)


def moments(s: Statement) -> Iterator[Edit]:
    for n in range(2, len(s)):
        if s.follows(n - 2, "c", ".") and s[n] in MOMENTS:
            named = f" AS {s[n]}" if s[n - 3] in ("SELECT", ",") and s[n + 1] in (",", "FROM") else ""
            yield "moment", Span(n, n + 1), MOMENTS[s[n]] + named, around(s, n)


RULES: tuple[Rule, ...] = (
    *(conditions, comparisons, joins, nulls_and_negations, cases, wrappers, functions, distinctness),
    *(lists, groupings, arithmetic, numbers, texts, truths, types_and_zones, moments),
)


def around(s: Statement, n: int) -> str:
    """A few tokens to either side, to know the place by."""
    return s.source(Span(max(0, n - 5), min(len(s), n + 6)))


def mutate(sql: str) -> list[Mutant]:
    s = Statement(sql)
    places = s.places()
    made = [mutant(s, places, *edit) for rule in RULES for edit in rule(s)]
    met: Counter[str] = Counter()
    for n, each in enumerate(made):
        met[each.name] += 1
        made[n] = replace(each, number=met[each.name])
    return made


def mutant(s: Statement, places: list[str], kind: str, span: Span, becomes: str, shown: str) -> Mutant:
    start, end = s.tokens[span.first].start, s.tokens[span.end - 1].end
    was = " ".join(re.sub(r"--[^\n]*", "", shown or s.source(span)).split())
    after = " ".join(becomes.split()) if kind not in ("character", "grouping", "branch") else ""
    line = s.sql.count("\n", 0, start) + 1
    sql = s.sql[:start] + becomes + s.sql[end:]
    return Mutant(kind, places[span.first], line, was, after or "nothing", sql, start)
