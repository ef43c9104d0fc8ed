"""In batches: a status for those that were cancelled, and when a person took one off the lists."""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

BEFORE = "'running', 'completed', 'incomplete', 'crashed'"
AFTER = f"{BEFORE}, 'cancelled'"


def upgrade() -> None:
    _allow(BEFORE, AFTER)
    time = "TIMESTAMP WITH TIME ZONE" if _is_postgresql() else "TEXT"
    op.execute(f"ALTER TABLE batches ADD COLUMN forgotten_at {time}")


def downgrade() -> None:
    op.drop_column("batches", "forgotten_at")
    op.execute("UPDATE batches SET status = 'crashed' WHERE status = 'cancelled'")
    _allow(AFTER, BEFORE)


def _allow(before: str, after: str) -> None:
    if _is_postgresql():
        op.drop_constraint(op.f("ck_batches_status"), "batches")
        op.create_check_constraint(op.f("ck_batches_status"), "batches", f"status IN ({after})")
        return
    # Making the table anew breaks the views and keys that point at it. For a change that touches no row on the disk
    # SQLite documents this way: "Making Other Kinds Of Table Schema Changes", https://www.sqlite.org/lang_altertable.html
    connection = op.get_bind()
    version = connection.exec_driver_sql("PRAGMA schema_version").scalar_one()
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    connection.exec_driver_sql(
        "UPDATE sqlite_schema SET sql = replace(sql, ?, ?) WHERE type = 'table' AND name = 'batches'",
        (f"({before})", f"({after})"),
    )
    connection.exec_driver_sql(f"PRAGMA schema_version = {version + 1}")
    connection.exec_driver_sql("PRAGMA writable_schema = OFF")


def _is_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"
