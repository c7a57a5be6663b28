"""An index over waiting jobs, by lane; and when retention removed a payload."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("evidence", sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True))
    waiting = sa.text("state IN ('owed', 'queued')")
    op.create_index(
        "ix_jobs_waiting", "jobs", ["lane", "created_at"], unique=False,
        sqlite_where=waiting, postgresql_where=waiting,
    )  # fmt: skip
