"""The records that travel between the rooms: frozen, typed, without SQL and without arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class FileState(StrEnum):
    """Where a file ever seen in the inbox stands; every file is in exactly one state."""

    PENDING = "pending"  #: seen, not yet whole or not yet read
    READY = "ready"  #: read and recorded; some of its jobs are not concluded
    DONE = "done"  #: recorded and every job it owes is concluded
    QUARANTINED = "quarantined"  #: refused with a reason
    DUPLICATE = "duplicate"  #: the same bytes were accepted before
    IGNORED = "ignored"  #: an operating system's dropping, a consumed sidecar, or withdrawn by its sender


class JobState(StrEnum):
    """Where one model version's reading of one set of inputs stands."""

    OWED = "owed"  #: recorded in SQL, not yet hinted to Redis
    QUEUED = "queued"  #: hinted to Redis
    RUNNING = "running"  #: claimed by a worker under a lease
    DONE = "done"
    ABSTAINED = "abstained"
    FAILED = "failed"  #: attempts used up, or our own bug


class Whole(StrEnum):
    """Where a series or a study stands on its way to being whole."""

    WAITING = "waiting"  #: more may come
    COMPLETE = "complete"
    PARTIAL = "partial"  #: something lacks, and it is read all the same, flagged
    QUARANTINED = "quarantined"  #: something lacks, and it is not read


class Kind(StrEnum):
    """What an input is."""

    IMAGE = "image"
    NOTE = "note"
    DOCUMENT = "document"  #: a DICOM object without pixels: kept and shown, read by no model
    TABLE = "table"  #: one patient's named values: signs, symptoms, laboratory, history
    VARIANTS = "variants"  #: genotypes of one person, as variants or star alleles
    EXPRESSION = "expression"  #: one sample's gene expressions
    SEQUENCE = "sequence"  #: DNA or protein sequences
    RECORDING = "recording"  #: an ECG's leads over time
    MOLECULE = "molecule"  #: chemical structures


@dataclass(frozen=True, kw_only=True)
class Code:
    """A coded concept, as `(value, system, meaning)`; system is the FHIR URI of the terminology."""

    value: str
    system: str
    meaning: str


SNOMED = "http://snomed.info/sct"
ICD10CM = "http://hl7.org/fhir/sid/icd-10-cm"
LOINC = "http://loinc.org"
WETREAD = "https://wetread.dev/codes"  #: concepts that no terminology names; listed on the model's card


@dataclass(frozen=True, kw_only=True, repr=False)
class Identity:
    """Who a patient is. Lives in the identities table alone; never printed, hence no repr."""

    number: str  #: patient ID or medical record number
    issuer: str = ""  #: assigning authority of the number
    name: str = ""
    birth_date: str = ""  #: YYYYMMDD


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One input as a reader found it: whose, which, and the facts that routing and people need.

    `case_key` and `identity` are a patient's; the store turns both into keyed pseudonyms. `facts`
    hold nothing that names a person: no free text, no dates of birth, no device serials.
    """

    kind: Kind
    uid: str = ""  #: SOPInstanceUID; empty for notes, which are known by their digest
    case_key: str = ""  #: accession number or StudyInstanceUID, encounter; empty: a case of its own
    identity: Identity | None = None
    study_uid: str = ""
    series_uid: str = ""
    facts: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
    content: str = ""  #: digest of pixels with their geometry, or of the words, without the header
    format: str = ""  #: the reader module that read it; empty: `note` for a note, else `dicom`
    also: tuple[Kind, ...] = ()  #: further kinds that the same file can be given to models as

    @property
    def reader(self) -> str:
        """The reader module that reads the archived bytes again."""
        return self.format or ("note" if self.kind is Kind.NOTE else "dicom")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One answer of a model about one input."""

    code: Code
    #: The question asked is answered yes: the probability reaches its threshold, or the rule fired. None
    #: where nothing was asked that could be yes or no: a volume, a dose, a rate, a genotype is measured.
    positive: bool | None
    probability: float | None = None  #: calibrated, 0..1
    threshold: float | None = None  #: operating point named by the card
    value: float | None = None  #: a measured or ordinal quantity, in `unit`
    unit: str | None = None  #: UCUM
    laterality: str | None = None
    site: str | None = None
    qualifier: str | None = None  #: how the input speaks of it: negated, uncertain, historical, family
    abstained: bool = False  #: this one question is left open although others are answered
    reason: str | None = None  #: "code: sentence" when abstained
    evidence: Mapping[str, object] = field(
        default_factory=dict
    )  #: JSON-able; offsets, words known to the model, artifact names


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """A model's whole answer to one input: findings, or the reason it abstained."""

    findings: tuple[Finding, ...] = ()
    abstained: bool = False
    reason: str | None = None  #: "code: sentence" when abstained; the code is kebab-case and stable
    artifacts: Mapping[str, bytes] = field(
        default_factory=dict
    )  #: name -> bytes; archived beside the input, named in evidence

    @classmethod
    def abstain(cls, code: str, sentence: str) -> Diagnosis:
        """The diagnosis that says why there is none."""
        return cls(abstained=True, reason=f"{code}: {sentence}")
