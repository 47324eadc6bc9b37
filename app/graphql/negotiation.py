"""Which of the two media types of GraphQL over HTTP a client wants."""

from __future__ import annotations

from functools import lru_cache

JSON = "application/json"
GRAPHQL = "application/graphql-response+json"
LONGEST = 2_000


@lru_cache(maxsize=1_000)
def negotiate(accept: str) -> str | None:
    """None where neither is acceptable. Whoever does not ask for the newer type by name gets plain JSON."""
    if not accept.strip():
        return JSON
    ranges = [found for part in accept[:LONGEST].split(",") if (found := _range(part))]
    ranked = [(*_rank(offer, ranges), offer == GRAPHQL, offer) for offer in (JSON, GRAPHQL)]
    acceptable = [rank for rank in ranked if rank[0] > 0]
    if not acceptable:
        return None
    named = [rank for rank in acceptable if rank[:2] == max(acceptable)[:2]]
    return JSON if named[0][1] < 2 and len(named) > 1 else max(acceptable)[-1]


def _range(part: str) -> tuple[str, float] | None:
    media, *parameters = (piece.strip().lower() for piece in part.split(";"))
    quality = 1.0
    for parameter in parameters:
        name, _, value = (piece.strip() for piece in parameter.partition("="))
        if name == "q":
            quality = _quality(value)
        if name == "charset" and value.strip('"') != "utf-8":
            return None
    return media, quality


def _quality(value: str) -> float:
    try:
        return min(max(float(value), 0.0), 1.0)
    except ValueError:
        return 0.0


def _rank(offer: str, ranges: list[tuple[str, float]]) -> tuple[float, int]:
    """Quality by the most specific range that matches, and how specific it is: 2 by name, 1 by type, 0 by anything."""
    specificity = {offer: 2, "application/*": 1, "*/*": 0}
    matching = [(specificity[media], quality) for media, quality in ranges if media in specificity]
    if not matching:
        return 0.0, -1
    best, quality = max(matching)
    return quality, best
