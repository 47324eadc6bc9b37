"""The work set in a class of the demonstration district, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from app.calendar import start_of_day
from app.district import DAY, FEEDBACK, HOUR, MAX_POINTS, SCORES, Classroom, Pupil, Values

CATEGORIES = ("homework", "homework", "quizzes", "homework", "tests")


@dataclass(slots=True)
class Task:
    """Something set; `given` if students could have handed it in by now."""

    id: str
    category: str | None
    most: int
    due: datetime
    progress: float
    given: bool
    handed_in: bool
    row: Values


class Coursework:
    """Rows are in the order of the columns of their shelves."""

    def __init__(self, room: Classroom) -> None:
        self.room, self.random, self.now = room, room.random, room.plan.now
        self.tasks = [] if room.number % 40 == 33 else self._tasks()
        self.excused: dict[tuple[str, str], bool] = {}

    def _tasks(self) -> list[Task]:
        """Evenly through the term until now, and a few more to come."""
        room, count = self.room, self.room.plan.activities
        count = max(1, count // 8) if room.fresh else count
        step = (room.seen - room.begins) / (count + 1)
        ahead = 0 if room.ends and room.ends <= self.now else max(1, count // 8)
        return [self._task(number, room.begins + number * step, count) for number in range(1, count + ahead + 1)]

    def _task(self, number: int, about: datetime, count: int) -> Task:
        room, draw, id = self.room, self.random.random(), f"activity-{number:03}"
        day = about.astimezone(room.zone).date()
        due = start_of_day(day + (1 - max(0, day.weekday() - 4)) * DAY, room.zone)
        category = CATEGORIES[number % 5] if self.random.random() > 0.04 else None
        most = 0 if draw < 0.01 else MAX_POINTS[self.random.randrange(len(MAX_POINTS))]
        published = None if 0.01 < draw < 0.03 else max(room.begins, due - self.random.randint(4, 14) * DAY)
        deleted = due - 2 * DAY if 0.03 < draw < 0.05 else None
        handed_in, counts = draw < 0.9, self.random.random() > 0.07
        title = f"{(category or 'task').removesuffix('s').replace('quizze', 'quiz').capitalize()} {number}"
        recorded = min(room.begins, self.now)
        shown_due = None if 0.05 < draw < 0.08 else due
        row = (room.id, id, category, title, most, shown_due, published, deleted, handed_in, counts, recorded)
        given = published is not None and published <= self.now and deleted is None and due - 4 * DAY < room.seen
        return Task(id, category, most, due, number / count, given, handed_in, row)

    def activities(self) -> list[Values]:
        return [task.row for task in self.tasks]

    def attempts(self) -> list[Values]:
        rows: list[Values] = []
        for task in self.tasks:
            if task.given:
                for pupil in self.room.pupils:
                    if pupil.there(task.due):
                        self._attempt(task, pupil, rows)
        return rows

    def _attempt(self, task: Task, pupil: Pupil, rows: list[Values]) -> None:
        draw = self.random.random()
        if draw < 0.02:
            self.excused[task.id, pupil.id] = draw < 0.017
        if draw > pupil.diligence or task.progress > pupil.gives_up:
            if draw > 0.97 and task.due < self.now - 7 * DAY:
                self._append(rows, task, pupil, 1, None, task.due + 3 * DAY, SCORES[0])
            return
        submitted = self._submitted(task.due) if task.handed_in else None
        if submitted is not None and submitted > self.now:
            return
        self._grade(rows, task, pupil, 1, submitted)
        if draw < 0.07 and submitted and submitted + 5 * DAY < self.now:
            self._grade(rows, task, pupil, 2, submitted + 5 * DAY)

    def _submitted(self, due: datetime) -> datetime:
        """Mostly in the last days, every tenth late."""
        draw = self.random.random()
        return due + (draw - 0.9) * 30 * DAY if draw > 0.9 else due - HOUR * (1 + 70 * draw)

    def _grade(self, rows: list[Values], task: Task, pupil: Pupil, attempt: int, submitted: datetime | None) -> None:
        room = self.room
        if task.category == "quizzes" and submitted:
            graded = submitted
        else:
            graded = max(submitted or task.due, task.due) + self.random.expovariate(1) * room.speed * 5 * DAY
        share = pupil.ability + pupil.trend * task.progress + self.random.gauss(0, 0.08) + 0.05 * (attempt - 1)
        score = SCORES[round(min(max(share, 0), 1.05) * task.most * 2)]
        self._append(rows, task, pupil, attempt, submitted, graded if graded <= self.now else None, score)

    def _append(
        self,
        rows: list[Values],
        task: Task,
        pupil: Pupil,
        attempt: int,
        submitted: datetime | None,
        graded: datetime | None,
        score: object,
    ) -> None:
        """Some grading leaves the score blank: a remark is all there is."""
        draw = self.random.random()
        automatic = task.category == "quizzes" and submitted is not None
        feedback = FEEDBACK[int(draw * 1000) % len(FEEDBACK)] if graded and draw < self.room.talk else None
        if graded is None or draw > 0.985:
            score = None
        handed, marked = submitted or task.due, graded or task.due
        now = self.now
        rows.append(
            (
                self.room.id,
                task.id,
                pupil.id,
                attempt,
                submitted,
                handed if handed < now else now,
                score,
                graded,
                automatic,
                feedback,
                marked if marked < now else now,
            )
        )

    def excusals(self) -> list[Values]:
        """Known once the attempts have been made."""
        return [
            (self.room.id, task, pupil, excused, self.now) for (task, pupil), excused in sorted(self.excused.items())
        ]
