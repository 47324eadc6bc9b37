"""Whatever is done to a fact, by whatever kind of statement, marks the classes it touches and no others."""

from __future__ import annotations

import pytest

from tests.integration.changes.conftest import EVERY_CLASS, Sql, classes, taken

# By table: the columns and values of a new row of a class, and something else to say of it.
TABLES = {
    "enrollment": ("id, person_id, role", "'new', 'ben', 'STUDENT'", "ends = '2026-05-01Z'"),
    "category": ("id, title", "'new', 'N'", "weight = 2"),
    "activity": ("id, title, max_points", "'new', 'N', 1", "max_points = 5"),
    "submission": ("activity_id, student_id, attempt", "'t', 'ben', 1", "score = 3"),
    "excusal": ("activity_id, student_id", "'t', 'ada'", "excused = false"),
    "attendance": ("student_id, session_date, status", "'ben', '2026-03-03', 'LATE'", "status = 'ABSENT'"),
    "points_award": ("id, student_id, points, awarded_at", "'new', 'ben', 1, '2026-03-02Z'", "points = 2"),
}
# Rows of class a that nothing refers to.
LOOSE = {"category": "id = 'x'", "activity": "id = 'x'"}

each_table = pytest.mark.parametrize("table", TABLES)


def execute(sql: Sql, statement: str) -> None:
    sql.execute(statement.encode())


@each_table
def test_an_insert_marks_the_classes_of_its_rows_once_each(sql: Sql, table: str) -> None:
    columns, values, _ = TABLES[table]
    execute(sql, f"INSERT INTO {table} (class_id, {columns}) VALUES ('a', {values}), ('b', {values})")
    assert taken(sql) == classes("a", "b")


@each_table
def test_an_update_marks_the_classes_of_its_rows(sql: Sql, table: str) -> None:
    execute(sql, f"UPDATE {table} SET {TABLES[table][2]} WHERE class_id = 'b'")
    assert taken(sql) == classes("b")


@each_table
def test_a_row_that_moves_marks_the_class_it_left_and_the_class_it_joined(sql: Sql, table: str) -> None:
    where = LOOSE.get(table, "true")
    if table in LOOSE:
        execute(sql, f"DELETE FROM {table} WHERE class_id = 'c'")
        taken(sql)
    execute(sql, f"UPDATE {table} SET class_id = 'c' WHERE class_id = 'a' AND {where}")
    assert taken(sql) == classes("a", "c")


@each_table
def test_a_delete_marks_the_classes_of_its_rows(sql: Sql, table: str) -> None:
    execute(sql, f"DELETE FROM {table} WHERE class_id IN ('a', 'b') AND {LOOSE.get(table, 'true')}")
    assert taken(sql) == classes("a", "b")


@each_table
def test_a_truncate_marks_every_class_in_one_row(sql: Sql, table: str) -> None:
    execute(sql, "TRUNCATE submission, excusal")
    taken(sql)
    execute(sql, f"TRUNCATE {table} CASCADE")
    assert set(taken(sql)) == set(EVERY_CLASS)


@each_table
def test_a_copy_marks_the_classes_of_its_rows_once_each(sql: Sql, table: str) -> None:
    columns, values, _ = TABLES[table]
    row = values.replace("'", "").replace(", ", "\t")
    with sql.cursor() as cursor, cursor.copy(f"COPY {table} (class_id, {columns}) FROM STDIN".encode()) as copy:
        copy.write("".join(f"{class_id}\t{row}\n" for class_id in ("a", "b")))
    assert taken(sql) == classes("a", "b")


@each_table
def test_an_upsert_marks_what_it_inserts_and_what_it_updates(sql: Sql, table: str) -> None:
    columns, values, assignment = TABLES[table]
    execute(sql, f"INSERT INTO {table} (class_id, {columns}) VALUES ('a', {values})")
    taken(sql)
    execute(
        sql,
        f"INSERT INTO {table} AS t (class_id, {columns}) VALUES ('a', {values}), ('b', {values}) "
        f"ON CONFLICT ON CONSTRAINT {table}_pkey DO UPDATE SET {assignment}",
    )
    assert taken(sql) == classes("a", "b")


@each_table
def test_a_merge_marks_what_it_changes(sql: Sql, table: str) -> None:
    assignment = TABLES[table][2]
    execute(
        sql,
        f"MERGE INTO {table} AS t USING (VALUES ('b')) AS s (class_id) ON t.class_id = s.class_id "
        f"WHEN MATCHED AND {LOOSE.get(table, 'true').replace('id', 't.id')} THEN UPDATE SET {assignment}",
    )
    assert taken(sql) == classes("b")


@each_table
def test_a_statement_that_touches_no_row_marks_nothing(sql: Sql, table: str) -> None:
    execute(sql, f"UPDATE {table} SET {TABLES[table][2]} WHERE class_id = 'nowhere'")
    execute(sql, f"DELETE FROM {table} WHERE class_id = 'nowhere'")
    assert taken(sql) == []


def test_what_is_taken_back_marks_nothing(sql: Sql) -> None:
    with sql.transaction(force_rollback=True):
        execute(sql, "DELETE FROM attendance")
    with sql.transaction():
        execute(sql, "UPDATE attendance SET status = 'LATE' WHERE class_id = 'a'")
        with sql.transaction(force_rollback=True):
            execute(sql, "UPDATE attendance SET status = 'LATE' WHERE class_id = 'b'")
    assert taken(sql) == classes("a")


def test_a_fact_written_within_another_statement_marks_its_class(sql: Sql) -> None:
    execute(sql, "WITH gone AS (DELETE FROM attendance WHERE class_id = 'a' RETURNING 1) SELECT count(*) FROM gone")
    assert taken(sql) == classes("a")


def test_every_table_that_the_calculation_reads_is_watched(sql: Sql) -> None:
    """And for everything that can be done to it; a person matters through enrollments and facts alone."""
    from app.shelf import TABLES as SHELVES

    watched = sql.execute(
        "SELECT c.relname, string_agg(DISTINCT t.tgname, ' ') FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
        "WHERE NOT tgisinternal AND tgenabled = 'O' AND tgname LIKE 'mark%' GROUP BY 1"
    ).fetchall()
    found = {table: {name.rsplit("_", 1)[1] for name in names.split()} for table, names in watched}
    everything = {"insert", "update", "delete", "truncate"}
    tables = {model.__tablename__ for model in SHELVES.values()} - {"person"}
    # A new school has no classes, and one that has cannot be deleted.
    assert found == {table: {"update", "truncate"} if table == "school" else everything for table in tables}
