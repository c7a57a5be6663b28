"""FHIR resources for tests, and the values that the reader finds in them."""

from __future__ import annotations

import base64
import json
from typing import Any

from db.records import Kind
from ingest.readers import fhir
from models.payloads import Table

LOINC = "http://loinc.org"


def observation(
    code: str, value: Any, unit: str = "", when: str = "2026-01-01", **more: Any
) -> dict[str, Any]:
    quantity = {"value": value, "code": unit} if unit else {"value": value}
    coding = {"system": LOINC, "code": code}
    return {
        "resourceType": "Observation", "status": "final", "code": {"coding": [coding]},
        "subject": {"reference": "Patient/7"}, "effectiveDateTime": when, "valueQuantity": quantity, **more,
    }  # fmt: skip


def patient(**more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": "7", "birthDate": "1950-01-02", "gender": "male", **more}


def report(**more: Any) -> dict[str, Any]:
    return {"resourceType": "DiagnosticReport", "status": "final", "code": {}, **more}


def bundle(*resources: dict[str, Any], **more: Any) -> bytes:
    entries = [{"resource": one} for one in resources]
    return json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries, **more}).encode()


def attached(data: bytes, media_type: str = "text/plain") -> dict[str, Any]:
    attachment = {"contentType": media_type, "data": base64.b64encode(data).decode()}
    return {"resourceType": "DocumentReference", "status": "current", "content": [{"attachment": attachment}]}


def values(data: bytes) -> dict[str, float | str]:
    found = fhir.payload(data, Kind.TABLE)
    assert isinstance(found, Table)
    return dict(found.values)
