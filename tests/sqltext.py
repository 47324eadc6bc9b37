"""Just enough of SQL's grammar to find the parts of a statement: words, groups, lists and conditions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

SKIPPED = re.compile(r"(?:\s+|--[^\n]*)+")
TOKEN = re.compile(
    r"""(?P<text>[Ee]?'(?:[^']|'')*'(?:\s*\n\s*'(?:[^']|'')*')*)
      | (?P<parameter>(?<!:):[a-z_]+)
      | (?P<number>\d+(?:\.\d+)?)
      | (?P<word>[A-Za-z_][A-Za-z_0-9]*)
      | (?P<sign>::|=>|<=|>=|<>|[-+*/<>=(),.\[\]])""",
    re.VERBOSE,
)
# What a condition cannot go beyond.
BOUNDS = {
    *("SELECT", "FROM", "WHERE", "HAVING", "ON", "JOIN", "LEFT", "CROSS", "LATERAL", "GROUP", "ORDER", "BY", "UNION"),
    *("PARTITION", "OVER", "WINDOW"),
    *("ALL", "AS", "VALUES", "FILTER", "CASE", "WHEN", "THEN", "ELSE", "END", "DISTINCT", "MATERIALIZED", "WITH", ","),
}
CONDITIONS = {"WHERE", "HAVING", "ON", "WHEN"}
PREDICATES = {"bool_or", "bool_and"}


@dataclass(frozen=True)
class Token:
    kind: str
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Span:
    """Tokens from `first` up to, not including, `end`."""

    first: int
    end: int


@dataclass(frozen=True)
class Condition:
    """An expression of truth values: alternatives, each of operands that must all be true."""

    introduced_by: str | None
    alternatives: list[list[Span]]


class Statement:
    def __init__(self, sql: str) -> None:
        self.sql = sql
        self.tokens = list(tokenize(sql))
        self.closing = dict(self._pairs())
        self.opening = {close: start for start, close in self.closing.items()}

    def _pairs(self) -> Iterator[tuple[int, int]]:
        started: list[int] = []
        for n, token in enumerate(self.tokens):
            if token.text == "(":
                started.append(n)
            elif token.text == ")":
                yield started.pop(), n

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, n: int) -> str:
        return self.tokens[n].text if 0 <= n < len(self) else ""

    def follows(self, n: int, *words: str) -> bool:
        return all(self[n + k] == word for k, word in enumerate(words))

    def source(self, span: Span) -> str:
        return self.sql[self.tokens[span.first].start : self.tokens[span.end - 1].end]

    def level(self, span: Span) -> Iterator[int]:
        """The tokens of a span that are not inside its groups; a group is seen as its opening parenthesis."""
        n = span.first
        while n < span.end:
            yield n
            n = self.closing.get(n, n) + 1

    def split(self, span: Span, *separators: str) -> list[Span]:
        parts, first = [], span.first
        for n in self.level(span):
            if self[n] in separators:
                parts.append(Span(first, n))
                first = n + 1
        return [*parts, Span(first, span.end)]

    def groups(self) -> list[Span]:
        """The inside of every pair of parentheses, and the whole."""
        return [Span(0, len(self)), *(Span(start + 1, close) for start, close in sorted(self.closing.items()))]

    def arguments(self, function: int) -> list[Span]:
        return self.split(Span(function + 2, self.closing[function + 1]), ",")

    def conditions(self) -> Iterator[Condition]:
        for group in self.groups():
            first, introduced_by = group.first, self._predicate(group)
            for n in [*self.level(group), group.end]:
                if n == group.end or self[n] in BOUNDS:
                    if first < n:
                        yield self.condition(Span(first, n), introduced_by)
                    first = n + 1
                    introduced_by = self[n] if self[n] in CONDITIONS and self[n - 1] != "DISTINCT" else None

    def _predicate(self, group: Span) -> str | None:
        """The function whose whole argument is a condition."""
        return self[group.first - 2] if self[group.first - 2] in PREDICATES else None

    def condition(self, span: Span, introduced_by: str | None) -> Condition:
        return Condition(introduced_by, [self.split(part, "AND") for part in self.split(span, "OR")])

    def places(self) -> list[str]:
        """For every token the name of the common table expression that it stands in."""
        names, place = [], "result"
        for n in range(len(self)):
            if self[n + 1] == "AS" and "(" in (self[n + 2], self[n + 3]) and self._is_outside(n):
                place = self[n]
            names.append(place)
            if self[n] == ")" and self._is_outside(n):
                place = "result"
        return names

    def _is_outside(self, n: int) -> bool:
        return not any(start < n < close for start, close in self.closing.items())


def tokenize(sql: str) -> Iterator[Token]:
    at = 0
    while at < len(sql):
        skipped = SKIPPED.match(sql, at)
        if skipped:
            at = skipped.end()
            continue
        token = TOKEN.match(sql, at)
        if token is None:
            raise ValueError(f"What is this? {sql[at : at + 40]!r}")
        yield Token(str(token.lastgroup), token.group(), token.start(), token.end())
        at = token.end()
