"""The examples written out in docs/inputs.md and docs/readers.md are read as they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from db.records import Kind
from ingest import identify
from models.payloads import Note, Table

DOCS = Path(__file__).parents[2] / "docs"


def written(page: str, begins: str) -> str:
    """The block of a page that begins so."""
    blocks: list[str] = re.findall(r"^```\w*\n(.+?)^```$", (DOCS / page).read_text("utf-8"), re.M | re.S)
    (found,) = [block for block in blocks if block.startswith(begins)]
    return found


@pytest.mark.parametrize(
    ("begins", "suffix", "values"),
    [
        ("patient_id,", ".csv", {"height": 168.0, "cholesterol": 251.4, "temperature": 37.3}),
        ("{", ".json", {"age": 63.0, "glucose": 97.3}),  # 5.4 mmol/L x 18.016 mg/mmol / 10
    ],
)
def test_the_table_of_the_page_is_one_patient_s_values(
    begins: str, suffix: str, values: dict[str, float], tmp_path: Path
) -> None:
    path = tmp_path / f"table{suffix}"
    path.write_text(written("inputs.md", begins), "utf-8")
    reader = identify.by_name(identify.name_of(path, suffix))
    evidence = reader.read(path)
    assert evidence.identity is not None
    assert (evidence.kind, evidence.identity.number) == (Kind.TABLE, "DEMO-0003")
    told = reader.payload(path.read_bytes(), Kind.TABLE)
    assert isinstance(told, Table)
    assert {name: told.values[name] for name in values} == pytest.approx(values, rel=2e-3)


def test_the_header_of_the_page_s_note_says_whose_it_is_and_stays_out_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_text(written("readers.md", "MRN: "), "utf-8")
    reader = identify.by_name(identify.name_of(path, ".txt"))
    evidence = reader.read(path)
    assert evidence.identity is not None
    assert (evidence.identity.number, evidence.identity.birth_date) == ("4711", "19500102")
    told = reader.payload(path.read_bytes(), Kind.NOTE)
    assert isinstance(told, Note)
    assert told.text.strip().startswith("No pneumonia.")
