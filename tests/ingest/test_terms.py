"""Code strings: the standard's words are recorded, and no other, which may be somebody's name."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from pydicom.sr.codedict import codes

from builders import dicom_bytes
from ingest.readers import dicom
from ingest.terms import OTHER, TERMS, known
from ingest.volume import assemble


def test_the_modalities_are_all_of_the_standard_s() -> None:
    standard = {getattr(codes.cid33, name).value for name in codes.cid33.dir()}  # PS3.16 CID 33
    assert standard <= TERMS["modality"]


def test_the_body_parts_are_all_of_the_standard_s() -> None:
    where = find_spec("highdicom")
    assert where is not None
    assert where.origin is not None
    table = Path(where.origin).parent / "_standard" / "anatomic_regions.json"  # PS3.16 table L-1
    assert set(json.loads(table.read_text())) <= TERMS["body_part"]


@pytest.mark.parametrize(
    ("fact", "word"),
    [("body_part", "C SPINE"), ("body_part", "HEAD_NECK"), ("view_position", "AP AXIAL"),
     ("photometric", "PALETTE COLOR"), ("image_type", "PROJECTION IMAGE"), ("modality", "")],
)  # fmt: skip
def test_a_term_in_several_words_is_kept_as_it_is_written(fact: str, word: str) -> None:
    assert known(fact, word) == word


def test_a_name_in_a_code_string_is_not_recorded(tmp_path: Path) -> None:
    written = dicom_bytes(
        modality="CANARY", body_part="CANARY CLARA", view="CLARA", ImageLaterality="CLARA",
        ImageType=["ORIGINAL", "PRIMARY", "CANARY"],
    )  # fmt: skip
    (tmp_path / "a.dcm").write_bytes(written)
    facts = dicom.read(tmp_path / "a.dcm").facts
    assert [facts[f] for f in ("modality", "body_part", "view_position", "laterality")] == [OTHER] * 4
    assert facts["image_type"] == "ORIGINAL\\PRIMARY\\OTHER"


def test_a_name_for_a_modality_reaches_no_model() -> None:
    named = {"modality": "CANARY", "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
    slices = [dicom_bytes(**named, ImagePositionPatient=[0, 0, z]) for z in range(3)]  # type: ignore[arg-type]
    assert dicom.payload(slices[0]).modality == OTHER
    assert assemble(slices).modality == OTHER
