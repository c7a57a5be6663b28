"""What large ledgers cost: no index over random hashes, and SQLite told how few values a state has."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

APPEND_ONLY = """
CREATE TRIGGER audit_no_{verb} BEFORE {verb} ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"""

# table, index, rows and how many share the values of its first one, two, ... columns, in a large installation
SHAPES = (
    ("files", "ix_files_state", "1000000 200000"),
    ("jobs", "ix_jobs_state", "1000000 200000 50000 25000 1"),
)


def upgrade() -> None:
    # two entries after the same one would both have its number and one: the primary key refuses them already
    if op.get_bind().dialect.name != "sqlite":
        op.drop_constraint("uq_audit_previous", "audit", type_="unique")
        return
    _copy_audit()
    _tell_shapes()


def _copy_audit() -> None:
    """SQLite cannot drop a constraint of a table: the same entries go to one that never had it."""
    op.execute("DROP VIEW v_audit")
    op.create_table(
        "audit_copy",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.String(length=32), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("previous", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit")),
    )
    op.execute("INSERT INTO audit_copy SELECT seq, at, subject, action, detail, previous, hash FROM audit")
    op.execute("DROP TABLE audit")
    op.rename_table("audit_copy", "audit")
    op.create_index("ix_audit_subject", "audit", ["subject"], unique=False)
    for verb in ("UPDATE", "DELETE"):
        op.execute(APPEND_ONLY.format(verb=verb))
    op.execute(
        "CREATE VIEW v_audit AS SELECT a.seq, a.at, a.subject, a.action, a.detail, a.hash FROM audit a"
    )


def _tell_shapes() -> None:
    """Unasked, SQLite takes ten rows to share a state, and goes through all of them for a few keys."""
    op.execute("ANALYZE audit_head")  # one row: all it does is to make the table of statistics
    op.execute("DELETE FROM sqlite_stat1")
    add = sa.text("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (:tbl, :idx, :stat)")
    for table, index, stat in SHAPES:
        op.execute(add.bindparams(tbl=table, idx=index, stat=stat))
    op.execute("ANALYZE sqlite_schema")  # this connection takes them over; others do when they open
