"""FHIR R4 in JSON: a Bundle, a single resource, or resources line by line; values, genotypes and texts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from db.errors import Rejected
from db.records import Evidence, Kind
from ingest import coded, markup
from ingest.coded import Record, moment
from ingest.plaintext import bounded, brief, decoded, json_document, last, loaded
from models.payloads import Payload

SUFFIXES = frozenset((".json", ".ndjson", ".fhir"))
MAX_BYTES = 32 * 2**20
RESOURCES = 50_000
_JSON = re.compile(rb"\s*[\[{]")
_TYPE = re.compile(r"[A-Z][A-Za-z]{2,40}")
_ADVICE = "Validate it as FHIR R4 JSON and export it again."
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

Resource = Mapping[str, Any]


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


# ── resources ─────────────────────────────────────────────────────────────────────────────────────
# Checked by hand rather than by fhir.resources: real exports break the specification in places that do not
# matter here (four of seventeen public bundles would be refused for a Questionnaire's options), and models of
# it cost 30 MB and up to 0.4 s a bundle, against 5 ms.


def _record(data: bytes) -> Record:
    text = decoded(data)
    documents = _documents(text)
    resources = [found for document in documents for found in _resources(document, 0)]
    if len(resources) > RESOURCES:
        raise Rejected("too-large", f"it holds more than {RESOURCES} resources", "Split it.")
    kind = documents[0]["resourceType"]
    record = Record(
        format="fhir", facts={"resource": kind if kind in _KNOWN else "other", "resources": len(resources)}
    )
    record.uid = _sameness(documents[0])
    record.date = moment(_text(documents[0].get("timestamp")))
    _own(record, resources)
    named = {name: found for names, found in resources for name in names}
    for _, found in resources:
        _HEARD.get(found["resourceType"], _nothing)(record, found, named)
    record.close()
    return record


def _documents(text: str) -> list[Resource]:
    """The one document, or those of a list or of lines. Raises Rejected."""
    lines = [line for line in text.split("\n") if line.strip()]
    by_line = len(lines) > 1 and lines[0].rstrip().endswith("}") and lines[1].lstrip().startswith("{")
    found = [json_document(line) for line in lines] if by_line else json_document(text)
    found = found if isinstance(found, list) else [found]
    if not found or not all(_is_resource(document) for document in found):
        raise Rejected("malformed", "a JSON object is no FHIR resource: it names no type", _ADVICE)
    return found


def _is_resource(found: object) -> bool:
    return isinstance(found, dict) and bool(_TYPE.fullmatch(_text(found.get("resourceType"))))


def _resources(found: Resource, depth: int) -> Iterator[tuple[tuple[str, ...], Resource]]:
    """(names it may be referred to by, resource), with those in Bundles and those contained."""
    own = f"{found['resourceType']}/{_text(found.get('id'))}"
    yield (own,), found
    if found["resourceType"] != "Bundle" or depth > 3:
        for inner in _all(found, "contained"):
            if _is_resource(inner):
                yield (f"#{_text(inner.get('id'))}",), inner
        return
    entries = found.get("entry", [])
    if not isinstance(entries, list):
        raise Rejected("malformed", "the Bundle's entries are no list", _ADVICE)
    for number, entry in enumerate(entries, 1):
        resource = entry.get("resource") if isinstance(entry, dict) else found
        if resource is None:
            continue
        if resource is found or not _is_resource(resource):
            raise Rejected("malformed", f"entry {number} of the Bundle holds no resource", _ADVICE)
        for names, inner in _resources(resource, depth + 1):
            yield (*names, *([_text(entry.get("fullUrl"))] if inner is resource else [])), inner


def _sameness(document: Resource) -> str:
    """A message's or document's own identifier; a collection or transaction has none that is its own."""
    identifier = _dict(document, "identifier")
    if document.get("type") not in ("message", "document") or not (value := _text(identifier.get("value"))):
        return ""
    return coded.sameness("fhir", _text(identifier.get("system")), value)


# ── whose ─────────────────────────────────────────────────────────────────────────────────────────


def _own(record: Record, named: Sequence[tuple[tuple[str, ...], Resource]]) -> None:
    """Patient, encounter and accession. Raises Rejected `several-patients`."""
    resources = [found for _, found in named]
    patients = [(names, found) for names, found in named if found["resourceType"] == "Patient"]
    numbers = [_patient_number(found) for _, found in patients]
    heard = [found for found in resources if found["resourceType"] in _HEARD]
    aliases = {_tail(name) for names, found in patients for name in (*names, _patient_number(found))}
    others = _referred(heard, "subject", "patient") - aliases
    if len(set(numbers)) + len(others) > 1 or (len(numbers) > 1 and "" in numbers):
        raise Rejected("several-patients", "it speaks of more than one patient", "Send a file for each.")
    if patients:
        _patient(record, patients[0][1])
    elif others:
        record.owner["number"] = brief(others.pop())
    visits = _visits(resources)
    if len(visits) == 1:
        record.owner["encounter"] = brief(visits.pop())
    accessions = {
        _text(one.get("value"))
        for found in resources
        for one in _all(found, "identifier")
        if "ACSN" in _types(one)
    } - {""}
    if len(accessions) == 1:
        record.owner["accession"] = brief(accessions.pop())
    record.owner = {key: value for key, value in record.owner.items() if value}


def _patient(record: Record, found: Resource) -> None:
    identifier = _identifier(found)
    names = _all(found, "name")
    name = next((n for n in names if n.get("use") == "official"), names[0] if names else {})
    given = (
        [word for word in name.get("given", []) if isinstance(word, str)] if _is_list(name, "given") else []
    )
    birth = _text(found.get("birthDate"))
    record.birth = birth.replace("-", "") if re.fullmatch(r"\d{4}-\d\d-\d\d", birth) else ""
    record.sex = gender if (gender := _text(found.get("gender"))) in ("male", "female") else ""
    record.owner |= {
        "number": brief(_patient_number(found)),
        "issuer": brief(
            _text(identifier.get("system")) or _text(_dict(identifier, "assigner").get("display"))
        ),
        "name": brief("^".join((_text(name.get("family")), *given)).strip("^") or _text(name.get("text"))),
        "birth_date": record.birth,
    }


def _patient_number(found: Resource) -> str:
    return _text(_identifier(found).get("value")) or _text(found.get("id"))


def _identifier(found: Resource) -> Resource:
    """A patient's medical record number, else the official identifier, else the first with a value."""
    known = [one for one in _all(found, "identifier") if _text(one.get("value"))]
    ranked = [one for one in known if "MR" in _types(one)] + [
        one for one in known if one.get("use") == "official"
    ]
    return next(iter(ranked + known), {})


