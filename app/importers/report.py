"""What an import did, or why it did nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

MOST_PROBLEMS = 1_000


@dataclass(frozen=True, slots=True)
class CellProblem:
    """What is wrong in a file: the line counts from 1, the header's; without a column it is the whole line."""

    code: str
    message: str
    file: str
    line: int | None = None
    column: str | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line) if part is not None)
        return f"{place}: {self.column}: {self.message}" if self.column else f"{place}: {self.message}"


@dataclass(slots=True)
class Tally:
    """`stored` facts changed something; `unchanged` ones were older than what is stored, or equal to it.

    Where it is known: how many of the stored are `new` and how many take something away, and how many of the unchanged
    are `older` than another content that is stored.
    """

    stored: int = 0
    unchanged: int = 0
    problems: int = 0
    new: int = 0
    removed: int = 0
    older: int = 0


@dataclass(slots=True)
class Report:
    """`problems` are the first 1,000 found, in order of file and line; each file's tally counts all. With one of them
    nothing is stored, unless all have codes in `skips`: then their rows are left out, and the rest is stored.

    `notes` say what is not wrong, but may surprise. `class_ids` are the classes whose metrics may have changed, sorted.
    """

    dry_run: bool = False
    files: dict[str, Tally] = field(default_factory=dict)
    problems: list[CellProblem] = field(default_factory=list)
    class_ids: list[str] = field(default_factory=list)
    notes: list[CellProblem] = field(default_factory=list)
    skips: frozenset[str] = frozenset()
    blocking: int = 0

    @property
    def is_stored(self) -> bool:
        return not self.dry_run and not self.blocking

    @property
    def problem_count(self) -> int:
        return sum(tally.problems for tally in self.files.values())

    def tally(self, file: str) -> Tally:
        return self.files.setdefault(file, Tally())

    def add(self, problem: CellProblem, *, count: int = 1) -> None:
        self.count(problem.file, problem.code, count)
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(problem)

    def count(self, file: str, code: str, number: int) -> None:
        """Problems that are not told one by one."""
        self.tally(file).problems += number
        if code not in self.skips:
            self.blocking += number

    def arrange(self) -> None:
        """Files in the order in which they were looked at; of one line, what was found first."""
        places = {file: place for place, file in enumerate(self.files)}
        self.problems.sort(key=lambda problem: (places[problem.file], problem.line or 0))
