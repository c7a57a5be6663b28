"""FHIR R4 in JSON: a Bundle, a single resource, or resources line by line; values, genotypes and texts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from db.errors import Rejected
from db.records import Evidence, Kind
from ingest import coded, markup
from ingest.coded import Record, moment
from ingest.owners import own
from ingest.plaintext import bounded, decoded, last, loaded
from ingest.resources import Resource, child, children, codes_of, documents_of, resources_of, spelled, string
from models.payloads import Payload

SUFFIXES = frozenset((".json", ".ndjson", ".fhir"))
MAX_BYTES = 32 * 2**20
RESOURCES = 50_000
_JSON = re.compile(rb"\s*[\[{]")
_VOID = frozenset(("entered-in-error", "cancelled", "registered", "refuted", "unknown"))
_OVER = frozenset(("inactive", "resolved", "remission"))
_TAKEN = frozenset(("active", "on-hold", "intended", ""))

# what a file is recorded as; any other word may be anybody's name
_KNOWN = frozenset((
    *("AllergyIntolerance", "Appointment", "Binary", "Bundle", "CarePlan", "Claim", "Communication"),
    *("Composition", "Condition", "Coverage", "Device", "DiagnosticReport", "DocumentReference"),
    *("Encounter", "EpisodeOfCare", "FamilyMemberHistory", "Goal", "Group", "ImagingStudy"),
    *("Immunization", "List", "Location", "Media", "Medication", "MedicationAdministration"),
    *("MedicationDispense", "MedicationRequest", "MedicationStatement", "MessageHeader"),
    *("MolecularSequence", "NutritionOrder", "Observation", "Organization", "Parameters", "Patient"),
    *("Practitioner", "Procedure", "Provenance", "Questionnaire", "QuestionnaireResponse"),
    *("RelatedPerson", "RiskAssessment", "ServiceRequest", "Specimen", "Task"),
))  # fmt: skip


def claims(head: bytes, suffix: str) -> bool:
    """Whether a file so begun is JSON that names its resource's type; its name is no evidence."""
    return _JSON.match(head.removeprefix(b"\xef\xbb\xbf")) is not None and b'"resourceType"' in head


def whole(path: Path) -> str | None:
    """None when the document's last bracket is there."""
    return None if last(path)[-1:] in (b"}", b"]") else "the JSON document has not reached its last bracket"


def read(path: Path, *, sidecar: bytes | None = None, parts: Sequence[str] = ()) -> Evidence:
    """Whose the resources are, and which features, genes and texts they hold.

    A table where any value is known but age and sex, else a note where there is text, else a document.
    Raises Rejected (`too-large`, `empty`, `binary`, `undecodable-text`, `truncated`, `malformed`,
    `several-patients`, `unsupported-body`, `bad-sidecar`, `contradiction`) and OSError.
    """
    return coded.evidence(_record(loaded(path, MAX_BYTES)), sidecar, parts)


def payload(data: bytes, kind: Kind) -> Payload:
    """The values as Table, the genotypes as Variants, or the texts as Note.

    Raises Rejected as `read` does, and `wrong-kind` when it holds no such thing.
    """
    return coded.payload(_record(bounded(data, MAX_BYTES)), kind)


def _record(data: bytes) -> Record:
    text = decoded(data)
    documents = documents_of(text)
    resources = [found for document in documents for found in resources_of(document)]
    if len(resources) > RESOURCES:
        raise Rejected("too-large", f"it holds more than {RESOURCES} resources", "Split it.")
    kind = documents[0]["resourceType"]
    record = Record(
        format="fhir", facts={"resource": kind if kind in _KNOWN else "other", "resources": len(resources)}
    )
    record.uid = _sameness(documents[0])
    record.date = moment(string(documents[0].get("timestamp")))
    own(record, resources, _HEARD)
    named = {name: found for names, found in resources for name in names}
    for _, found in resources:
        _HEARD.get(found["resourceType"], _nothing)(record, found, named)
    record.close()
    return record


def _sameness(document: Resource) -> str:
    """A message's or document's own identifier; a collection or transaction has none that is its own."""
    identifier = child(document, "identifier")
    if document.get("type") not in ("message", "document") or not (value := string(identifier.get("value"))):
        return ""
    return coded.sameness("fhir", string(identifier.get("system")), value)


# ── what they say ─────────────────────────────────────────────────────────────────────────────────


def _nothing(record: Record, found: Resource, named: Mapping[str, Resource]) -> None:
    """What is not listened to: plans, claims, people."""


def _observation(record: Record, found: Resource, named: Mapping[str, Resource]) -> None:
    if string(found.get("status")) in _VOID or found.get("focus"):
        return
    period = child(found, "effectivePeriod")
    dates = (found.get("effectiveDateTime"), found.get("effectiveInstant"), period.get("end"),
             period.get("start"), found.get("issued"))  # fmt: skip
    when = next((at for value in dates if (at := moment(string(value)))), "")
    _genotype(record, found)
    for part in (found, *children(found, "component")):
        quantity = child(part, "valueQuantity")
        unit = string(quantity.get("code")) or string(quantity.get("unit"))
        cells = ["a limit"] if quantity.get("comparator") else _cells(part, quantity)
        record.observe(codes_of(part, "code"), cells, unit, when)


