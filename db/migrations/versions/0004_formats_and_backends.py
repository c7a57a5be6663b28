"""By which reader an input is read again, and on which back-end a job was computed."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# as it stands from here on; a later migration that changes it starts from this
V_RESULTS = """
    SELECT r.id AS result_id, j.case_id, c.patient, e.kind, j.model, j.model_version, j.weights_sha256,
           r.code, r.system, r.meaning, r.probability, r.threshold, r.positive, r.value, r.unit,
           r.laterality, r.site, r.qualifier, r.abstained, r.reason, r.evidence, j.device,
           r.created_at, r.status, e.study_uid, e.series_uid, e.uid AS instance_uid,
           CASE WHEN e.kind = 'note' THEN e.id END AS note_id, e.id AS evidence_id,
           j.input_digest, j.id AS job_id,
           COALESCE(r.partial, FALSE) AS partial, r.supersedes, v.number AS series_revision,
           e.format, j.backend
    FROM results r
    JOIN jobs j ON j.id = r.job_id
    JOIN cases c ON c.id = j.case_id
    JOIN job_inputs i ON i.job_id = j.id AND i.position = 0
    JOIN evidence e ON e.id = i.evidence_id
    LEFT JOIN series_revisions v ON v.id = j.revision_id"""


def upgrade() -> None:
    op.add_column("evidence", sa.Column("format", sa.String(length=16), nullable=False, server_default=""))
    op.execute("UPDATE evidence SET format = CASE WHEN kind = 'note' THEN 'note' ELSE 'dicom' END")
    op.add_column("jobs", sa.Column("backend", sa.String(length=32), nullable=True))
    op.execute("DROP VIEW v_results")
    op.execute(f"CREATE VIEW v_results AS {V_RESULTS}")
