"""Series and studies with decisions and revisions; links between inputs; manifests; what was unpacked."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# as they stand from here on; a later migration that changes one starts from these
VIEWS = {
    "v_results": """
        SELECT r.id AS result_id, j.case_id, c.patient, e.kind, j.model, j.model_version, j.weights_sha256,
               r.code, r.system, r.meaning, r.probability, r.threshold, r.positive, r.value, r.unit,
               r.laterality, r.site, r.qualifier, r.abstained, r.reason, r.evidence, j.device,
               r.created_at, r.status, e.study_uid, e.series_uid, e.uid AS instance_uid,
               CASE WHEN e.kind = 'note' THEN e.id END AS note_id, e.id AS evidence_id,
               j.input_digest, j.id AS job_id,
               COALESCE(r.partial, FALSE) AS partial, r.supersedes, v.number AS series_revision
        FROM results r
        JOIN jobs j ON j.id = r.job_id
        JOIN cases c ON c.id = j.case_id
        JOIN job_inputs i ON i.job_id = j.id AND i.position = 0
        JOIN evidence e ON e.id = i.evidence_id
        LEFT JOIN series_revisions v ON v.id = j.revision_id""",
    "v_cases": """
        SELECT c.id AS case_id, c.patient, c.created_at,
               (SELECT count(*) FROM evidence e WHERE e.case_id = c.id) AS evidence,
               (SELECT count(*) FROM jobs j WHERE j.case_id = c.id) AS jobs,
               (SELECT count(*) FROM jobs j WHERE j.case_id = c.id
                 AND j.state IN ('owed', 'queued', 'running')) AS jobs_open,
               (SELECT count(*) FROM jobs j WHERE j.case_id = c.id AND j.state = 'failed') AS jobs_failed,
               (SELECT count(*) FROM jobs j WHERE j.case_id = c.id
                 AND j.state = 'abstained') AS jobs_abstained,
               (SELECT count(*) FROM results r JOIN jobs j ON j.id = r.job_id
                 WHERE j.case_id = c.id AND r.positive AND r.status <> 'superseded') AS positive_findings,
               (SELECT max(j.finished_at) FROM jobs j WHERE j.case_id = c.id) AS last_result_at
        FROM cases c""",
    "v_files": """
        SELECT f.id AS file_id, f.state, f.reason, f.sentence, f.suffix, f.bytes, f.digest, f.evidence_id,
               e.case_id, f.first_seen, f.changed_at, f.parent_id
        FROM files f LEFT JOIN evidence e ON e.id = f.evidence_id""",
    "v_series": """
        SELECT s.id AS series_id, s.case_id, s.study_uid, s.series_uid, s.instances, s.state, s.reason,
               s.policy, s.revision, s.created_at, s.last_at, s.decided_at, s.forced_at, s.declared_at
        FROM series s""",
    "v_studies": """
        SELECT s.id AS study_id, s.case_id, s.study_uid, s.instances, s.state, s.reason, s.created_at,
               s.last_at, s.decided_at, s.forced_at, s.declared_at
        FROM studies s""",
}
NEW = ("v_series", "v_studies")


def upgrade() -> None:
    _columns()
    _series()
    _manifests()
    for name, query in VIEWS.items():
        if name not in NEW:
            op.execute(f"DROP VIEW {name}")
        op.execute(f"CREATE VIEW {name} AS {query}")


def _columns() -> None:
    op.add_column("files", sa.Column("folder_key", sa.String(length=32), nullable=True))
    op.add_column("files", sa.Column("parent_id", sa.String(length=32), nullable=True))
    op.add_column("evidence", sa.Column("content", sa.String(length=32), nullable=True))
    op.add_column("jobs", sa.Column("revision_id", sa.String(length=32), nullable=True))
    op.add_column("results", sa.Column("partial", sa.Boolean(), nullable=True))
    op.add_column("results", sa.Column("supersedes", sa.String(length=32), nullable=True))
    op.create_index("ix_files_path_key", "files", ["path_key"], unique=False)
    op.create_index("ix_files_folder_key", "files", ["folder_key"], unique=False)
    op.create_index("ix_files_parent_id", "files", ["parent_id"], unique=False)
    op.create_index("ix_evidence_content", "evidence", ["content"], unique=False)
    op.create_index("ix_jobs_revision_id", "jobs", ["revision_id"], unique=False)
    op.create_table(
        "evidence_links",
        sa.Column("evidence_id", sa.String(length=32), nullable=False),
        sa.Column("other_id", sa.String(length=32), nullable=False),
        sa.Column("relation", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["evidence_id"], ["evidence.id"], name=op.f("fk_evidence_links_evidence_id_evidence")
        ),
        sa.ForeignKeyConstraint(
            ["other_id"], ["evidence.id"], name=op.f("fk_evidence_links_other_id_evidence")
        ),
        sa.PrimaryKeyConstraint("evidence_id", "other_id", "relation", name=op.f("pk_evidence_links")),
    )
    op.create_index("ix_evidence_links_other_id", "evidence_links", ["other_id"], unique=False)


def _times() -> list[sa.Column[object]]:
    return [
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("check_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("forced_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("declared_at", sa.DateTime(timezone=True), nullable=True),
    ]


def _series() -> None:
    op.create_table(
        "studies",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("case_id", sa.String(length=32), nullable=False),
        sa.Column("study_uid", sa.String(length=64), nullable=False),
        sa.Column("instances", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        *_times(),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_studies_case_id_cases")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_studies")),
        sa.UniqueConstraint("case_id", "study_uid", name=op.f("uq_studies_case_id_study_uid")),
    )
    op.create_index("ix_studies_state", "studies", ["state", "check_at"], unique=False)
    op.create_index("ix_studies_study_uid", "studies", ["study_uid"], unique=False)
    op.create_table(
        "series",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("case_id", sa.String(length=32), nullable=False),
        sa.Column("study_uid", sa.String(length=64), nullable=False),
        sa.Column("series_uid", sa.String(length=64), nullable=False),
        sa.Column("instances", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("policy", sa.String(length=16), nullable=True),
        sa.Column("lane", sa.String(length=16), nullable=True),
        sa.Column("models", sa.JSON(), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        *_times(),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_series_case_id_cases")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_series")),
        sa.UniqueConstraint("case_id", "series_uid", name=op.f("uq_series_case_id_series_uid")),
    )
    op.create_index("ix_series_state", "series", ["state", "check_at"], unique=False)
    op.create_index("ix_series_series_uid", "series", ["series_uid"], unique=False)
    op.create_index("ix_series_study_uid", "series", ["study_uid"], unique=False)
    op.create_table(
        "series_revisions",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("series_id", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("instances", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("supersedes", sa.String(length=32), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["series_id"], ["series.id"], name=op.f("fk_series_revisions_series_id_series")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_series_revisions")),
        sa.UniqueConstraint("series_id", "number", name=op.f("uq_series_revisions_series_id_number")),
    )


def _manifests() -> None:
    op.create_table(
        "manifests",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("folder_key", sa.String(length=32), nullable=False),
        sa.Column("expected", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["id"], ["files.id"], name=op.f("fk_manifests_id_files")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_manifests")),
    )
    op.create_index("ix_manifests_folder_key", "manifests", ["folder_key"], unique=False)
    op.create_table(
        "manifest_entries",
        sa.Column("manifest_id", sa.String(length=32), nullable=False),
        sa.Column("path_key", sa.String(length=32), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(
            ["manifest_id"], ["manifests.id"], name=op.f("fk_manifest_entries_manifest_id_manifests")
        ),
        sa.PrimaryKeyConstraint("manifest_id", "path_key", name=op.f("pk_manifest_entries")),
    )
    op.create_index("ix_manifest_entries_path_key", "manifest_entries", ["path_key"], unique=False)
