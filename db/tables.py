"""The SQL rows and their constraints. Promised to others are the views (migrations), not these."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime on every database (SQLite keeps none of the zone itself)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuses naive datetimes, stores UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("naive datetime: expected one with a time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Gives UTC back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """Base of all rows; constraints get names so that migrations can speak of them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


OPEN = text("state IN ('pending', 'ignored')")  #: files whose path no other open file may have
WAITING = text("state IN ('owed', 'queued')")  #: literal, so that both databases match their partial index


class File(Base):
    """A file ever seen in the inbox; its name is sealed, for names may be patients'."""

    __tablename__ = "files"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    path_key: Mapped[str] = mapped_column(String(32))  #: keyed digest of the path below the inbox
    name_sealed: Mapped[bytes] = mapped_column(LargeBinary)  #: the path below the inbox
    suffix: Mapped[str] = mapped_column(String(16))
    bytes: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str | None] = mapped_column(String(64))
    sentence: Mapped[str | None] = mapped_column(Text)
    digest: Mapped[str | None] = mapped_column(String(64))
    evidence_id: Mapped[str | None] = mapped_column(ForeignKey("evidence.id"))
    folder_key: Mapped[str | None] = mapped_column(String(32))  #: keyed digest of the folder it came in
    parent_id: Mapped[str | None] = mapped_column(String(32))  #: the archive file that it was unpacked from
    first_seen: Mapped[datetime] = mapped_column(UtcDateTime)
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    __table_args__ = (
        Index("ix_files_state", "state"),
        # one open row a path, however many processes watch the folder
        Index("uq_files_open_path", "path_key", unique=True, sqlite_where=OPEN, postgresql_where=OPEN),
        Index("ix_files_evidence_id", "evidence_id"),
        Index("ix_files_path_key", "path_key"),
        Index("ix_files_folder_key", "folder_key"),
        Index("ix_files_parent_id", "parent_id"),
    )


class Identity(Base):
    """The one table that knows who a patient is, sealed; nothing joins it by default."""

    __tablename__ = "identities"
    patient: Mapped[str] = mapped_column(String(32), primary_key=True)  #: keyed pseudonym
    number_sealed: Mapped[bytes] = mapped_column(LargeBinary)
    issuer_sealed: Mapped[bytes] = mapped_column(LargeBinary)
    name_sealed: Mapped[bytes] = mapped_column(LargeBinary)
    birth_date_sealed: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Case(Base):
    """The evidence of one accession, study or encounter."""

    __tablename__ = "cases"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    patient: Mapped[str | None] = mapped_column(String(32))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    __table_args__ = (Index("ix_cases_patient", "patient"),)


class Evidence(Base):
    """One accepted input, its payload in the archive under `digest`."""

    __tablename__ = "evidence"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"))
    kind: Mapped[str] = mapped_column(String(16))
    format: Mapped[str] = mapped_column(String(16), server_default="")  #: its reader module
    uid: Mapped[str | None] = mapped_column(String(64))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    study_uid: Mapped[str | None] = mapped_column(String(64))
    series_uid: Mapped[str | None] = mapped_column(String(64))
    facts: Mapped[dict[str, Any]] = mapped_column(JSON)
    content: Mapped[str | None] = mapped_column(String(32))  #: keyed digest of pixels or words alone
    received_at: Mapped[datetime] = mapped_column(UtcDateTime)
    removed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)  #: when retention removed the payload
    __table_args__ = (
        UniqueConstraint("uid"),
        Index("ix_evidence_case_id", "case_id"),
        Index("ix_evidence_content", "content"),
        Index("ix_evidence_series_uid", "series_uid"),
    )


