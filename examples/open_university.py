"""Turns the Open University Learning Analytics dataset into a folder that `classperf import csv` takes.

    python examples/open_university.py FOLDER_OF_THE_DATASET NEW_FOLDER

The dataset: Kuzilek, Hlosta, Zdrahal: "Open University Learning Analytics dataset", Scientific Data 4:170171, 2017,
licence CC BY 4.0.

It needs nothing but Python. The dataset gives days, counted from the day a presentation starts. We read them so:

- Work is due at the end of its day, and was handed in, and graded, at the start of its day.
- Who registered on a day is enrolled from its start; who unregistered on a day has left when it starts.
- A class ends when its last day does. It is archived.
- All of it was recorded when the newest of the dataset's files was last modified: converting again changes nothing.
- A result without a score was handed in and never graded. A result carried over from earlier ("banked") counts.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

SCHOOL = "open-university"
FILES = ("courses", "assessments", "studentInfo", "studentRegistration", "studentAssessment")
STARTS = {"B": (2, 1), "J": (10, 1)}

Row = dict[str, str]


def class_id(row: Row) -> str:
    return f"{row['code_module']}-{row['code_presentation']}"


def given(cell: str) -> str:
    """The dataset writes ? for what is not known; some copies of it leave the cell empty."""
    return "" if cell == "?" else cell


class NotTheDataset(Exception):
    """A folder that is not the dataset's."""


class Dataset:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        paths = [folder / f"{name}.csv" for name in FILES]
        if missing := [path.name for path in paths if not path.is_file()]:
            raise NotTheDataset(f"{folder} is not a folder of the dataset: it has no {', '.join(missing)}.")
        newest = max(path.stat().st_mtime for path in paths)
        self.recorded_at = datetime.fromtimestamp(newest, UTC).isoformat()
        self.courses = {class_id(row): row for row in self.read("courses")}
        self.assessments = {row["id_assessment"]: row for row in self.read("assessments")}

    def read(self, name: str) -> Iterator[Row]:
        with (self.folder / f"{name}.csv").open(newline="", encoding="utf-8-sig") as file:
            yield from csv.DictReader(file)

    def day(self, course: str, number: str | int) -> date:
        """Day 0 is the first of February or October of the year: 2013J starts on 1 October 2013."""
        presentation = self.courses[course]["code_presentation"]
        return date(int(presentation[:4]), *STARTS[presentation[4]]) + timedelta(days=int(number))

    def schools(self) -> Iterator[Row]:
        yield {"id": SCHOOL, "title": "The Open University", "time_zone": "Europe/London", "pass_mark": "40"}

    def people(self) -> Iterator[Row]:
        """Everyone once, though some took several modules."""
        rows = (row for name in ("studentInfo", "studentRegistration", "studentAssessment") for row in self.read(name))
        for student in dict.fromkeys(row["id_student"] for row in rows):
            yield {"id": student, "school_id": SCHOOL}

    def classes(self) -> Iterator[Row]:
        for course, row in self.courses.items():
            yield {
                "id": course,
                "school_id": SCHOOL,
                "title": f"{row['code_module']}, presentation {row['code_presentation']}",
                "status": "ARCHIVED",
                "begins": f"{self.day(course, 0)}",
                "ends": f"{self.day(course, int(row['module_presentation_length']) - 1)}",
                "weighted": "true",
            }

    def enrollments(self) -> Iterator[Row]:
        for row in self.read("studentRegistration"):
            course, begins, ends = class_id(row), given(row["date_registration"]), given(row["date_unregistration"])
            yield {
                "class_id": course,
                "id": row["id_student"],
                "person_id": row["id_student"],
                "role": "STUDENT",
                "begins": f"{self.day(course, begins)}" if begins else "",
                "ends": f"{self.last_day(course, begins, ends)}" if ends else "",
            }

    def last_day(self, course: str, begins: str, ends: str) -> date:
        """The day before the one of leaving: an import reads a date in `ends` as the end of that day."""
        left = max(int(ends), int(begins)) if begins else int(ends)
        return self.day(course, left - 1)

    def categories(self) -> Iterator[Row]:
        for id, row in self.assessments.items():
            yield {
                "class_id": class_id(row),
                "id": id,
                "title": f"{row['assessment_type']} {id}",
                "weight": row["weight"],
            }

    def activities(self) -> Iterator[Row]:
        for id, row in self.assessments.items():
            course, due = class_id(row), given(row["date"])
            yield {
                "class_id": course,
                "id": id,
                "category_id": id,
                "title": f"{row['assessment_type']} {id}",
                "max_points": "100",
                "due_at": f"{self.day(course, due)}" if due else "",
                "published_at": f"{self.day(course, 0)}",
            }

    def submissions(self) -> Iterator[Row]:
        for row in self.read("studentAssessment"):
            assessment = self.assessments[row["id_assessment"]]
            course, score = class_id(assessment), given(row["score"])
            day = f"{self.day(course, row['date_submitted'])}"
            yield {
                "class_id": course,
                "activity_id": row["id_assessment"],
                "student_id": row["id_student"],
                "submitted_at": day,
                "score": score,
                "graded_at": day if score else "",
                "graded_automatically": "true" if assessment["assessment_type"] == "CMA" else "false",
            }


def write(path: Path, rows: Iterable[Row], recorded_at: str) -> int:
    count = 0
    with path.open("w", newline="", encoding="utf-8") as file:
        for count, row in enumerate(rows, 1):
            row["recorded_at"] = recorded_at
            if count == 1:
                writer = csv.DictWriter(file, list(row))
                writer.writeheader()
            writer.writerow(row)
    return count


def convert(source: Path, target: Path) -> dict[str, int]:
    """The number of rows of each file written. All but the list of people and courses passes through in a stream."""
    dataset = Dataset(source)
    target.mkdir(parents=True, exist_ok=True)
    makers: list[Callable[[], Iterator[Row]]] = [
        dataset.schools,
        dataset.people,
        dataset.classes,
        dataset.enrollments,
        dataset.categories,
        dataset.activities,
        dataset.submissions,
    ]
    return {make.__name__: write(target / f"{make.__name__}.csv", make(), dataset.recorded_at) for make in makers}


def main() -> None:
    parser = argparse.ArgumentParser(description="Convert the Open University dataset for `classperf import csv`.")
    parser.add_argument("dataset", type=Path, help="the folder with courses.csv, assessments.csv, student*.csv")
    parser.add_argument("target", type=Path, help="the folder to write; it is made if need be")
    arguments = parser.parse_args()
    try:
        counts = convert(arguments.dataset, arguments.target)
    except (NotTheDataset, OSError) as error:
        parser.exit(1, f"{error}\n")
    for name, count in counts.items():
        print(f"{name}.csv: {count:,} {'row' if count == 1 else 'rows'}")


if __name__ == "__main__":
    main()
