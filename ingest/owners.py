"""Whose FHIR resources are: the patient, the encounter and the accession that they speak of."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence

from db.errors import Rejected
from ingest.coded import Record
from ingest.plaintext import brief
from ingest.resources import Resource, child, children, string


def own(record: Record, named: Sequence[tuple[tuple[str, ...], Resource]], heard: Container[str]) -> None:
    """Patient, encounter and accession. Raises Rejected `several-patients`.

    named: resources and the names that others refer to them by; heard: the types whose subject counts.
    """
    resources = [found for _, found in named]
    patients = [(names, found) for names, found in named if found["resourceType"] == "Patient"]
    numbers = [_patient_number(found) for _, found in patients]
    spoken = [found for found in resources if found["resourceType"] in heard]
    aliases = {_tail(name) for names, found in patients for name in (*names, _patient_number(found))}
    others = _referred(spoken, "subject", "patient") - aliases
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
        string(one.get("value"))
        for found in resources
        for one in children(found, "identifier")
        if "ACSN" in _types(one)
    } - {""}
    if len(accessions) == 1:
        record.owner["accession"] = brief(accessions.pop())
    record.owner = {key: value for key, value in record.owner.items() if value}


def _patient(record: Record, found: Resource) -> None:
    identifier = _identifier(found)
    names = children(found, "name")
    name = next((n for n in names if n.get("use") == "official"), names[0] if names else {})
    given = (
        [word for word in name.get("given", []) if isinstance(word, str)]
        if isinstance(name.get("given"), list)
        else []
    )
    birth = string(found.get("birthDate"))
    record.birth = birth.replace("-", "") if re.fullmatch(r"\d{4}-\d\d-\d\d", birth) else ""
    record.sex = gender if (gender := string(found.get("gender"))) in ("male", "female") else ""
    record.owner |= {
        "number": brief(_patient_number(found)),
        "issuer": brief(
            string(identifier.get("system")) or string(child(identifier, "assigner").get("display"))
        ),
        "name": brief("^".join((string(name.get("family")), *given)).strip("^") or string(name.get("text"))),
        "birth_date": record.birth,
    }


def _patient_number(found: Resource) -> str:
    return string(_identifier(found).get("value")) or string(found.get("id"))


def _identifier(found: Resource) -> Resource:
    """A patient's medical record number, else the official identifier, else the first with a value."""
    known = [one for one in children(found, "identifier") if string(one.get("value"))]
    ranked = [one for one in known if "MR" in _types(one)] + [
        one for one in known if one.get("use") == "official"
    ]
    return next(iter(ranked + known), {})


def _types(identifier: Resource) -> set[str]:
    return {string(coding.get("code")) for coding in children(child(identifier, "type"), "coding")}


def _visits(resources: Sequence[Resource]) -> set[str]:
    """The encounters that are spoken of: the document's own first."""
    met = [found for found in resources if found["resourceType"] == "Encounter"]
    aliases = {string(found.get("id")): _visit(found) for found in met}
    about = [found for found in resources if found["resourceType"] == "Composition"]
    own = {aliases.get(name, name) for name in _referred(about, "encounter")}
    return own or {_visit(f) for f in met} or _referred(resources, "encounter")


def _visit(found: Resource) -> str:
    return next(
        (v for one in children(found, "identifier") if (v := string(one.get("value")))), ""
    ) or string(found.get("id"))


def _referred(resources: Iterable[Resource], *fields: str) -> set[str]:
    """What is referred to in these fields: identifiers, or the last part of references."""
    found = set()
    for resource in resources:
        for name in fields:
            for one in children(resource, name) or children(child(resource, "context"), name):
                reference = string(one.get("reference"))
                if not re.search(r"\?|(Group|Device|Location|Substance)/", reference):
                    found.add(string(child(one, "identifier").get("value")) or _tail(reference))
    return found - {""}


def _tail(reference: str) -> str:
    """`7` of `Patient/7/_history/1`, of `urn:uuid:7` and of `#7`."""
    return re.split(r"[/:#]", reference.partition("/_history")[0])[-1]