class EvidenceLink(Base):
    """What one input is to another that came before: `same_pixels_as`, `same_text_as`."""

    __tablename__ = "evidence_links"
    evidence_id: Mapped[str] = mapped_column(ForeignKey("evidence.id"), primary_key=True)
    other_id: Mapped[str] = mapped_column(ForeignKey("evidence.id"), primary_key=True)
    relation: Mapped[str] = mapped_column(String(32), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    __table_args__ = (Index("ix_evidence_links_other_id", "other_id"),)


class Study(Base):
    """A study as far as it came, and whether it is whole."""

    __tablename__ = "studies"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"))
    study_uid: Mapped[str] = mapped_column(String(64))
    instances: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(String(16))  #: waiting, complete, partial, quarantined
    reason: Mapped[str | None] = mapped_column(Text)  #: "code: sentence" of the last decision
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_at: Mapped[datetime] = mapped_column(UtcDateTime)  #: when its last instance came
    check_at: Mapped[datetime] = mapped_column(UtcDateTime)  #: not decided on before this time
    decided_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    forced_at: Mapped[datetime | None] = mapped_column(UtcDateTime)  #: a person called it complete
    declared_at: Mapped[datetime | None] = mapped_column(UtcDateTime)  #: its sender said done
    __table_args__ = (
        UniqueConstraint("case_id", "study_uid"),
        Index("ix_studies_state", "state", "check_at"),
        Index("ix_studies_study_uid", "study_uid"),
    )


class Series(Base):
    """A series as far as it came, and whether it is whole."""

    __tablename__ = "series"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"))
    study_uid: Mapped[str] = mapped_column(String(64))
    series_uid: Mapped[str] = mapped_column(String(64))
    instances: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(String(16))  #: waiting, complete, partial, quarantined
    reason: Mapped[str | None] = mapped_column(Text)  #: "code: sentence" of the last decision
    policy: Mapped[str | None] = mapped_column(String(16))  #: the rules' word for its newest instance
    lane: Mapped[str | None] = mapped_column(String(16))  #: likewise
    models: Mapped[list[str] | None] = mapped_column(JSON)  #: likewise; null: any that asks for it
    revision: Mapped[int] = mapped_column(Integer)  #: number of the newest revision, 0 before the first
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_at: Mapped[datetime] = mapped_column(UtcDateTime)  #: when its last instance came
    check_at: Mapped[datetime] = mapped_column(UtcDateTime)  #: not decided on before this time
    decided_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    forced_at: Mapped[datetime | None] = mapped_column(UtcDateTime)  #: a person called it complete
    declared_at: Mapped[datetime | None] = mapped_column(UtcDateTime)  #: its sender said done
    __table_args__ = (
        UniqueConstraint("case_id", "series_uid"),
        Index("ix_series_state", "state", "check_at"),
        Index("ix_series_series_uid", "series_uid"),
        Index("ix_series_study_uid", "study_uid"),
    )


class SeriesRevision(Base):
    """The set of instances that a series was read as; a late instance makes the next one."""

    __tablename__ = "series_revisions"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    series_id: Mapped[str] = mapped_column(ForeignKey("series.id"))
    number: Mapped[int] = mapped_column(Integer)  #: from 1
    digest: Mapped[str] = mapped_column(String(64))  #: over its instances' digests in slice order
    instances: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(String(16))  #: complete or partial
    reason: Mapped[str] = mapped_column(Text)
    supersedes: Mapped[str | None] = mapped_column(String(32))  #: the revision before
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    __table_args__ = (UniqueConstraint("series_id", "number"),)


class Manifest(Base):
    """A sender's list of what a folder holds; its id is that of the file it came as."""

    __tablename__ = "manifests"
    id: Mapped[str] = mapped_column(ForeignKey("files.id"), primary_key=True)
    folder_key: Mapped[str] = mapped_column(String(32))
    expected: Mapped[int] = mapped_column(Integer)  #: files that the folder should hold
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    __table_args__ = (Index("ix_manifests_folder_key", "folder_key"),)


class ManifestEntry(Base):
    """One file that a manifest names."""

    __tablename__ = "manifest_entries"
    manifest_id: Mapped[str] = mapped_column(ForeignKey("manifests.id"), primary_key=True)
    path_key: Mapped[str] = mapped_column(String(32), primary_key=True)
    sha256: Mapped[str | None] = mapped_column(String(64))
    __table_args__ = (Index("ix_manifest_entries_path_key", "path_key"),)


class Job(Base):
    """One model version's reading of one set of inputs: the unit of idempotency."""

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"))
    input_digest: Mapped[str] = mapped_column(String(64))
    model: Mapped[str] = mapped_column(String(64))
    model_version: Mapped[str] = mapped_column(String(32))
    weights_sha256: Mapped[str] = mapped_column(String(64))
    lane: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    token: Mapped[str | None] = mapped_column(String(32))  #: fences the lease: only its holder concludes
    worker: Mapped[str | None] = mapped_column(String(64))
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    not_before: Mapped[datetime | None] = mapped_column(UtcDateTime)  #: a retry waits until then
    error: Mapped[str | None] = mapped_column(Text)  #: kind and place of the last failure, no message
    device: Mapped[str | None] = mapped_column(String(32))
    backend: Mapped[str | None] = mapped_column(String(32))  #: what computed it: torch-fp32, ...
    seconds: Mapped[dict[str, float] | None] = mapped_column(JSON)  #: by stage
    revision_id: Mapped[str | None] = mapped_column(String(32))  #: the series revision it reads, if any
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    queued_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    __table_args__ = (
        UniqueConstraint("input_digest", "model", "model_version", "weights_sha256", name="uq_jobs_identity"),
        Index("ix_jobs_state", "state", "model", "lane", "created_at"),
        Index("ix_jobs_case_id", "case_id"),
        Index("ix_jobs_revision_id", "revision_id"),
        # what a worker asks for at every claim: the oldest waiting job of a lane
        Index("ix_jobs_waiting", "lane", "created_at", sqlite_where=WAITING, postgresql_where=WAITING),
    )


class JobInput(Base):
    """Which evidence a job reads, in order."""

    __tablename__ = "job_inputs"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    evidence_id: Mapped[str] = mapped_column(ForeignKey("evidence.id"))
    __table_args__ = (Index("ix_job_inputs_evidence_id", "evidence_id"),)


class Result(Base):
    """One typed finding, or one abstention, of a concluded job."""

    __tablename__ = "results"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)  #: <job>-<position>
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    position: Mapped[int] = mapped_column(Integer)
    code: Mapped[str | None] = mapped_column(String(64))
    system: Mapped[str | None] = mapped_column(String(128))
    meaning: Mapped[str | None] = mapped_column(String(256))
    positive: Mapped[bool | None] = mapped_column(Boolean)
    probability: Mapped[float | None] = mapped_column(Float(53))
    threshold: Mapped[float | None] = mapped_column(Float(53))
    value: Mapped[float | None] = mapped_column(Float(53))
    unit: Mapped[str | None] = mapped_column(String(32))
    laterality: Mapped[str | None] = mapped_column(String(32))
    site: Mapped[str | None] = mapped_column(String(128))
    qualifier: Mapped[str | None] = mapped_column(String(32))
    abstained: Mapped[bool] = mapped_column(Boolean)
    reason: Mapped[str | None] = mapped_column(Text)
    evidence: Mapped[dict[str, Any]] = mapped_column(JSON)
    status: Mapped[str] = mapped_column(String(16))  #: preliminary; superseded by a later revision's
    partial: Mapped[bool | None] = mapped_column(Boolean)  #: read from a series that was not whole
    supersedes: Mapped[str | None] = mapped_column(String(32))  #: the job whose results it replaces
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    __table_args__ = (UniqueConstraint("job_id", "position"), Index("ix_results_created_at", "created_at"))


class Artifact(Base):
    """A picture or table that is evidence, archived under its digest."""

    __tablename__ = "artifacts"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))


class AuditEntry(Base):
    """One step, chained to the one before; triggers refuse its change or removal."""

    __tablename__ = "audit"
    seq: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False
    )
    at: Mapped[str] = mapped_column(String(32))  #: UTC, ISO 8601, as hashed
    subject: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(32))
    detail: Mapped[str] = mapped_column(Text)  #: JSON text, as hashed
    previous: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))
    __table_args__ = (Index("ix_audit_subject", "subject"),)


class AuditHead(Base):
    """The last entry of the chain; its row lock orders the writers."""

    __tablename__ = "audit_head"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[str] = mapped_column(String(64))


class Service(Base):
    """A running service's last sign of life."""

    __tablename__ = "services"
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    pid: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(String(16))
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    heartbeat_at: Mapped[datetime] = mapped_column(UtcDateTime)
    detail: Mapped[dict[str, Any]] = mapped_column(JSON)