def _types(identifier: Resource) -> set[str]:
    return {_text(coding.get("code")) for coding in _all(_dict(identifier, "type"), "coding")}


def _visits(resources: Sequence[Resource]) -> set[str]:
    """The encounters that are spoken of: the document's own first."""
    met = [found for found in resources if found["resourceType"] == "Encounter"]
    aliases = {_text(found.get("id")): _visit(found) for found in met}
    about = [found for found in resources if found["resourceType"] == "Composition"]
    own = {aliases.get(name, name) for name in _referred(about, "encounter")}
    return own or {_visit(f) for f in met} or _referred(resources, "encounter")


def _visit(found: Resource) -> str:
    return next((v for one in _all(found, "identifier") if (v := _text(one.get("value")))), "") or _text(
        found.get("id")
    )


def _referred(resources: Iterable[Resource], *fields: str) -> set[str]:
    """What is referred to in these fields: identifiers, or the last part of references."""
    found = set()
    for resource in resources:
        for name in fields:
            for one in _all(resource, name) or _all(_dict(resource, "context"), name):
                reference = _text(one.get("reference"))
                if not re.search(r"\?|(Group|Device|Location|Substance)/", reference):
                    found.add(_text(_dict(one, "identifier").get("value")) or _tail(reference))
    return found - {""}


def _tail(reference: str) -> str:
    """`7` of `Patient/7/_history/1`, of `urn:uuid:7` and of `#7`."""
    return re.split(r"[/:#]", reference.partition("/_history")[0])[-1]


# ── what they say ─────────────────────────────────────────────────────────────────────────────────


def _nothing(record: Record, found: Resource, named: Mapping[str, Resource]) -> None:
    """What is not listened to: plans, claims, people."""


def _observation(record: Record, found: Resource, named: Mapping[str, Resource]) -> None:
    if _text(found.get("status")) in _VOID or found.get("focus"):
        return
    period = _dict(found, "effectivePeriod")
    dates = (found.get("effectiveDateTime"), found.get("effectiveInstant"), period.get("end"),
             period.get("start"), found.get("issued"))  # fmt: skip
    when = next((at for value in dates if (at := moment(_text(value)))), "")
    _genotype(record, found)
    for part in (found, *_all(found, "component")):
        quantity = _dict(part, "valueQuantity")
        if quantity.get("comparator"):
            record.left_out += bool(coded.meant(_codes(part, "code")))
            continue
        unit = _text(quantity.get("code")) or _text(quantity.get("unit"))
        record.observe(_codes(part, "code"), _cells(part, quantity), unit, when)


def _cells(part: Resource, quantity: Resource) -> list[object]:
    """The value, in the spellings that it has."""
    found: list[object] = [quantity["value"]] if "value" in quantity else []
    found += [part[name] for name in ("valueString", "valueInteger") if name in part]
    found += ["yes" if part["valueBoolean"] is True else "no"] if "valueBoolean" in part else []
    return found + list(_spelled(_dict(part, "valueCodeableConcept")))


def _spelled(concept: Resource) -> Iterator[str]:
    """A concept as its codes, their meanings and its text."""
    for coding in _all(concept, "coding"):
        yield from (_text(coding.get("code")), _text(coding.get("display")))
    yield _text(concept.get("text"))


