"""Notice changes of facts and of records, whoever makes them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Rows come and go by the thousand: what is gone is to be cleared away at once.
QUEUE = {"autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 1000}

FACTS = ("enrollment", "category", "activity", "submission", "excusal", "attendance", "points_award")
FUNCTIONS = (
    "mark_classes_of_facts",
    "mark_classes",
    "mark_classes_of_schools",
    "mark_every_class",
    "continue_version",
    "raise_version",
    "tell_of_records",
    "keep_versions",
)

# They run as their owner, so that whoever may store a fact need not know of these tables, and find nothing elsewhere.
# None of them reads a table that others write, or waits: they append.
MARKS = """
CREATE FUNCTION mark_classes_of_facts() {header}
BEGIN
    IF tg_op = 'INSERT' THEN
        INSERT INTO class_change (class_id) SELECT DISTINCT class_id FROM new_rows;
    ELSIF tg_op = 'DELETE' THEN
        INSERT INTO class_change (class_id) SELECT DISTINCT class_id FROM old_rows;
    ELSE
        INSERT INTO class_change (class_id) SELECT class_id FROM old_rows UNION SELECT class_id FROM new_rows;
    END IF;
    RETURN NULL;
END $$;

-- A copy of a record carries the status of its class: it is to be made anew.
CREATE FUNCTION mark_classes() {header}
BEGIN
    IF tg_op = 'INSERT' THEN
        INSERT INTO class_change (class_id) SELECT id FROM new_rows;
    ELSIF tg_op = 'DELETE' THEN
        INSERT INTO class_change (class_id) SELECT id FROM old_rows;
    ELSE
        INSERT INTO class_change (class_id) SELECT id FROM old_rows UNION SELECT id FROM new_rows;
        INSERT INTO performance_change (class_id)
        SELECT id FROM old_rows o JOIN new_rows n USING (id) WHERE o.status <> n.status;
    END IF;
    RETURN NULL;
END $$;

-- One row for a school, however many classes it has: which they are, is found out when the row can be seen by all.
CREATE FUNCTION mark_classes_of_schools() {header}
BEGIN
    INSERT INTO class_change (school_id)
    SELECT id FROM old_rows o JOIN new_rows n USING (id)
    WHERE ROW(o.time_zone, o.pass_mark, o.feedback_hours, o.active_days, o.improvement_days, o.excused_counts)
       <> ROW(n.time_zone, n.pass_mark, n.feedback_hours, n.active_days, n.improvement_days, n.excused_counts);
    RETURN NULL;
END $$;

CREATE FUNCTION mark_every_class() {header}
BEGIN
    INSERT INTO class_change DEFAULT VALUES;
    RETURN NULL;
END $$;
"""

# Copies of records are compared by version. So what a reader could tell apart never has the same one, and the record of a
# class that had one before goes on from there.
VERSIONS = """
CREATE FUNCTION raise_version() {header}
DECLARE
    seen class_performance;
BEGIN
    IF new.class_id <> old.class_id THEN
        RAISE EXCEPTION 'the record of class % stays with it', old.class_id USING ERRCODE = 'restrict_violation';
    END IF;
    seen := new;
    seen.id := old.id;
    seen.version := old.version;
    seen.next_change_at := old.next_change_at;
    IF new.version < old.version OR seen IS DISTINCT FROM old THEN
        new.version := old.version + 1;
        IF new.last_updated = old.last_updated AND new.updated_at = old.updated_at THEN
            new.last_updated := clock_timestamp();
            new.updated_at := new.last_updated;
        END IF;
    END IF;
    RETURN new;
END $$;

CREATE FUNCTION continue_version() {header}
DECLARE
    reached integer;
BEGIN
    -- Whoever is about to delete the record is waited for, who leaves the version it had.
    PERFORM FROM class_performance WHERE class_id = new.class_id FOR KEY SHARE;
    reached := greatest(
        (SELECT version FROM version_reached WHERE class_id = new.class_id),
        (SELECT max(version) FROM class_performance_history WHERE class_id = new.class_id)
    );
    IF new.version <= reached THEN
        new.version := reached + 1;
    END IF;
    RETURN new;
