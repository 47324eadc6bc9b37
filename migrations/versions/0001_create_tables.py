"""Create the tables of the facts and of the records."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Who may see a class follows from its school, and copies of a record carry it: so it never changes.
SCHOOL_IS_FIXED = """
CREATE FUNCTION class_school_is_fixed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'class % stays in school %', old.id, old.school_id USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER class_school_is_fixed BEFORE UPDATE OF school_id ON class
    FOR EACH ROW WHEN (old.school_id IS DISTINCT FROM new.school_id) EXECUTE FUNCTION class_school_is_fixed();
"""


def upgrade() -> None:
    op.create_table(
        "idempotency_key",
        sa.Column("viewer", sa.Text(), nullable=False),
        sa.Column("mutation", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("input_hash", sa.LargeBinary(), nullable=False),
        sa.Column("result", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint(
            "created_at BETWEEN '1900-01-01 00:00:00+00' AND '2200-01-01 00:00:00+00'",
            name=op.f("idempotency_key_calendar_check"),
        ),
        sa.PrimaryKeyConstraint("viewer", "mutation", "key", name=op.f("idempotency_key_pkey")),
    )
    op.create_index(op.f("idempotency_key_created_at_idx"), "idempotency_key", ["created_at"], unique=False)
    op.create_table(
        "school",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("pass_mark", sa.Numeric(), server_default=sa.text("60"), nullable=False),
        sa.Column("feedback_hours", sa.Integer(), server_default=sa.text("168"), nullable=False),
        sa.Column("active_days", sa.Integer(), server_default=sa.text("14"), nullable=False),
        sa.Column("improvement_days", sa.Integer(), server_default=sa.text("30"), nullable=False),
        sa.Column("excused_counts", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column(
            "recorded_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint(
            "('2000-01-01 00:00:00+00'::timestamptz AT TIME ZONE time_zone) IS NOT NULL",
            name=op.f("school_time_zone_check"),
        ),
        sa.CheckConstraint(
            "recorded_at BETWEEN '1900-01-01 00:00:00+00' AND '2200-01-01 00:00:00+00'",
            name=op.f("school_calendar_check"),
        ),
        sa.CheckConstraint(
            "feedback_hours BETWEEN 0 AND 8760 AND active_days BETWEEN 1 AND 366 AND improvement_days BETWEEN 1 AND 366",
            name=op.f("school_policy_check"),
        ),
        sa.CheckConstraint("pass_mark BETWEEN 0 AND 1000", name=op.f("school_pass_mark_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("school_pkey")),
    )
    op.create_table(
        "class",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("school_id", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="ACTIVE", nullable=False),
        sa.Column("begins", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ends", sa.DateTime(timezone=True), nullable=True),
        sa.Column("weighted", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column(
            "recorded_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("NOT starts_with(id, 'class-performance:')", name=op.f("class_id_check")),
        sa.CheckConstraint(
            "begins BETWEEN '1900-01-01 00:00:00+00' AND '2200-01-01 00:00:00+00' AND ends BETWEEN '1900-01-01 00:00:00+00' AND '2200-01-01 00:00:00+00' AND recorded_at BETWEEN '1900-01-01 00:00:00+00' AND '2200-01-01 00:00:00+00'",
            name=op.f("class_calendar_check"),
        ),
        sa.CheckConstraint("status IN ('ACTIVE', 'ARCHIVED')", name=op.f("class_status_check")),
        sa.CheckConstraint("ends >= begins", name=op.f("class_period_check")),
        sa.ForeignKeyConstraint(["school_id"], ["school.id"], name=op.f("class_school_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("class_pkey")),
    )
    op.create_index(op.f("class_school_id_id_idx"), "class", ["school_id", "id"], unique=False)
    op.create_table(
        "person",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("school_id", sa.Text(), nullable=False),
        sa.Column(
            "recorded_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint(
            "recorded_at BETWEEN '1900-01-01 00:00:00+00' AND '2200-01-01 00:00:00+00'",
            name=op.f("person_calendar_check"),
        ),
        sa.ForeignKeyConstraint(["school_id"], ["school.id"], name=op.f("person_school_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("person_pkey")),
    )
    op.create_table(
        "attendance",
        sa.Column("class_id", sa.Text(), nullable=False),
        sa.Column("student_id", sa.Text(), nullable=False),
        sa.Column("session_date", sa.Date(), nullable=False),
        sa.Column("session_key", sa.Text(), server_default="", nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column(
            "recorded_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint(
            "recorded_at BETWEEN '1900-01-01 00:00:00+00' AND '2200-01-01 00:00:00+00'",
            name=op.f("attendance_calendar_check"),
        ),
        sa.CheckConstraint(
            "session_date BETWEEN '1900-01-01' AND '2199-12-31'", name=op.f("attendance_session_date_check")
        ),
        sa.CheckConstraint("status IN ('PRESENT', 'ABSENT', 'LATE', 'EXCUSED')", name=op.f("attendance_status_check")),
        sa.ForeignKeyConstraint(["class_id"], ["class.id"], name=op.f("attendance_class_id_fkey")),
        sa.ForeignKeyConstraint(["student_id"], ["person.id"], name=op.f("attendance_student_id_fkey")),
        sa.PrimaryKeyConstraint("class_id", "student_id", "session_date", "session_key", name=op.f("attendance_pkey")),
    )
    op.create_table(
        "category",
        sa.Column("class_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("weight", sa.Numeric(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "recorded_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint(
            "recorded_at BETWEEN '1900-01-01 00:00:00+00' AND '2200-01-01 00:00:00+00'",
            name=op.f("category_calendar_check"),
        ),
        sa.CheckConstraint("weight BETWEEN 0 AND 1000000000", name=op.f("category_weight_check")),
        sa.ForeignKeyConstraint(["class_id"], ["class.id"], name=op.f("category_class_id_fkey")),
        sa.PrimaryKeyConstraint("class_id", "id", name=op.f("category_pkey")),
    )
    op.create_table(
        "class_performance",
        sa.Column("average_grade", sa.Float(), nullable=True),
        sa.Column("passing_rate", sa.Float(), nullable=True),
        sa.Column("highest_grade", sa.Float(), nullable=True),
        sa.Column("lowest_grade", sa.Float(), nullable=True),
        sa.Column("attendance_rate", sa.Float(), nullable=True),
        sa.Column("present_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("absent_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("late_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("excused_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("participation_rate", sa.Float(), nullable=True),
        sa.Column("active_students", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("completion_rate", sa.Float(), nullable=True),
        sa.Column("submission_rate", sa.Float(), nullable=True),
        sa.Column("activities_created", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("activities_graded", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("total_points", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("average_points", sa.Float(), nullable=True),
        sa.Column("grade_improvement", sa.Float(), nullable=True),
        sa.Column("teacher_feedback_rate", sa.Float(), nullable=True),
        sa.Column("grading_timeliness", sa.Float(), nullable=True),
        sa.Column("class_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), sa.Computed("'class-performance:' || class_id", persisted=True), nullable=False),
        sa.Column("version", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("pinned_metrics", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column(
            "explanation", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False
        ),
        sa.Column("custom", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("next_change_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "last_updated", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("jsonb_typeof(custom) = 'object'", name=op.f("class_performance_custom_check")),
        sa.CheckConstraint(
            "last_updated BETWEEN '1900-01-01 00:00:00+00' AND '2200-01-01 00:00:00+00' AND created_at BETWEEN '1900-01-01 00:00:00+00' AND '2200-01-01 00:00:00+00' AND updated_at BETWEEN '1900-01-01 00:00:00+00' AND '2200-01-01 00:00:00+00'",
            name=op.f("class_performance_calendar_check"),
        ),
        sa.CheckConstraint("version >= 0", name=op.f("class_performance_version_check")),
        sa.ForeignKeyConstraint(["class_id"], ["class.id"], name=op.f("class_performance_class_id_fkey")),
        sa.PrimaryKeyConstraint("class_id", name=op.f("class_performance_pkey")),
    )
    op.create_index(
        op.f("class_performance_next_change_at_idx"),
        "class_performance",
        ["next_change_at"],
        unique=False,
        postgresql_where=sa.text("next_change_at IS NOT NULL"),
    )
    op.create_table(
        "class_performance_history",
        sa.Column("average_grade", sa.Float(), nullable=True),
        sa.Column("passing_rate", sa.Float(), nullable=True),
        sa.Column("highest_grade", sa.Float(), nullable=True),
        sa.Column("lowest_grade", sa.Float(), nullable=True),
        sa.Column("attendance_rate", sa.Float(), nullable=True),
        sa.Column("present_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("absent_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("late_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("excused_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("participation_rate", sa.Float(), nullable=True),
        sa.Column("active_students", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("completion_rate", sa.Float(), nullable=True),
        sa.Column("submission_rate", sa.Float(), nullable=True),
        sa.Column("activities_created", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("activities_graded", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("total_points", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("average_points", sa.Float(), nullable=True),
        sa.Column("grade_improvement", sa.Float(), nullable=True),
        sa.Column("teacher_feedback_rate", sa.Float(), nullable=True),
        sa.Column("grading_timeliness", sa.Float(), nullable=True),
        sa.Column("class_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("fields", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("pinned_metrics", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.CheckConstraint(
            "at BETWEEN '1900-01-01 00:00:00+00' AND '2200-01-01 00:00:00+00'",
            name=op.f("class_performance_history_calendar_check"),
        ),
        sa.CheckConstraint(
            "cause IN ('calculated', 'reported', 'unpinned')", name=op.f("class_performance_history_cause_check")
        ),
        sa.ForeignKeyConstraint(["class_id"], ["class.id"], name=op.f("class_performance_history_class_id_fkey")),
        sa.PrimaryKeyConstraint("class_id", "version", name=op.f("class_performance_history_pkey")),
    )
    op.create_index(
        op.f("class_performance_history_class_id_at_idx"), "class_performance_history", ["class_id", "at"], unique=False
    )
    op.create_table(
        "enrollment",
        sa.Column("class_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("person_id", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("begins", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ends", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "recorded_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint(
            "begins BETWEEN '1900-01-01 00:00:00+00' AND '2200-01-01 00:00:00+00' AND ends BETWEEN '1900-01-01 00:00:00+00' AND '2200-01-01 00:00:00+00' AND recorded_at BETWEEN '1900-01-01 00:00:00+00' AND '2200-01-01 00:00:00+00'",
            name=op.f("enrollment_calendar_check"),
        ),
        sa.CheckConstraint("role IN ('STUDENT', 'TEACHER')", name=op.f("enrollment_role_check")),
        sa.CheckConstraint("ends >= begins", name=op.f("enrollment_period_check")),
        sa.ForeignKeyConstraint(["class_id"], ["class.id"], name=op.f("enrollment_class_id_fkey")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("enrollment_person_id_fkey")),
        sa.PrimaryKeyConstraint("class_id", "id", name=op.f("enrollment_pkey")),
    )
    op.create_index(
        op.f("enrollment_person_id_idx"),
        "enrollment",
        ["person_id"],
        unique=False,
        postgresql_where=sa.text("role = 'TEACHER'"),
    )
    op.create_table(
        "points_award",
        sa.Column("class_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("student_id", sa.Text(), nullable=False),
        sa.Column("points", sa.Integer(), nullable=False),
        sa.Column("awarded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "recorded_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint(
            "awarded_at BETWEEN '1900-01-01 00:00:00+00' AND '2200-01-01 00:00:00+00' AND revoked_at BETWEEN '1900-01-01 00:00:00+00' AND '2200-01-01 00:00:00+00' AND recorded_at BETWEEN '1900-01-01 00:00:00+00' AND '2200-01-01 00:00:00+00'",
            name=op.f("points_award_calendar_check"),
        ),
        sa.ForeignKeyConstraint(["class_id"], ["class.id"], name=op.f("points_award_class_id_fkey")),
        sa.ForeignKeyConstraint(["student_id"], ["person.id"], name=op.f("points_award_student_id_fkey")),
        sa.PrimaryKeyConstraint("class_id", "id", name=op.f("points_award_pkey")),
    )
    op.create_table(
        "activity",
        sa.Column("class_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("category_id", sa.Text(), nullable=True),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("max_points", sa.Numeric(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expects_submission", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("counts_toward_grade", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column(
            "recorded_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint(
            "due_at BETWEEN '1900-01-01 00:00:00+00' AND '2200-01-01 00:00:00+00' AND published_at BETWEEN '1900-01-01 00:00:00+00' AND '2200-01-01 00:00:00+00' AND deleted_at BETWEEN '1900-01-01 00:00:00+00' AND '2200-01-01 00:00:00+00' AND recorded_at BETWEEN '1900-01-01 00:00:00+00' AND '2200-01-01 00:00:00+00'",
            name=op.f("activity_calendar_check"),
        ),
        sa.CheckConstraint("max_points BETWEEN 0 AND 1000000000", name=op.f("activity_max_points_check")),
        sa.ForeignKeyConstraint(
            ["class_id", "category_id"],
            ["category.class_id", "category.id"],
            name=op.f("activity_class_id_category_id_fkey"),
        ),
        sa.ForeignKeyConstraint(["class_id"], ["class.id"], name=op.f("activity_class_id_fkey")),
        sa.PrimaryKeyConstraint("class_id", "id", name=op.f("activity_pkey")),
    )
    op.create_table(
        "excusal",
        sa.Column("class_id", sa.Text(), nullable=False),
        sa.Column("activity_id", sa.Text(), nullable=False),
        sa.Column("student_id", sa.Text(), nullable=False),
        sa.Column("excused", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column(
            "recorded_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint(
            "recorded_at BETWEEN '1900-01-01 00:00:00+00' AND '2200-01-01 00:00:00+00'",
            name=op.f("excusal_calendar_check"),
        ),
        sa.ForeignKeyConstraint(
            ["class_id", "activity_id"],
            ["activity.class_id", "activity.id"],
            name=op.f("excusal_class_id_activity_id_fkey"),
        ),
        sa.ForeignKeyConstraint(["student_id"], ["person.id"], name=op.f("excusal_student_id_fkey")),
        sa.PrimaryKeyConstraint("class_id", "activity_id", "student_id", name=op.f("excusal_pkey")),
    )
    op.create_table(
        "submission",
        sa.Column("class_id", sa.Text(), nullable=False),
        sa.Column("activity_id", sa.Text(), nullable=False),
        sa.Column("student_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("submitted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "recorded_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("score", sa.Numeric(), nullable=True),
        sa.Column("graded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("graded_automatically", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("feedback", sa.Text(), nullable=True),
        sa.Column(
            "grade_recorded_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint(
            "submitted_at BETWEEN '1900-01-01 00:00:00+00' AND '2200-01-01 00:00:00+00' AND recorded_at BETWEEN '1900-01-01 00:00:00+00' AND '2200-01-01 00:00:00+00' AND graded_at BETWEEN '1900-01-01 00:00:00+00' AND '2200-01-01 00:00:00+00' AND grade_recorded_at BETWEEN '1900-01-01 00:00:00+00' AND '2200-01-01 00:00:00+00'",
            name=op.f("submission_calendar_check"),
        ),
        sa.CheckConstraint("attempt BETWEEN 1 AND 10000", name=op.f("submission_attempt_check")),
        sa.CheckConstraint("score BETWEEN 0 AND 1000000000", name=op.f("submission_score_check")),
        sa.ForeignKeyConstraint(
            ["class_id", "activity_id"],
            ["activity.class_id", "activity.id"],
            name=op.f("submission_class_id_activity_id_fkey"),
        ),
        sa.ForeignKeyConstraint(["student_id"], ["person.id"], name=op.f("submission_student_id_fkey")),
        sa.PrimaryKeyConstraint("class_id", "activity_id", "student_id", "attempt", name=op.f("submission_pkey")),
    )
    op.execute(SCHOOL_IS_FIXED)


def downgrade() -> None:
    op.drop_table("submission")
    op.drop_table("excusal")
    op.drop_table("activity")
    op.drop_table("points_award")
    op.drop_index(
        op.f("enrollment_person_id_idx"), table_name="enrollment", postgresql_where=sa.text("role = 'TEACHER'")
    )
    op.drop_table("enrollment")
    op.drop_index(op.f("class_performance_history_class_id_at_idx"), table_name="class_performance_history")
    op.drop_table("class_performance_history")
    op.drop_index(
        op.f("class_performance_next_change_at_idx"),
        table_name="class_performance",
        postgresql_where=sa.text("next_change_at IS NOT NULL"),
    )
    op.drop_table("class_performance")
    op.drop_table("category")
    op.drop_table("attendance")
    op.drop_table("person")
    op.drop_index(op.f("class_school_id_id_idx"), table_name="class")
    op.drop_table("class")
    op.drop_table("school")
    op.drop_index(op.f("idempotency_key_created_at_idx"), table_name="idempotency_key")
    op.drop_table("idempotency_key")
    op.execute("DROP FUNCTION class_school_is_fixed()")