def _genotype(record: Record, found: Resource) -> None:
    """A diplotype of one gene, after the Genomics Reporting guide."""
    if not coded.DIPLOTYPES & set(_codes(found, "code")):
        return
    genes = [
        word
        for part in _all(found, "component")
        if coded.GENE_STUDIED in _codes(part, "code")
        for word in (*_spelled(_dict(part, "valueCodeableConcept")), _text(part.get("valueString")))
    ]
    spellings = [_text(found.get("valueString")), *_spelled(_dict(found, "valueCodeableConcept"))]
    for gene in dict.fromkeys(filter(None, genes)):
        for text in filter(None, spellings):
            record.diplotype(gene, text.removeprefix(gene).strip())


def _condition(record: Record, found: Resource, named: Mapping[str, Resource]) -> None:
    if {"refuted", "entered-in-error"} & set(_spelled(_dict(found, "verificationStatus"))):
        return
    if not _OVER & set(_spelled(_dict(found, "clinicalStatus"))):
        dates = (found.get("recordedDate"), found.get("onsetDateTime"))
        record.present(_codes(found, "code"), next((w for d in dates if (w := moment(_text(d)))), ""))
    for note in _all(found, "note"):
        record.say(_text(note.get("text")))


def _medication(record: Record, found: Resource, named: Mapping[str, Resource]) -> None:
    if _text(found.get("status")) not in _TAKEN or found.get("doNotPerform"):
        return
    source = named.get(_text(_dict(found, "medicationReference").get("reference")), {})
    codes = [*_codes(found, "medicationCodeableConcept"), *_codes(source, "code")]
    record.present(codes, moment(_text(found.get("authoredOn")) or _text(found.get("effectiveDateTime"))))


def _document(record: Record, found: Resource, named: Mapping[str, Resource]) -> None:
    if _text(found.get("status")) in _VOID or found.get("docStatus") == "entered-in-error":
        return
    _kind_of(record, _dict(found, "type"))
    record.date = record.date or moment(_text(found.get("date")))
    for content in _all(found, "content"):
        _attachment(record, _dict(content, "attachment"), named)


def _report(record: Record, found: Resource, named: Mapping[str, Resource]) -> None:
    if _text(found.get("status")) in _VOID:
        return
    before = len(record.texts)
    for form in _all(found, "presentedForm"):
        _attachment(record, form, named)
    record.say(_text(found.get("conclusion")))
    if len(record.texts) == before and not found.get("presentedForm"):
        narrative = _dict(found, "text")
        record.say(markup.stripped(_text(narrative.get("div"))))
    if len(record.texts) > before:
        _kind_of(record, _dict(found, "code"))


def _composition(record: Record, found: Resource, named: Mapping[str, Resource]) -> None:
    if _text(found.get("status")) in _VOID:
        return
    _kind_of(record, _dict(found, "type"))
    record.date = record.date or moment(_text(found.get("date")))
    record.say("\n\n".join(_sections(found, 0)))


def _sections(found: Resource, depth: int) -> Iterator[str]:
    """Each section's title and words, those within after it."""
    for section in _all(found, "section") if depth < 8 else ():
        words = markup.stripped(_text(_dict(section, "text").get("div")))
        if words:
            yield f"{_text(section.get('title'))}\n{words}".strip()
        yield from _sections(section, depth + 1)


def _attachment(record: Record, found: Resource, named: Mapping[str, Resource]) -> None:
    """A text in the resource itself or in a Binary beside it; what lies elsewhere is not fetched."""
    inside = named.get(_text(found.get("url")), {})
    data = _text(found.get("data")) or _text(inside.get("data"))
    if data:
        record.embed(
            data, _text(found.get("contentType")) or _text(inside.get("contentType")) or "text/plain"
        )
    elif found.get("url"):
        record.unread += 1


def _kind_of(record: Record, concept: Resource) -> None:
    for coding in _all(concept, "coding"):
        record.note_type = record.note_type or coded.NOTE_TYPES.get(_text(coding.get("code")), "")


_HEARD = {
    "Observation": _observation, "Condition": _condition,
    "MedicationRequest": _medication, "MedicationStatement": _medication,
    "DocumentReference": _document, "DiagnosticReport": _report, "Composition": _composition,
}  # fmt: skip


# ── JSON of which nothing is certain ──────────────────────────────────────────────────────────────


def _text(found: object) -> str:
    return found if isinstance(found, str) else ""


def _dict(found: Resource, name: str) -> Resource:
    inner = found.get(name)
    return inner if isinstance(inner, dict) else {}


def _is_list(found: Resource, name: str) -> bool:
    return isinstance(found.get(name), list)


def _all(found: Resource, name: str) -> list[Resource]:
    """The objects under a name, be it a list or one."""
    inner = found.get(name)
    return [one for one in (inner if isinstance(inner, list) else [inner]) if isinstance(one, dict)]


def _codes(found: Resource, name: str) -> list[str]:
    """A concept's codes as `system|code`."""
    return [
        f"{coded.SYSTEMS.get(system, system)}|{_text(coding.get('code'))}"
        for coding in _all(_dict(found, name), "coding")
        for system in [_text(coding.get("system"))]
    ]
