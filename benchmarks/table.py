"""What a benchmark has to say: rows under a header, and what one must know to read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median


@dataclass(frozen=True, slots=True)
class Table:
    """The first column is words, the others are numbers."""

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [self.header, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(["", self.title, "", *(_line(cells, widths) for cells in lines), "", *self.notes])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (
        cell.rjust(width) if place else cell.ljust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join((first, *rest)).rstrip()


def number(value: float) -> str:
    """With about three figures that mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Of rounds that alternated: the median of each round's ratio, and the least and the greatest."""
    found = [a / b for a, b in zip(ours, theirs, strict=True)]
    return f"{_figures(median(found))} ({_figures(min(found))}-{_figures(max(found))})"


def _figures(value: float) -> str:
    return f"{value:.3f}" if value < 0.995 else number(value)
