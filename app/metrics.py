"""The catalogue of metrics: names, units and the range that may be reported.

How each is calculated stands once, in metrics.sql.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

INT_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Metric:
    """`whole` metrics are counts or points and never null; the others are null while there is nothing to divide by."""

    name: str
    low: float
    high: float
    description: str
    whole: bool = False

    @property
    def graphql_name(self) -> str:
        head, *tail = self.name.split("_")
        return head + "".join(word.capitalize() for word in tail)


def _grade(name: str, description: str) -> Metric:
    return Metric(name, 0, 1000, description)


def _rate(name: str, description: str) -> Metric:
    return Metric(name, 0, 100, description)


def _count(name: str, description: str) -> Metric:
    return Metric(name, 0, INT_MAX, description, whole=True)


METRICS: tuple[Metric, ...] = (
    _grade("average_grade", "Mean of the students' grades, in percent; above 100 with extra credit."),
    _rate("passing_rate", "Students whose grade reaches the school's pass mark, in percent of students with a grade."),
    _grade("highest_grade", "Highest grade of a student, in percent."),
    _grade("lowest_grade", "Lowest grade of a student, in percent."),
    _rate("attendance_rate", "Attendance records present or late, in percent of all that count."),
    _count("present_count", "Attendance records PRESENT."),
    _count("absent_count", "Attendance records ABSENT."),
    _count("late_count", "Attendance records LATE."),
    _count("excused_count", "Attendance records EXCUSED."),
    _rate("participation_rate", "Active students, in percent of the enrolled."),
    _count("active_students", "Students who submitted work or earned points within the school's active window."),
    _rate("completion_rate", "Work done, in percent of work due: handed in, or graded above zero."),
    _rate("submission_rate", "Work handed in, late or not, in percent of work due that expects a submission."),
    _count("activities_created", "Activities published and not deleted."),
    _count("activities_graded", "Activities with at least one graded submission."),
    Metric(
        "total_points",
        -INT_MAX - 1,
        INT_MAX,
        "Points awarded to the enrolled, penalties subtracted; it stops at the bounds of 32 bits.",
        whole=True,
    ),
    Metric("average_points", -1e9, 1e9, "Points for each enrolled student."),
    Metric(
        "grade_improvement",
        -1000,
        1000,
        "Mean change of the students' grades from the improvement window before the last to the last, "
        "by due date, in percentage points.",
    ),
    _rate("teacher_feedback_rate", "Graded submissions with written feedback, in percent of the graded."),
    _rate("grading_timeliness", "Submissions graded within the promised time, in percent of graded and overdue ones."),
)
METRIC_NAMES: tuple[str, ...] = tuple(metric.name for metric in METRICS)

SQL = files("app").joinpath("metrics.sql").read_text()
"""Takes `:class_ids` (text[]) and `:at` (timestamptz); gives one row per class that exists: class_id, every metric
by name, `explanation` (jsonb) and `next_change_at` (timestamptz or null)."""
