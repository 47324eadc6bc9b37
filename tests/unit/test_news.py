"""However words of a class arrive, late, twice or in another order: whoever watches sees it advance, and ends with what
it is."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.auth import Reach
from app.news import News
from app.records import Record
from app.watches import Update, Watch
from tests.caching import record

NAMED, SCHOOL, ALL = Reach(classes=frozenset(["c1"])), Reach(schools=frozenset(["s1"])), Reach(everything=True)
Word = tuple[int, Record | None]  # what a class is: a record, or none since some version


class Hearsay(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.news = News()
        self.history: list[Word] = [(0, None)]
        self.heard = {0}
        self.doubted = False
        self.watches: list[tuple[Watch, list[Update]]] = []
        self.to_fetch: list[Watch] = []

    # What happens to the class

    @rule()
    def change(self) -> None:
        version = self.history[-1][0] + 1
        self.history.append((version, record(version=version)))

    @precondition(lambda self: self.history[-1][1] is not None)
    @rule()
    def delete(self) -> None:
        self.history.append((self.history[-1][0], None))

    # How one hears of it

    @rule(data=st.data())
    def hear(self, data: st.DataObject) -> None:
        self._hear(data.draw(st.integers(0, len(self.history) - 1)))

    @rule()
    def ask(self) -> None:
        """The database, for another version than what was told, or for what is doubted."""
        version, found = self.history[-1]
        told = self.news.versions()
        if self.doubted or ("c1" in told and told["c1"] != (version if found else 0)):
            self._tell((version, found))
        self.doubted = False

    @rule(reach=st.sampled_from([NAMED, SCHOOL, ALL]))
    def enter(self, reach: Reach) -> None:
        watch = Watch(None, reach, {}, named=reach is NAMED)  # type: ignore[arg-type]
        self.news.audience.enter(watch)
        self.watches.append((watch, []))
        self.to_fetch.append(watch)

    @precondition(lambda self: self.to_fetch)
    @rule(data=st.data())
    def fetch(self, data: st.DataObject) -> None:
        """What a process reads is never older than what it has heard."""
        self._fetch(data.draw(st.integers(max(self.heard), len(self.history) - 1)))

    @precondition(lambda self: self.watches)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        watch, _ = self.watches.pop(data.draw(st.integers(0, len(self.watches) - 1)))
        self.news.audience.leave(watch)
        self.to_fetch = [each for each in self.to_fetch if each is not watch]
        self.news.forget_unwatched()

    @precondition(lambda self: self.watches)
    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        read(*data.draw(st.sampled_from(self.watches)))

    @rule()
    def settle(self) -> None:
        """Everything is heard in the end, and everyone has what they came for."""
        for number in range(len(self.history)):
            if number not in self.heard:
                self._hear(number)
        while self.to_fetch:
            self._fetch(len(self.history) - 1)
        if self.doubted:
            self.ask()
        version, found = self.history[-1]
        for watch, updates in self.watches:
            read(watch, updates)
            if found:
                assert updates[-1].record is not None
                assert updates[-1].record.version == version
            elif updates or watch.named:
                assert updates[-1].record is None

    @invariant()
    def versions_only_increase(self) -> None:
        for _, updates in getattr(self, "watches", ()):
            versions = [update.record.version for update in updates if update.record]
            assert versions == sorted(set(versions))

    def _hear(self, number: int) -> None:
        """A process remembers of every class what it heard last, also of those that nobody here watched."""
        if number >= max(self.heard) or self.news.versions():
            self._tell(self.history[number])
        self.heard.add(number)

    def _tell(self, word: Word) -> None:
        version, found = word
        if found:
            self.news.tell(found)
        elif version:
            self.news.miss("c1", version)

    def _fetch(self, number: int) -> None:
        watch = self.to_fetch.pop()
        if watch.named or self.history[number][1]:
            self.doubted |= not self.news.introduce(watch, "c1", self.history[number][1])


def read(watch: Watch, updates: list[Update]) -> None:
    while watch._news:
        try:
            watch.__anext__().send(None)
        except StopIteration as end:
            update: Any = end.value
            updates.append(update)


TestHearsay = Hearsay.TestCase
TestHearsay.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
