"""FHIR resources in JSON of which nothing is certain: found, and read field by field."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from db.errors import Rejected
from ingest import meanings
from ingest.plaintext import json_document

# Checked by hand rather than by fhir.resources: real exports break the specification in places that do not
# matter here (four of seventeen public bundles would be refused for a Questionnaire's options), and models of
# it cost 30 MB and up to 0.4 s a bundle, against 5 ms.

Resource = Mapping[str, Any]
_TYPE = re.compile(r"[A-Z][A-Za-z]{2,40}")
_ADVICE = "Validate it as FHIR R4 JSON and export it again."


def documents_of(text: str) -> list[Resource]:
    """The one document, or those of a list or of lines. Raises Rejected (`malformed`, `truncated`)."""
    lines = [line for line in text.split("\n") if line.strip()]
    by_line = len(lines) > 1 and lines[0].rstrip().endswith("}") and lines[1].lstrip().startswith("{")
    found = [json_document(line) for line in lines] if by_line else json_document(text)
    found = found if isinstance(found, list) else [found]
    if not found or not all(_is_resource(document) for document in found):
        raise Rejected("malformed", "a JSON object is no FHIR resource: it names no type", _ADVICE)
    return found


def _is_resource(found: object) -> bool:
    return isinstance(found, dict) and bool(_TYPE.fullmatch(string(found.get("resourceType"))))


def resources_of(found: Resource, depth: int = 0) -> Iterator[tuple[tuple[str, ...], Resource]]:
    """(names it may be referred to by, resource), with those in Bundles and those contained.

    Raises Rejected `malformed`.
    """
    own = f"{found['resourceType']}/{string(found.get('id'))}"
    yield (own,), found
    if found["resourceType"] != "Bundle" or depth > 3:
        for inner in children(found, "contained"):
            if _is_resource(inner):
                yield (f"#{string(inner.get('id'))}",), inner
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
        for names, inner in resources_of(resource, depth + 1):
            yield (*names, *([string(entry.get("fullUrl"))] if inner is resource else [])), inner


def spelled(concept: Resource) -> Iterator[str]:
    """A concept as its codes, their meanings and its text."""
    for coding in children(concept, "coding"):
        yield from (string(coding.get("code")), string(coding.get("display")))
    yield string(concept.get("text"))


def string(found: object) -> str:
    """The string that it is, else ""."""
    return found if isinstance(found, str) else ""


def child(found: Resource, name: str) -> Resource:
    """The object under a name, else an empty one."""
    inner = found.get(name)
    return inner if isinstance(inner, dict) else {}


def children(found: Resource, name: str) -> list[Resource]:
    """The objects under a name, be it a list or one."""
    inner = found.get(name)
    return [one for one in (inner if isinstance(inner, list) else [inner]) if isinstance(one, dict)]


def codes_of(found: Resource, name: str) -> list[str]:
    """A concept's codes as `system|code`."""
    return [
        f"{meanings.SYSTEMS.get(system, system)}|{string(coding.get('code'))}"
        for coding in children(child(found, name), "coding")
        for system in [string(coding.get("system"))]
    ]
