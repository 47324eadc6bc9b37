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
    plain, _ = _rank(JSON, ranges)
    newer, named = _rank(GRAPHQL, ranges)
    if newer > plain or (newer == plain > 0 and named):
        return GRAPHQL
    return JSON if plain else None


def accepts(accept: str, media: str) -> bool:
    """Whether a client takes this media type, which has no other form."""
    ranges = [found for part in accept[:LONGEST].split(",") if (found := _range(part))]
    return not accept.strip() or _rank(media, ranges)[0] > 0


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


def _rank(offer: str, ranges: list[tuple[str, float]]) -> tuple[float, bool]:
    """Quality by the most specific range that matches, and whether that names the offer."""
    specificity = {offer: 2, f"{offer.partition('/')[0]}/*": 1, "*/*": 0}
    matching = [(specificity[media], quality) for media, quality in ranges if media in specificity]
    best, quality = max(matching, default=(0, 0.0))
    return quality, best == 2
