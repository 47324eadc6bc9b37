"""What the fields of facts mean, in the words of the schema."""

from __future__ import annotations

SOURCE_TIME = "now if not given. A fact with an older source time never replaces a newer one"

KEPT = (
    "A fact of somebody not enrolled that day, or of a day or an instant to come, is kept, and counts once it applies."
)

WORDS = {
    "id": "Its id, given by its source; unique in the class.",
    "class_id": "The class's id.",
    "school_id": "The school's id.",
    "person_id": "The person's id.",
    "student_id": "The student's id as a person.",
    "activity_id": "The activity's id in the class.",
    "title": "What it is called, 500 characters at the most.",
    "begins": "When it begins; null is unbounded.",
    "ends": "The first instant at which it is over; null is unbounded.",
    "attempt": "Which attempt of the student, from 1.",
    "recorded_at": f"Source time: when this was recorded, {SOURCE_TIME}.",
    "grade_recorded_at": f"Source time of the grade: when this was recorded, {SOURCE_TIME}.",
}

# The description of the kind itself stands under "".
KIND_WORDS: dict[str, dict[str, str]] = {
    "schools": {
        "": "A school, and the policy its metrics follow.",
        "id": "The school's id.",
        "time_zone": "IANA time zone, such as Europe/London. Days are this zone's.",
        "pass_mark": "The grade, in percent, from which a student passes; 0 to 1000.",
        "feedback_hours": "Hours within which grading is promised; 0 to 8760.",
        "active_days": "Days of 24 hours within which a student must do something to count as active; 1 to 366.",
        "improvement_days": "Days of 24 hours in each of the two windows of gradeImprovement; 1 to 366.",
        "excused_counts": "Whether excused absences count in the denominator of attendanceRate.",
    },
    "people": {
        "": "Somebody at a school, known by an opaque id: no metric needs a name.",
        "id": "The person's id; of a teacher, the subject of their tokens.",
    },
    "classes": {
        "": "A class. It is never deleted, and stays in its school.",
        "id": "The class's id; it may not begin with `class-performance:`.",
        "status": "Whether it is still running.",
        "weighted": "Whether categories weight the grade.",
    },
    "enrollments": {
        "": "A person in a class, from `begins` until just before `ends`.",
        "role": "What the person is in the class.",
    },
    "categories": {
        "": "A part of a class's gradebook.",
        "weight": "Weight in the grade of a weighted class, 0 or more.",
    },
    "activities": {
        "": "Something students of a class are given to do.",
        "category_id": "The category's id in the class; null if it is in none.",
        "max_points": "Points that can be had, 0 or more; a score above them is extra credit.",
        "due_at": "When it is due; null if never. Not together with dueOn.",
        "due_on": "The day it is due, at whose end at the school it is. Not together with dueAt.",
        "published_at": "When students see it; null if they do not yet.",
        "deleted_at": "When it was taken back; null if it was not.",
        "expects_submission": "Whether something is to be handed in.",
        "counts_toward_grade": "Whether its scores count toward the grade.",
    },
    "submissions": {
        "": "One attempt of a student at an activity, as handed in.",
        "submitted_at": "When it was handed in; null if it was not.",
    },
    "grades": {
        "": "One attempt of a student at an activity, as graded.",
        "score": "Points, 0 or more. Null is not graded, which is not a zero.",
        "graded_at": "When it was graded. A score counts only from then on; null is not yet.",
        "graded_automatically": "Whether a machine graded it, so that it says nothing of timeliness.",
        "feedback": "What the teacher wrote, 20,000 characters at the most.",
    },
    "excusals": {
        "": "A student need not do an activity.",
        "excused": "False takes an excusal back.",
    },
    "attendance": {
        "": "Whether a student was there, for one session of a day.",
        "session_date": "The day at the school.",
        "session_key": "Which session of the day, where there are several.",
        "status": "Whether the student was there.",
    },
    "points_awards": {
        "": "Points given or, below zero, taken. Sending the same id twice awards once.",
        "points": "How many; below zero is a penalty.",
        "awarded_at": "When they were awarded; they count from then on.",
        "revoked_at": "When they were taken back; null if they were not.",
    },
}
