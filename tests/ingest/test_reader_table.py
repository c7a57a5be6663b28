"""What the table reader makes of CSV and JSON, and what it refuses without telling a value."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db.errors import Rejected
from db.records import Evidence, Kind
from ingest import values as values_of
from ingest.readers import table
from models.payloads import Expression, Table, Variants
from models.pharmacogenomics.genotype import call
from models.pharmacogenomics.tables import tables

SAMPLE = Path(__file__).parents[2] / "console" / "samples" / "labs.csv"
CSV = (
    b"patient_id,encounter,age,sex,height [in],weight,CYP2C9,rs9923231,ward\n"
    b"P-7,E9,63,F,70,81.5,*1/*3,A/G,4\n"
)


@pytest.fixture
def read(tmp_path: Path):
    def reader(data: bytes, name: str = "t.csv", **more: object) -> Evidence:
        path = tmp_path / name
        path.write_bytes(data)
        return table.read(path, **more)

    return reader


def values(data: bytes) -> dict[str, float | str]:
    found = table.payload(data, Kind.TABLE)
    assert isinstance(found, Table)
    return dict(found.values)


def ending(read, data: bytes, name: str) -> tuple[str, str]:
    """A kind, or the code of a refusal, and all that is told."""
    try:
        return read(data, name).kind.value, ""
    except Rejected as why:
        return why.code if why.advice else "without advice", f"{why} {why.advice}"


def refusal(data: bytes) -> Rejected:
    with pytest.raises(Rejected) as caught:
        table.payload(data, Kind.TABLE)
    return caught.value


def test_a_row_says_whose_it_is_and_which_features_it_has(read) -> None:
    found = read(CSV)
    assert found.identity is not None
    assert (found.identity.number, found.case_key, found.format) == ("P-7", "E9", "table")
    assert (found.kind, found.also) == (Kind.TABLE, (Kind.VARIANTS,))
    assert found.facts["features"] == "age,height,sex,weight"
    assert found.facts["genes"] == "CYP2C9,rs9923231"
    assert found.facts["ignored_columns"] == 1


def test_values_come_in_the_feature_s_unit() -> None:
    assert values(CSV) == {"age": 63, "sex": "female", "height": pytest.approx(177.8), "weight": 81.5}


def test_genotypes_are_given_as_variants_too() -> None:
    found = table.payload(CSV, Kind.VARIANTS)
    assert isinstance(found, Variants)
    assert found.diplotypes == {"CYP2C9": "*1/*3", "rs9923231": "A/G"}


@pytest.mark.parametrize(
    ("header", "cell", "name", "genotype"),
    [
        ("CYP2C19", "*1/*17", "CYP2C19", "*1/*17"),
        ("cyp2d6 genotype", "*1/*2x2", "CYP2D6", "*1/*2x2"),
        ("HLA-B", "*57:01 / *58:01", "HLA-B", "*57:01/*58:01"),
        ("VKORC1", "GA", "VKORC1", "G/A"),
        ("RS9923231", "c|t", "rs9923231", "C/T"),
        ("RYR1", "Reference/c.103T>C", "RYR1", "Reference/c.103T>C"),
        ("CYP2D6", "CYP2D6*36 + *10/CYP2D6*1×2", "CYP2D6", "*36+*10/*1x2"),
        ("G6PD", "Mira d'Aire / MALE", "G6PD", "Mira d'Aire/MALE"),
    ],
)
def test_a_genotype_may_be_written_as_genetics_writes_it(header, cell, name, genotype) -> None:
    found = table.payload(f"{header}\n{cell}\n".encode(), Kind.TABLE)
    assert isinstance(found, Table)
    assert dict(found.genotype) == {name: genotype}


@pytest.mark.parametrize("name", sorted(tables().genes))
def test_every_allele_of_the_cpic_tables_may_be_given(name: str) -> None:
    gene = tables().genes[name]
    for allele in (*gene.alleles, *gene.further):
        found = values_of.genotype(name, f"{gene.reference}/{allele}", "")
        assert call(name, Variants(diplotypes={name: str(found)})), allele


@pytest.mark.parametrize("cell", ["deficient", "F508del", "*1/*2/*3", "a/" + 81 * "b", "<b>/A"])
def test_what_is_no_pair_of_alleles_is_no_genotype(cell: str) -> None:
    assert refusal(f"G6PD,age\n{cell},63\n".encode()).code == "bad-value"


@pytest.mark.parametrize(
    "data",
    [
        b"age;sex;weight\n63;male;81,5\n",
        b"sep=;\r\nage;sex;weight\r\n63;male;81,5\r\n",
        b"age\tsex\tweight\n63\tm\t81.5\n",
        b'\xef\xbb\xbf"Age","SEX","Body-Weight"\r\n"63","Male","81.5"\r\n',
        "age,sex,weight\n63,M,81.5".encode("utf-16"),
        b'{"age": 63, "sex": "male", "weight": 81.5}',
        b'[{"values": {"age": "63", "sex": "M", "weight": {"value": 81.5, "unit": "kg"}}}]',
        b'{"age": 63, "sex": "man", "weight [g]": 81500}',
    ],
)
def test_one_patient_may_be_written_in_many_ways(data: bytes) -> None:
    assert values(data) == {"age": 63, "sex": "male", "weight": pytest.approx(81.5)}


@pytest.mark.parametrize(
    ("cell", "category"),
    [
        ("yes", "yes"),
        ("TRUE", "yes"),
        ("present", "yes"),
        ("1", "yes"),
        ("1.0", "yes"),
        ("n", "no"),
        ("0", "no"),
    ],
)
def test_yes_and_no_are_understood(cell: str, category: str) -> None:
    assert values(f"age,diabetes\n63,{cell}\n".encode()) == {"age": 63, "diabetes": category}


def test_a_separator_that_is_no_blank_to_all_is_taken_off_a_number() -> None:
    assert values(b"age,weight\n63,\x1c80\n") == {"age": 63, "weight": 80}


def test_ethnicity_is_not_race() -> None:
    assert values(b"race,ethnicity\nwhite,not Hispanic or Latino\n") == {"race": "white"}


@pytest.mark.parametrize("cell", ["-1", "10", "0.1", "1 or 0"])
def test_a_number_is_no_category_that_merely_looks_like_it(cell: str) -> None:
    assert refusal(f"age,diabetes\n63,{cell}\n".encode()).code == "bad-value"


@pytest.mark.parametrize("cell", ["", "NA", "n/a", "?", "unknown", " "])
def test_an_empty_cell_is_unknown(cell: str) -> None:
    assert values(f"age,weight\n63,{cell}\n".encode()) == {"age": 63}


@pytest.mark.parametrize(
    ("data", "code", "told"),
    [
        (b"age,sex\nsixty,m\n", "bad-value", "row 1, column age"),
        (b"age,sex\n63,Clara\n", "bad-value", "row 1, column sex"),
        (b"age\n163\n", "out-of-range", "0..120 a"),
        (b"weight [cm]\n63\n", "unit", "row 1, column weight"),
        (b"CYP2C9\nfast\n", "bad-value", "column CYP2C9"),
        (b'{"row": 17, "values": {"age": true}}', "bad-value", "row 17, column age"),
        (b'{"age": {"value": 5, "unit": 7}}', "bad-value", "age"),
        (b'{"age": [5]}', "bad-value", "age"),
        (b"age,age\n63,64\n", "contradiction", "age"),
        (b"mrn,patient_id,age\n7,8,64\n", "contradiction", "patient numbers"),
        (b"name,town\nClara,Canary\n", "no-features", "2 columns"),
        (b'{"name": "Clara"}', "unsupported-kind", "JSON"),
        (b'{"age": 63, "age": 64}', "malformed", "twice"),
        (b'{"age": 63', "truncated", "line 1"),
        (b'{"age": 63,, }', "malformed", "line 1"),
        (b"[" * 100_000, "malformed", "deep"),
        (b'{"age": 1' + b"0" * 5000 + b"}", "malformed", "endless"),
        (b"age,sex\n63\n", "malformed", "1 cells, the header 2"),
        (b'age,sex\n63,"m\n', "malformed", "line"),
        (b"age,sex\n", "empty", "no row"),
        (b"age,sex\n1,m\n2,f\n", "several-patients", "more than one"),
        (b"age,sex\nNA,?\n", "empty", "every known column"),
        (b" \n", "empty", "white space"),
        (b"age\n" + b"\n" * 100_002 + b"63\n", "too-large", "blank lines"),
        (b"age\n\xff\n", "undecodable-text", "byte 4"),
        (b"age\n\0\n", "binary", "binary"),
    ],
)
def test_a_refusal_names_row_and_column_and_no_value(data: bytes, code: str, told: str) -> None:
    met = refusal(data)
    assert met.code == code
    assert told in met.sentence
    assert met.advice
    assert "Clara" not in f"{met}{met.advice}"


def test_several_patients_become_a_document_each(tmp_path: Path, read) -> None:
    path = tmp_path / "two.csv"
    path.write_bytes(b"mrn,visit,age,weight [lb]\n7,E1,63,\n8,E2,64,150\n")
    parts = table.split(path)
    assert parts is not None
    first, second = parts
    assert values(first) == {"age": 63}
    assert values(second) == {"age": 64, "weight": pytest.approx(68.0388555)}
    found = read(second, "two.json")
    assert found.identity is not None
    assert (found.identity.number, found.case_key) == ("8", "E2")


def test_a_row_taken_apart_keeps_its_number_for_refusals(tmp_path: Path) -> None:
    path = tmp_path / "two.csv"
    path.write_bytes(b"age\n63\nold\n")
    parts = table.split(path)
    assert parts is not None
    assert "row 2, column age" in refusal(parts[1]).sentence


def test_a_single_patient_is_not_taken_apart(tmp_path: Path) -> None:
    path = tmp_path / "one.csv"
    path.write_bytes(CSV)
    assert table.split(path) is None


def test_ten_thousand_rows_are_the_most(tmp_path: Path) -> None:
    path = tmp_path / "many.csv"
    path.write_bytes(b"age\n" + b"63\n" * 10_001)
    with pytest.raises(Rejected, match="too-large"):
        table.split(path)


def test_a_hundred_numbers_outside_the_dictionary_are_gene_expressions(read, tmp_path: Path) -> None:
    header = ",".join(["sample", *(f"V{n}" for n in range(120))])
    rows = ["a," + ",".join(str(n / 8 - 3) for n in range(120)), "b," + ",".join(["1e3"] * 119 + ["NA"])]
    data = "\n".join((header, rows[0], "")).encode()
    found = read(data)
    assert (found.kind, found.facts) == (Kind.EXPRESSION, {"genes": 120})
    expression = table.payload(data, Kind.EXPRESSION)
    assert isinstance(expression, Expression)
    assert (expression.genes[1], float(expression.values[1])) == ("V1", -2.875)
    path = tmp_path / "two.csv"
    path.write_text("\n".join((header, *rows)))
    parts = table.split(path)
    assert parts is not None
    second = table.payload(parts[1], Kind.EXPRESSION)
    assert isinstance(second, Expression)
    assert len(second.genes) == 120
    assert np.isnan(second.values[-1])


def test_a_row_name_without_header_is_no_gene() -> None:
    genes = [f"G{n}" for n in range(100)]
    data = ",".join(genes) + "\nsample1," + ",".join("1" for _ in genes)
    found = table.payload(data.encode(), Kind.EXPRESSION)
    assert isinstance(found, Expression)
    assert found.genes == tuple(genes)


def test_a_payload_of_another_kind_is_refused() -> None:
    for kind in (Kind.EXPRESSION, Kind.VARIANTS, Kind.IMAGE):
        with pytest.raises(Rejected, match="wrong-kind"):
            table.payload(b"age\n63\n", kind)


@pytest.mark.parametrize(
    ("head", "suffix", "claimed"),
    [
        (CSV, ".csv", True),
        (CSV, ".txt", True),
        (b"age,sex,weight\n63,m,80\n", "", True),
        (b"Age, sex, weight and mood were recorded.\nNothing else.", ".txt", False),
        (b'{"age": 63}', ".json", True),
        (b'[{"age": 63}]', ".txt", True),
        (b'{"resourceType": "Bundle"}', ".json", False),
        (b"{cough} [none]", ".txt", False),
        (b"smiles,label\nCCO,1\n", ".csv", False),
        (b"%PDF-1.7", ".csv", False),
        (b"\x89PNG\r\n\x1a\n\0\0", ".csv", False),
        (b"No pneumonia.", ".txt", False),
    ],
)
def test_a_table_is_known_by_its_content_first(head: bytes, suffix: str, claimed: bool) -> None:
    assert table.claims(head, suffix) is claimed


def test_a_json_document_is_whole_at_its_last_bracket(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_bytes(b'{"values": {"age": 63')
    assert table.whole(path) is not None
    path.write_bytes(b'{"values": {"age": 63}}\n')
    assert table.whole(path) is None


def test_the_sample_is_read(read) -> None:
    found = read(SAMPLE.read_bytes())
    assert found.kind is Kind.TABLE
    assert {"age", "sex"} <= set(str(found.facts["features"]).split(","))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_comes_is_a_table_or_refused(read, data) -> None:
    original = data.draw(
        st.sampled_from([SAMPLE.read_bytes(), CSV, json.dumps({"age": 63, "sex": "m"}).encode()])
    )
    out = bytearray(original)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(out)))
        out[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    for name in ("t.csv", "t.json"):
        table.claims(bytes(out), name[1:])
        code, told = ending(read, bytes(out), name)
        assert re.fullmatch("[a-z-]+", code)
        assert "P-7" not in told


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200).map(str.encode),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=9),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["age", "sex", "values", "mrn", "unit", "value", "row", "TPMT"]), inner
                )
            ),
            max_leaves=12,
        ).map(lambda it: json.dumps(it).encode()),
    )
)
def test_random_documents_are_a_table_or_refused(data: bytes) -> None:
    def payload(data: bytes, name: str) -> Evidence:
        assert isinstance(table.payload(data, Kind.TABLE), Table)
        return Evidence(kind=Kind.TABLE)

    assert ending(payload, data, "")[0] != "without advice"