def _cells(part: Resource, quantity: Resource) -> list[object]:
    """The value, in the spellings that it has."""
    found: list[object] = [quantity["value"]] if "value" in quantity else []
    found += [part[name] for name in ("valueString", "valueInteger") if name in part]
    found += ["yes" if part["valueBoolean"] is True else "no"] if "valueBoolean" in part else []
    return found + list(spelled(child(part, "valueCodeableConcept")))


def _genotype(record: Record, found: Resource) -> None:
    """A diplotype of one gene, after the Genomics Reporting guide."""
    if not coded.DIPLOTYPES & set(codes_of(found, "code")):
        return
    genes = [
        word
        for part in children(found, "component")
        if coded.GENE_STUDIED in codes_of(part, "code")
        for word in (*spelled(child(part, "valueCodeableConcept")), string(part.get("valueString")))
    ]
    spellings = [string(found.get("valueString")), *spelled(child(found, "valueCodeableConcept"))]
    for gene in dict.fromkeys(filter(None, genes)):
        for text in filter(None, spellings):
            record.diplotype(gene, text.removeprefix(gene).strip())


def _condition(record: Record, found: Resource, named: Mapping[str, Resource]) -> None:
    if {"refuted", "entered-in-error"} & set(spelled(child(found, "verificationStatus"))):
        return
    if not _OVER & set(spelled(child(found, "clinicalStatus"))):
        dates = (found.get("recordedDate"), found.get("onsetDateTime"))
        record.present(codes_of(found, "code"), next((w for d in dates if (w := moment(string(d)))), ""))
    for note in children(found, "note"):
        record.say(string(note.get("text")))


def _medication(record: Record, found: Resource, named: Mapping[str, Resource]) -> None:
    if string(found.get("status")) not in _TAKEN or found.get("doNotPerform"):
        return
    source = named.get(string(child(found, "medicationReference").get("reference")), {})
    codes = [*codes_of(found, "medicationCodeableConcept"), *codes_of(source, "code")]
    names = [*spelled(child(found, "medicationCodeableConcept")), *spelled(child(source, "code"))]
    when = moment(string(found.get("authoredOn")) or string(found.get("effectiveDateTime")))
    record.takes(codes, names, when)


def _document(record: Record, found: Resource, named: Mapping[str, Resource]) -> None:
    if string(found.get("status")) in _VOID or found.get("docStatus") == "entered-in-error":
        return
    _kind_of(record, child(found, "type"))
    record.date = record.date or moment(string(found.get("date")))
    for content in children(found, "content"):
        _attachment(record, child(content, "attachment"), named)


def _report(record: Record, found: Resource, named: Mapping[str, Resource]) -> None:
    if string(found.get("status")) in _VOID:
        return
    before = len(record.texts)
    for form in children(found, "presentedForm"):
        _attachment(record, form, named)
    record.say(string(found.get("conclusion")))
    if len(record.texts) == before and not found.get("presentedForm"):
        narrative = child(found, "text")
        record.say(markup.stripped(string(narrative.get("div"))))
    if len(record.texts) > before:
        _kind_of(record, child(found, "code"))


def _composition(record: Record, found: Resource, named: Mapping[str, Resource]) -> None:
    if string(found.get("status")) in _VOID:
        return
    _kind_of(record, child(found, "type"))
    record.date = record.date or moment(string(found.get("date")))
    record.say("\n\n".join(_sections(found, 0)))


def _sections(found: Resource, depth: int) -> Iterator[str]:
    """Each section's title and words, those within after it."""
    for section in children(found, "section") if depth < 8 else ():
        words = markup.stripped(string(child(section, "text").get("div")))
        if words:
            yield f"{string(section.get('title'))}\n{words}".strip()
        yield from _sections(section, depth + 1)


def _attachment(record: Record, found: Resource, named: Mapping[str, Resource]) -> None:
    """A text in the resource itself or in a Binary beside it; what lies elsewhere is not fetched."""
    inside = named.get(string(found.get("url")), {})
    data = string(found.get("data")) or string(inside.get("data"))
    if data:
        record.embed(
            data, string(found.get("contentType")) or string(inside.get("contentType")) or "text/plain"
        )
    elif found.get("url"):
        record.unread += 1


def _kind_of(record: Record, concept: Resource) -> None:
    for coding in children(concept, "coding"):
        record.note_type = record.note_type or coded.NOTE_TYPES.get(string(coding.get("code")), "")


_HEARD = {
    "Observation": _observation, "Condition": _condition,
    "MedicationRequest": _medication, "MedicationStatement": _medication,
    "DocumentReference": _document, "DiagnosticReport": _report, "Composition": _composition,
}  # fmt: skip