END $$;
"""

# What was deleted is to be made again where there is still a class.
RECORDS = """
CREATE FUNCTION tell_of_records() {header}
BEGIN
    IF tg_op = 'INSERT' THEN
        INSERT INTO performance_change (class_id) SELECT class_id FROM new_rows;
    ELSIF tg_op = 'UPDATE' THEN
        INSERT INTO performance_change (class_id)
        SELECT class_id FROM old_rows o JOIN new_rows n USING (class_id) WHERE o.version <> n.version;
    ELSE
        INSERT INTO version_reached (class_id, version) SELECT class_id, version FROM old_rows
        ON CONFLICT (class_id) DO UPDATE SET version = greatest(version_reached.version, excluded.version);
        INSERT INTO performance_change (class_id) SELECT class_id FROM old_rows;
        INSERT INTO class_change (class_id) SELECT class_id FROM old_rows;
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION keep_versions() {header}
BEGIN
    INSERT INTO version_reached (class_id, version) SELECT class_id, version FROM class_performance
    ON CONFLICT (class_id) DO UPDATE SET version = greatest(version_reached.version, excluded.version);
    INSERT INTO performance_change (class_id) SELECT class_id FROM class_performance;
    INSERT INTO class_change DEFAULT VALUES;
    RETURN NULL;
END $$;
"""


def upgrade() -> None:
    _create_queues()
    _create_tables()
    _create_functions()
    for table in FACTS:
        _on_rows(table, "mark_classes_of_facts", "INSERT", "UPDATE", "DELETE")
    _on_rows("class", "mark_classes", "INSERT", "UPDATE", "DELETE")
    _on_rows("school", "mark_classes_of_schools", "UPDATE")
    for table in (*FACTS, "class", "school"):
        _on("AFTER TRUNCATE", table, "STATEMENT", "mark_every_class")
    _on("BEFORE INSERT", "class_performance", "ROW", "continue_version")
    # Whoever raises the version has nothing to be told, and most do.
    _on(
        "BEFORE UPDATE",
        "class_performance",
        "ROW",
        "raise_version",
        "WHEN (new.version <= old.version OR new.class_id <> old.class_id)",
    )
    _on_rows("class_performance", "tell_of_records", "INSERT", "UPDATE", "DELETE")
    _on("BEFORE TRUNCATE", "class_performance", "STATEMENT", "keep_versions")
    # What was stored by hand until now was not noticed.
    op.execute("INSERT INTO class_change (class_id) SELECT NULL WHERE EXISTS (SELECT FROM class)")


def _create_queues() -> None:
    op.create_table(
        "class_change",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("class_id", sa.Text(), nullable=True),
        sa.Column("school_id", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.CheckConstraint("class_id IS NULL OR school_id IS NULL", name=op.f("class_change_scope_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("class_change_pkey")),
        postgresql_with=QUEUE,
    )
    op.create_index(op.f("class_change_class_id_idx"), "class_change", ["class_id"], unique=False)
    op.create_table(
        "performance_change",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("class_id", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("performance_change_pkey")),
        postgresql_with=QUEUE,
    )


def _create_tables() -> None:
    op.create_table(
        "version_reached",
        sa.Column("class_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("class_id", name=op.f("version_reached_pkey")),
    )
    op.create_table(
        "calculation_failure",
        sa.Column("class_id", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("failed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retry_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("attempts >= 1", name=op.f("calculation_failure_attempts_check")),
        sa.PrimaryKeyConstraint("class_id", name=op.f("calculation_failure_pkey")),
    )
    op.create_index(op.f("calculation_failure_retry_at_idx"), "calculation_failure", ["retry_at"], unique=False)
    op.create_table(
        "job",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("cron", sa.Text(), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ran_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("job_pkey")),
    )


def _create_functions() -> None:
    schema = op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))
    header = f"RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$"
    for functions in (MARKS, VERSIONS, RECORDS):
        op.execute(functions.replace("{header}", header))
    for function in FUNCTIONS:
        op.execute(f"REVOKE ALL ON FUNCTION {function}() FROM PUBLIC")


def _on_rows(table: str, function: str, *events: str) -> None:
    """After each statement, with the rows it changed."""
    rows = {"INSERT": "NEW TABLE AS new_rows", "DELETE": "OLD TABLE AS old_rows"}
    rows["UPDATE"] = f"{rows['DELETE']} {rows['INSERT']}"
    for event in events:
        _on(f"AFTER {event}", table, "STATEMENT", function, referencing=f"REFERENCING {rows[event]}")


def _on(event: str, table: str, each: str, function: str, condition: str = "", *, referencing: str = "") -> None:
    name = f"{function}_{event.split()[1].lower()}"
    op.execute(
        f"CREATE TRIGGER {name} {event} ON {table} {referencing} FOR EACH {each} {condition} "
        f"EXECUTE FUNCTION {function}()"
    )


def downgrade() -> None:
    for function in FUNCTIONS:
        op.execute(f"DROP FUNCTION {function}() CASCADE")
    op.drop_table("job")
    op.drop_index(op.f("calculation_failure_retry_at_idx"), table_name="calculation_failure")
    op.drop_table("calculation_failure")
    op.drop_table("version_reached")
    op.drop_table("performance_change")
    op.drop_index(op.f("class_change_class_id_idx"), table_name="class_change")
    op.drop_table("class_change")
