"""Codes and names of coded records stand for the dictionary's features."""

from __future__ import annotations

import pytest

from tests.fhir_resources import bundle, observation, values


@pytest.mark.parametrize(
    ("system", "code", "display", "feature"),
    [
        ("http://www.nlm.nih.gov/research/umls/rxnorm", "703", "", "amiodarone_use"),
        ("http://www.whocc.no/atc", "C01BD01", "", "amiodarone_use"),
        (
            "http://www.nlm.nih.gov/research/umls/rxnorm",
            "314231",
            "simvastatin 10 MG Oral Tablet",
            "statin_use",
        ),
        ("", "", "Fluconazol 1A, fluconazole 50 mg", "azole_or_sulphonamide_use"),
        ("", "", "ketoconazole 20 MG/ML Medicated Shampoo", ""),
        ("", "", "aspirin-free pain relief", ""),
        ("", "", "metoprolol 50 mg", ""),
    ],
)
def test_a_medication_is_told_by_its_substance(system: str, code: str, display: str, feature: str) -> None:
    concept = {"coding": [{"system": system, "code": code, "display": display}]}
    order = {"resourceType": "MedicationRequest", "status": "active", "medicationCodeableConcept": concept}
    medication = {"resourceType": "Medication", "id": "m", "code": concept}
    referred = {"resourceType": "MedicationStatement", "status": "active",
                "medicationReference": {"reference": "Medication/m"}}  # fmt: skip
    weight = observation("29463-7", 80, "kg")
    told = {"weight": 80} | ({feature: "yes"} if feature else {})
    assert values(bundle(weight, order)) == told
    assert values(bundle(weight, referred, medication)) == told
    assert values(bundle(weight, order | {"status": "stopped"})) == {"weight": 80}


@pytest.mark.parametrize(
    ("system", "code", "feature"),
    [
        ("http://snomed.info/sct", "44054006", "diabetes"),
        ("http://hl7.org/fhir/sid/icd-10-cm", "E11.65", "diabetes"),
        ("http://hl7.org/fhir/sid/icd-10", "F03", "dementia"),
        ("http://hl7.org/fhir/sid/icd-10-cm", "I50.22", "heart_failure"),
        ("http://hl7.org/fhir/sid/icd-9-cm", "428.0", "heart_failure"),
        ("http://hl7.org/fhir/sid/icd-10-cm", "Z95.2", "heart_valve_replaced"),
    ],
)
def test_a_condition_is_known_by_the_codes_that_hospitals_use(system: str, code: str, feature: str) -> None:
    condition = {"resourceType": "Condition", "code": {"coding": [{"system": system, "code": code}]}}
    assert values(bundle(observation("29463-7", 80, "kg"), condition)) == {"weight": 80, feature: "yes"}
