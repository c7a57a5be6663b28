"""What the molecule reader makes of lists of SMILES, and what it refuses."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from console import samples
from db.errors import Rejected
from db.records import Kind
from ingest.readers import molecule

SAMPLE = (Path(samples.__file__).parent / "molecule.smi").read_bytes()
ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"
EXAMPLES = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def refusal(data: bytes) -> Rejected:
    with pytest.raises(Rejected) as caught:
        molecule.payload(data)
    return caught.value


@pytest.mark.parametrize(
    "data",
    [
        f"{ASPIRIN} Clara's tablets\n\nO\n",
        f"SMILES name\r\n{ASPIRIN}\taspirin\r\nO\r\n",
        f"\ufeffname,Canonical SMILES,logP\naspirin,{ASPIRIN},1.2\nwater,O,\n",
        f'id\tsmiles\n1\t"{ASPIRIN}"\n\n2\tO',
        f"smiles\n{ASPIRIN}\nO",
        f'mol,CID,Class\n{ASPIRIN},BACE_1,1\n"O",BACE_2,0\n',
        f'smiles,name\n"{ASPIRIN} |$a,b$|",aspirin\nO,water\n',
    ],
)
def test_a_list_and_a_table_s_column_give_the_smiles_as_written(data: str) -> None:
    assert molecule.payload(data.encode()).smiles == (ASPIRIN, "O")


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (b"O\n\nC(C)(C)(C)(C)C\n", "bad-smiles", "line 3"),  # five bonds at a carbon
        (b"c1cccc1\n", "bad-smiles", "line 1"),  # five atoms of that kind are not aromatic
        (b"No pneumonia was seen.\n", "bad-smiles", "line 1"),
        (b"C1CC\n", "bad-smiles", "line 1"),
        ("Ć\n".encode(), "bad-smiles", "line 1"),
        (b"name,smiles\nwater\n", "bad-smiles", "line 2"),
        (b"name,smiles\nwater, \n", "bad-smiles", "line 2"),
        (b"mrn,smiles\n7,O\n", "mixed-table", "column 1"),
        (b"smiles,Age\nO,50\n", "mixed-table", "column 2"),
        (b"C" * 501 + b"\n", "too-long", "500 atoms"),
        (b"(" * 20_000 + b"\n", "too-long", "500 atoms"),
        (b"C12C3C4C1C5C2C3C45" + b".C12C3C4C1C5C2C3C45" * 30 + b"\n", "too-long", "rings"),  # cubanes
        (b"O\n" * 1001, "too-many", "1000"),
        (b"smiles,name\n", "empty", "molecule"),
        (b"O\0", "binary", "binary"),
        (b"name,smiles\n" + b'"' + b"x" * 200_000, "malformed", "line"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_molecule_is_refused_by_its_line(data: bytes, code: str, words: str) -> None:
    met = refusal(data)
    assert met.code == code
    assert words in met.sentence


def test_rdkit_s_complaint_does_not_quote_the_file(capfd: pytest.CaptureFixture[str]) -> None:
    met = refusal(b"Canary\n")
    assert "Canary" not in f"{met}{met.advice}"
    assert "".join(capfd.readouterr()) == ""


def test_the_facts_tell_how_many_and_how_large(tmp_path: Path) -> None:
    path = tmp_path / "x.smi"
    path.write_bytes(f"{ASPIRIN}\nO=C(C)Oc1ccccc1C(O)=O\nO\n".encode())
    found = molecule.read(path, parts=["encounter=E9"])
    assert found.facts == {"molecules": 3, "distinct": 2, "largest_atoms": 13}  # C9H8O4: 13 heavy atoms
    assert (found.kind, found.format, found.case_key) == (Kind.MOLECULE, "molecule", "E9")


def test_the_same_structures_are_the_same_content_however_written(tmp_path: Path) -> None:
    contents = []
    for place, smiles in enumerate(("OCC", "C(C)O x", "COC")):
        path = tmp_path / f"{place}.smi"
        path.write_text(smiles)
        contents.append(molecule.read(path).content)
    assert contents[0] == contents[1] != contents[2]


def test_it_is_claimed_by_its_heading_or_its_name() -> None:
    assert molecule.claims(SAMPLE, ".smi")
    assert molecule.claims(b"id,SMILES\n1,O\n", ".csv")
    assert molecule.claims(b"id,SMILES\n1,CCO\n", ".txt")
    assert molecule.claims(b"mol,CID,Class," + b"x," * 5000, ".csv")
    assert not molecule.claims(b"mol,age\n12.5,63\n", ".csv")
    assert not molecule.claims(b"Alert, smiles, plays.\nNo fever, no cough, no rash.\n", ".txt")
    assert not molecule.claims(SAMPLE, ".txt")
    assert not molecule.claims(b"age,sex\n5,M\n", ".csv")
    assert not molecule.claims(b"Smiles\n", ".txt")
    assert not molecule.claims(b"%PDF-1.7", ".smi")


def test_the_example_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.smi").write_bytes(SAMPLE)
    assert molecule.read(tmp_path / "x.smi").facts["molecules"] == 3


@EXAMPLES
@given(
    data=st.binary(max_size=60) | st.text("CNOcno[]()=#@%123+-./\\ HFl", max_size=60).map(str.encode),
    at=st.integers(0, len(SAMPLE)),
    cut=st.integers(0, 20),
    begins=st.sampled_from([b"", SAMPLE, b"id,smiles\n1,"]),
)
def test_damaged_and_random_bytes_are_read_or_refused(
    data: bytes, at: int, cut: int, begins: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "x.smi"
    path.write_bytes(begins[:at] + data + begins[at + cut :])
    molecule.whole(path)
    molecule.claims(path.read_bytes(), ".smi")
    with suppress(Rejected):
        found = molecule.payload(path.read_bytes())
        assert molecule.read(path).facts["molecules"] == len(found.smiles)
