"""Ids: opaque, compared as they are."""

from __future__ import annotations

LONGEST_ID = 255


def is_storable(id_: str) -> bool:
    """Whether something with this id could exist; PostgreSQL refuses even to look for some text."""
    return 1 <= len(id_) <= LONGEST_ID and id_.isprintable()
