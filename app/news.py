"""Who watches what, and what they were told."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain

from app.ids import is_storable
from app.records import Record
from app.watches import Watch

Rows = Sequence[tuple[str, str, int]]
"""Of class, school and version."""


class Audience:
    """Who watches what."""

    def __init__(self) -> None:
        self.watches: set[Watch] = set()
        self._by_class: dict[str, set[Watch]] = {}
        self._by_school: dict[str, set[Watch]] = {}
        self._everywhere: set[Watch] = set()

    def enter(self, watch: Watch) -> None:
        self.watches.add(watch)
        for class_id in watch.reach.classes:
            self._by_class.setdefault(class_id, set()).add(watch)
        for school_id in watch.reach.schools:
            self._by_school.setdefault(school_id, set()).add(watch)
        if watch.reach.everything:
            self._everywhere.add(watch)

    def leave(self, watch: Watch) -> None:
        self.watches.discard(watch)
        self._everywhere.discard(watch)
        for class_id in watch.reach.classes:
            _remove(self._by_class, class_id, watch)
        for school_id in watch.reach.schools:
            _remove(self._by_school, school_id, watch)

    def of(self, class_id: str, school_id: str | None) -> Iterator[Watch]:
        """Some may come twice."""
        return chain(self._by_class.get(class_id, ()), self._by_school.get(school_id or "", ()), self._everywhere)

    def cares(self, class_id: str, school_id: str | None) -> bool:
        """Of a class whose school is not known, one cannot tell."""
        if class_id in self._by_class or self._everywhere:
            return True
        return bool(self._by_school) and (school_id is None or school_id in self._by_school)

    @property
    def schools(self) -> list[str] | None:
        """Those that somebody follows; None: all."""
        return None if self._everywhere else list(self._by_school)


def _remove(watches: dict[str, set[Watch]], key: str, watch: Watch) -> None:
    others = watches.get(key, set())
    others.discard(watch)
    if not others:
        watches.pop(key, None)


class News:
    """Passes on what is newer than what was told before. Versions decide, also of a record that is gone: the version it
    had; so it does not matter in which order one hears."""

    def __init__(self) -> None:
        self.audience = Audience()
        # The version that everyone who watches a class was offered, or will fetch.
        self._seen: dict[str, int] = {}
        self._absent: set[str] = set()
        self._schools: dict[str, str] = {}

    def cares(self, class_id: str) -> bool:
        return self.audience.cares(class_id, self._schools.get(class_id))

    def tell(self, record: Record) -> None:
        class_id, version, school_id = record.class_id, record.version, record.school_id
        seen = self._seen.get(class_id, 0)
        if version < seen or (version == seen and class_id in self._absent):
            return
        self._schools[class_id] = school_id
        if not self.audience.cares(class_id, school_id):
            return
        self._seen[class_id] = version
        self._absent.discard(class_id)
        for watch in self.audience.of(class_id, school_id):
            watch.offer(record)

    def miss(self, class_id: str, version: int) -> None:
        """The record is gone, and this was its version; 0 if there never was one."""
        if version < self._seen.get(class_id, 0):
            return
        school_id = self._schools.pop(class_id, None)
        if is_storable(class_id) and self.audience.cares(class_id, school_id):
            self._seen[class_id] = version
            self._absent.add(class_id)
        for watch in self.audience.of(class_id, school_id):
            watch.withdraw(class_id)

    def introduce(self, watch: Watch, class_id: str, record: Record | None) -> bool:
        """What one who has just come was given to read. False if it is older than what others were told."""
        seen, absent = self._seen.get(class_id, 0), class_id in self._absent
        if record is None:
            if seen and not absent:
                return False
            if not absent:
                self.miss(class_id, 0)
            watch.withdraw(class_id)
        elif record.version < seen or (absent and record.version == seen):
            return False
        elif record.version > seen:
            self.tell(record)
        elif watch.covers(class_id, record.school_id):
            watch.offer(record)
        return True

    def list(self, rows: Rows, newcomers: Collection[Watch]) -> set[str]:
        """What there is, for newcomers who follow, with its versions. The classes that others follow too and were not
        told of: they are to be told."""
        untold, listed = set(), {class_id for class_id, _, _ in rows}
        for watch in newcomers:
            for class_id in watch.reach.classes - listed:
                if class_id not in self._seen:
                    self.miss(class_id, 0)
        for class_id, school_id, version in rows:
            self._schools[class_id] = school_id
            if class_id in self._seen:
                continue
            if any(not watch.named and watch not in newcomers for watch in self.audience.of(class_id, school_id)):
                untold.add(class_id)
            else:
                self._seen[class_id] = version
        return untold

    def give(self, watch: Watch, covered: Mapping[str, int], *, snapshot: bool) -> None:
        """To a newcomer, of what was listed and is covered, what is newer than what it knows. Without `snapshot` only
        of what it knows; of the rest, what is newer than what was listed."""
        for class_id in watch.known.keys() - covered.keys():
            if not self._is_there_for(watch, class_id):
                watch.withdraw(class_id)
        if snapshot and not watch.known:
            watch.owe(covered)
            return
        wanted = covered.keys() if snapshot else covered.keys() & watch.known.keys()
        watch.owe([class_id for class_id in wanted if watch.lacks(class_id, covered[class_id])])
        for class_id in covered.keys() - wanted:
            watch.note(class_id, covered[class_id])

    def _is_there_for(self, watch: Watch, class_id: str) -> bool:
        school_id = self._schools.get(class_id)
        heard = self._seen.get(class_id) and class_id not in self._absent
        return bool(heard and school_id and watch.covers(class_id, school_id))

    def aim(self, watch: Watch) -> None:
        """Take from it what it does not cover any more; where the school is not known, that is not known either."""
        for class_id in list(watch.known):
            school_id = self._schools.get(class_id)
            if not watch.covers(class_id, school_id or "") and (school_id or not watch.reach.schools):
                watch.withdraw(class_id)

    def versions(self) -> dict[str, int]:
        """Of all that is watched, as far as it was told; 0 where there is none."""
        return {class_id: 0 if class_id in self._absent else seen for class_id, seen in self._seen.items()}

    def forget_unwatched(self) -> None:
        for class_id in [each for each in self._seen if not self.cares(each)]:
            del self._seen[class_id]
            self._absent.discard(class_id)
        if not self.audience.watches:
            self._schools.clear()
